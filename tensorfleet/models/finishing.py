"""The last task of a training: the model's manifest and its metrics, from what the fitting tasks left.

The rule: members are named, never copied; and the whole ensemble is never run again over rows that its ranges saw.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from platform import python_version
from typing import Any

from tensorfleet import __version__, bundle, catalog
from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.building import build
from tensorfleet.algorithms.members import combined
from tensorfleet.models import metrics, state
from tensorfleet.models.manifest import Manifest
from tensorfleet.models.metrics import Predicted
from tensorfleet.operators import Context, Input, Operator, Outcome

PACKAGES = ("numpy", "scipy", "scikit-learn")


def finish(context: Context) -> Outcome:
    """Makes the model's manifest.

    Inputs: train, validation, preparation, then the predictions of each fitting task, then, where the parameters say
    `with_parts`, their parts. Parameters: algorithm, hyperparameters, preparation and parts (digests). Outputs: the
    manifest. Summary: metrics, missing_metrics, metrics_on_training_rows, features, target, classes, environment.
    """
    algorithm = catalog.algorithm(str(context.params["algorithm"]))
    digests: list[str] = list(context.params["parts"])  # type: ignore[arg-type]
    train, validation, preparation = (item.bundle() for item in context.inputs[:3])
    predictions = [item.bundle() for item in context.inputs[3 : 3 + len(digests)]]
    parts = context.inputs[3 + len(digests) :]
    shell = _shell(context, algorithm, train, parts)
    figures = _figures(context, algorithm, train["y"], validation["y"], predictions)
    manifest = Manifest(
        algorithm=algorithm.name,
        goal=algorithm.goal,
        estimator=algorithm.estimator,
        parameters=dict(context.params["hyperparameters"]),  # type: ignore[arg-type]
        features=list(preparation["features"]),
        target=preparation["target"],
        classes=list(preparation["classes"]),
        preparation=str(context.params["preparation"]),
        shell=shell,
        members=[] if algorithm.members is None else list(algorithm.members.attributes),
        parts=digests,
    )
    summary = {
        **figures,
        "features": manifest.features,
        "target": manifest.target,
        "classes": manifest.classes,
        "environment": environment(),
    }
    return Outcome([bundle.encode(manifest.tree())], summary)


def environment(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """The versions of what computes here."""
    return {"python": python_version(), "tensorfleet": __version__, **{name: version(name) for name in packages}}


def _shell(context: Context, algorithm: Algorithm, train: Any, parts: Sequence[Input]) -> Any:
    """The ensemble's state without its members; None where there are no members."""
    if algorithm.members is None:
        return None
    given: Mapping[str, Any] = context.params["hyperparameters"]  # type: ignore[assignment]
    ensemble = build(algorithm, given, train["y"])
    members = _members(algorithm.members.attributes, parts) if parts else None
    algorithm.members.complete(ensemble, train["X"], train["y"], int(given[algorithm.members.count]), members)
    for name in algorithm.members.attributes:
        setattr(ensemble, name, [])
    return state.dump(ensemble)


def _members(attributes: Sequence[str], parts: Sequence[Input]) -> dict[str, list[Any]]:
    read = [part.bundle() for part in parts]
    return {name: [state.restore(item) for part in read for item in part[name]] for name in attributes}


def _figures(
    context: Context, algorithm: Algorithm, y: Any, y_validation: Any, predictions: Sequence[Any]
) -> dict[str, Any]:
    import numpy as np

    given: Mapping[str, Any] = context.params["hyperparameters"]  # type: ignore[assignment]
    classes = np.unique(y) if algorithm.goal == "classification" else None
    count = 0 if algorithm.members is None else int(given[algorithm.members.count])
    on_training = len(y_validation) == 0
    metric_values: dict[str, float] = {}
    missing: dict[str, str] = {}
    for name, truth in (("train", y), ("validation", y_validation)):
        if len(truth) == 0:
            continue
        said = _predicted([item[name] for item in predictions], classes, count)
        for prefix in ["train_", ""] if name == "train" and on_training else ["train_" if name == "train" else ""]:
            found = metrics.measure(algorithm.goal, truth, said, classes, prefix)
            metric_values |= found.metrics
            missing |= found.missing
    return {"metrics": metric_values, "missing_metrics": missing, "metrics_on_training_rows": on_training}


def _predicted(found: Sequence[Any], classes: Any, count: int) -> Predicted:
    if not count:
        return Predicted(found[0]["labels"], found[0]["probabilities"], found[0]["scores"])
    mean = combined(found, count)
    return Predicted(mean) if classes is None else Predicted(classes.take(mean.argmax(axis=1)), mean)


OPERATORS: dict[str, Operator] = {"train.finish@1": finish}
