"""The last task of a network's training: its `.keras` file, manifest and metrics, from the state that was chosen.

The rule: the manifest names the weights by their own digest beside the file's, so a model's SHA-256 covers arrays,
architecture, preprocessing and classes; the network is built anew here, so nothing of how it was trained is in the
file.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from tensorfleet import bundle, catalog
from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.models import metrics
from tensorfleet.models.finishing import environment
from tensorfleet.models.manifest import Manifest
from tensorfleet.models.metrics import Predicted
from tensorfleet.neural import keeping, state
from tensorfleet.neural.network import Network
from tensorfleet.operators import Context, Outcome

AT_ONCE = 4096
"""Rows that are taken out of the data at a time."""

PACKAGES = ("numpy", "scipy", "scikit-learn", "tensorflow", "keras")


def finish(context: Context) -> Outcome:
    """Makes the model.

    Inputs: the state, train, validation, preparation, then the blocks where the dataset is of images. Parameters:
    algorithm, hyperparameters, preparation (its digest). Outputs: the manifest; the `.keras` file. Summary: as that of
    `train.finish@1`.
    """
    from tensorfleet.neural import architecture, runtime, samples

    runtime.start(context.threads)
    algorithm = catalog.algorithm(str(context.params["algorithm"]))
    given: Mapping[str, Any] = context.params["hyperparameters"]  # type: ignore[assignment]
    reached, train, validation, preparation = (item.bundle() for item in context.inputs[:4])
    common = samples.preparation(context.inputs[3], context.inputs[4:])
    trees = zip(context.inputs[1:3], (train, validation), strict=True)
    parts = [(samples.read(item, common), tree["y"]) for item, tree in trees]
    with runtime.errors_told():
        shape, classes = parts[0][0].shape, list(preparation["classes"])
        model = architecture.build(algorithm.name, given, shape, len(classes) or None, reached["target"])
        state.assign(model.weights, reached["weights"])
        file = keeping.keras_file(model, _beside(algorithm, preparation))
        labels = _labels(algorithm, train["y"])
        network = Network(file=file, features=[], types=[], labels=labels, image=None, transformer=None)
        figures = _figures(algorithm, network, parts)
    manifest = Manifest(
        algorithm=algorithm.name,
        goal=algorithm.goal,
        estimator=algorithm.estimator,
        parameters=dict(given),
        features=list(preparation["features"]),
        target=preparation["target"],
        classes=classes,
        preparation=str(context.params["preparation"]),
        shell={"labels": labels, "weights": keeping.digest(reached["weights"])},
        parts=[hashlib.sha256(file).hexdigest()],
    )
    summary = {
        **figures,
        "features": manifest.features,
        "target": manifest.target,
        "classes": classes,
        "environment": environment(PACKAGES),
        "image_shape": list(preparation["image"]["shape"]) if preparation.get("image") else [],
    }
    return Outcome([bundle.encode(manifest.tree()), [file]], summary)


def _labels(algorithm: Algorithm, y: Any) -> Any:
    """What the classes are, in their order; None of a regressor."""
    import numpy as np

    return np.unique(y) if algorithm.goal == "classification" else None


def _beside(algorithm: Algorithm, preparation: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says of itself, for whoever has it without us."""
    from tensorfleet.data import preprocessing
    from tensorfleet.models import state as estimators

    features, image = list(preparation["features"]), preparation.get("image")
    if image:
        takes: dict[str, Any] = {"image": list(image["shape"])}
    else:
        transformer = estimators.restore(preparation["transformer"])
        takes = {"columns": preprocessing.described(transformer, features)}
    return {
        "algorithm": algorithm.name,
        "goal": algorithm.goal,
        "features": features,
        "target": preparation["target"],
        "classes": list(preparation["classes"]),
        "takes": takes,
    }


def _figures(algorithm: Algorithm, network: Network, parts: Any) -> dict[str, Any]:
    """Metrics of the training and of the validation rows; where there are none of these, the former stand for them."""
    on_training = len(parts[1][1]) == 0
    found: dict[str, float] = {}
    missing: dict[str, str] = {}
    for (rows, y), prefixes in zip(parts, (["train_", *([""] if on_training else [])], [""]), strict=True):
        if len(y) == 0:
            continue
        said = _said(network, rows)
        for prefix in prefixes:
            figures = metrics.measure(algorithm.goal, y, said, network.labels, prefix)
            found |= figures.metrics
            missing |= figures.missing
    return {"metrics": found, "missing_metrics": missing, "metrics_on_training_rows": on_training}


def _said(network: Network, rows: Any) -> Predicted:
    import numpy as np

    places = np.arange(len(rows))
    chunks = [places[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
    outputs = np.concatenate([network.outputs(rows.take(chunk)) for chunk in chunks]).astype(np.float64)
    if network.labels is None:
        return Predicted(outputs.reshape(len(outputs)))
    return Predicted(network.labels.take(outputs.argmax(axis=1)), outputs)
