"""Fits a model in one task, as scikit-learn does in one process.

The rule: what is kept is the estimator exactly as scikit-learn's own fit leaves it.
"""

from collections.abc import Callable
from typing import Any

from tensorfleet import bundle, catalog
from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.building import build
from tensorfleet.errors import BadInput
from tensorfleet.models import metrics, state
from tensorfleet.models.metrics import Predicted
from tensorfleet.operators import Context, Operator, Outcome

Fit = Callable[[Any, Any, Any], None]
"""`fit(estimator, train, rows)`: fits on train, and may report what it tells of the other rows meanwhile."""


def fit(context: Context) -> Outcome:
    """Fits, then reports once how good it is; see `fit_whole`."""
    algorithm = catalog.algorithm(str(context.params["algorithm"]))

    def fit_and_report(estimator: Any, train: Any, rows: Any) -> None:
        estimator.fit(train["X"], train["y"])
        report_once(context, algorithm, estimator, rows)

    return fit_whole(context, algorithm, fit_and_report)


def fit_whole(context: Context, algorithm: Algorithm, fit: Fit) -> Outcome:
    """Fits the whole and predicts.

    Inputs: train and validation, each {"X", "y"}. Parameters: algorithm, hyperparameters. Outputs: the estimator's
    state; and the predictions, {"train", "validation"}, each {"labels", "probabilities", "scores"}. BadInput for data
    or parameters that scikit-learn refuses.
    """
    train, validation = (item.bundle() for item in context.inputs)
    estimator = build(algorithm, context.params["hyperparameters"], train["y"])  # type: ignore[arg-type]
    rows = validation if len(validation["y"]) else train
    try:
        fit(estimator, train, rows)
        said = {"train": predict(estimator, train["X"]), "validation": predict(estimator, validation["X"])}
    except ValueError as error:
        raise BadInput(f"{type(estimator).__name__} cannot be fitted: {error}", reason="FIT_REFUSED") from error
    tree = {
        name: {"labels": item.labels, "probabilities": item.probabilities, "scores": item.scores}
        for name, item in said.items()
    }
    return Outcome([bundle.encode(state.dump(estimator)), bundle.encode(tree)])


def report_once(context: Context, algorithm: Algorithm, estimator: Any, rows: Any) -> None:
    """One point a series, as step 0: accuracy, and log loss where there are probabilities."""
    said, classes = predict(estimator, rows["X"]), getattr(estimator, "classes_", None)
    figures = said.labels if said.probabilities is None else said.probabilities
    if classes is not None and said.probabilities is None:
        context.report("accuracy", 0, float((said.labels == rows["y"]).mean()))
        return
    for series, value in metrics.progress(algorithm.goal, rows["y"], figures, classes).items():
        context.report(series, 0, value)


def predict(estimator: Any, X: Any) -> Predicted:
    """What a fitted estimator says of prepared rows, which may be none."""
    classes = getattr(estimator, "classes_", None)
    if len(X) == 0:
        return Predicted([], None, None)
    if classes is None:
        return Predicted(estimator.predict(X))
    if hasattr(estimator, "predict_proba"):
        return Predicted(estimator.predict(X), estimator.predict_proba(X))
    scores = estimator.decision_function(X) if hasattr(estimator, "decision_function") else None
    return Predicted(estimator.predict(X), None, scores if scores is not None and scores.ndim == 1 else None)


OPERATORS: dict[str, Operator] = {"whole.fit@1": fit}
