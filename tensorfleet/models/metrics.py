"""How good predictions are: figures for people, and points while training runs.

The rule: a metric that cannot be computed is left out with its reason, and never fails a training.
"""

import warnings
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from tensorfleet.algorithms.algorithm import Goal


class Predicted(Struct, frozen=True):
    """What a model says of some rows.

    labels: shape (n,). probabilities: (n, classes) in the order of `classes`, or None where the model has none. scores:
    the decision function of a classifier of two classes without probabilities, (n,), or None.
    """

    labels: Any
    probabilities: Any = None
    scores: Any = None


class Figures(Struct, frozen=True):
    """Metrics by name, and why others are missing."""

    metrics: dict[str, float]
    missing: dict[str, str]


def measure(goal: Goal, y: Any, predicted: Predicted, classes: Any = None, prefix: str = "") -> Figures:
    """Every metric of a goal over rows with true values y, shape (n,). classes: a classifier's labels."""
    table = _classifier_metrics(y, predicted, classes) if goal == "classification" else _regressor_metrics(y, predicted)
    metrics: dict[str, float] = {}
    missing: dict[str, str] = {}
    for name, compute in table.items():
        try:
            metrics[prefix + name] = _finite(compute)
        except Exception as error:
            missing[prefix + name] = str(error).partition("\n")[0] or type(error).__name__
    return Figures(metrics, missing)


def progress(goal: Goal, y: Any, mean: Any, classes: Any = None) -> dict[str, float]:
    """Accuracy and log loss of mean probabilities (n, classes); of a regressor's values (n,) R2 and mean squared error.

    What cannot be computed is left out.
    """
    import numpy as np

    with np.errstate(all="ignore"):
        points = _probable(y, mean, classes) if goal == "classification" else _near(y, mean)
    return {name: float(value) for name, value in points.items() if np.isfinite(value)}


def _probable(y: Any, mean: Any, classes: Any) -> dict[str, Any]:
    # Plain sums: scikit-learn's checks would take longer than a small stage does.
    import numpy as np

    points = {"accuracy": (classes.take(mean.argmax(axis=1)) == y).mean()}
    if np.isin(y, classes).all():
        smallest = np.finfo(np.float64).eps
        told = mean[np.arange(len(y)), np.searchsorted(classes, y)]
        points["loss"] = -np.log(np.clip(told, smallest, 1 - smallest)).mean()
    return points


def _near(y: Any, mean: Any) -> dict[str, Any]:
    squares = ((y - mean) ** 2).mean()
    return {"accuracy": 1 - squares / ((y - y.mean()) ** 2).mean(), "loss": squares}


def _finite(compute: Callable[[], Any]) -> float:
    import math

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = float(compute())
    if not math.isfinite(value):
        raise ValueError("it is not a finite number for these rows")
    return value


def _classifier_metrics(y: Any, predicted: Predicted, classes: Any) -> dict[str, Callable[[], Any]]:
    from sklearn import metrics

    weighted = {"average": "weighted", "zero_division": 0}
    return {
        "accuracy": lambda: metrics.accuracy_score(y, predicted.labels),
        "precision": lambda: metrics.precision_score(y, predicted.labels, **weighted),
        "recall": lambda: metrics.recall_score(y, predicted.labels, **weighted),
        "f1": lambda: metrics.f1_score(y, predicted.labels, **weighted),
        "roc_auc": lambda: _roc_auc(y, predicted, classes),
        "log_loss": lambda: _log_loss(y, predicted, classes),
    }


def _regressor_metrics(y: Any, predicted: Predicted) -> dict[str, Callable[[], Any]]:
    from sklearn import metrics

    return {
        "r2": lambda: metrics.r2_score(y, _two(predicted.labels)),
        "mae": lambda: metrics.mean_absolute_error(y, predicted.labels),
        "rmse": lambda: metrics.root_mean_squared_error(y, predicted.labels),
        "median_absolute_error": lambda: metrics.median_absolute_error(y, predicted.labels),
    }


def _two(values: Any) -> Any:
    if len(values) < 2:
        raise ValueError("it takes at least two rows")
    return values


def _roc_auc(y: Any, predicted: Predicted, classes: Any) -> Any:
    import numpy as np
    from sklearn.metrics import roc_auc_score

    seen = np.unique(y)
    if not np.isin(seen, classes).all():
        raise ValueError("the rows have a class that the training rows have not")
    if len(classes) == 2:
        scores = predicted.scores if predicted.probabilities is None else predicted.probabilities[:, 1]
        if scores is None:
            raise ValueError("the model gives no probabilities")
        if len(seen) < 2:
            raise ValueError("the rows have one class alone")
        return roc_auc_score(y == classes[1], scores)
    if predicted.probabilities is None:
        raise ValueError("the model gives no probabilities")
    if len(seen) < len(classes):
        raise ValueError("the rows lack some of the classes")
    return roc_auc_score(y, predicted.probabilities, multi_class="ovr", labels=classes)


def _log_loss(y: Any, predicted: Predicted, classes: Any) -> Any:
    import numpy as np
    from sklearn.metrics import log_loss

    if predicted.probabilities is None:
        raise ValueError("the model gives no probabilities")
    if not np.isin(y, classes).all():
        raise ValueError("the rows have a class that the training rows have not")
    return log_loss(y, predicted.probabilities, labels=classes)
