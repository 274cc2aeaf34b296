"""Builds scikit-learn's own estimator from plain parameters.

The rule: what is built equals `Class(**parameters)`; only names are turned into what they name: of labels in
`class_weight` the labels, of an algorithm in `estimator` its estimator.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.errors import BadInput
from tensorfleet.model import Value


def build(algorithm: Algorithm, parameters: Mapping[str, Value], y: Any) -> Any:
    """The unfitted estimator. y: the training labels, shape (n,). BadInput where a weighted label is not among them."""
    module, _, name = algorithm.estimator.rpartition(".")
    given: dict[str, Any] = dict(parameters)
    if isinstance(given.get("class_weight"), dict):
        given["class_weight"] = label_weights(given["class_weight"], y)
    if isinstance(given.get("estimator"), str):
        given["estimator"] = _base(given["estimator"], y)
    return getattr(import_module(module), name)(**given)


def label_weights(weights: Mapping[str, Any], y: Any) -> dict[Any, float]:
    """Weights by label, from weights by the label's text."""
    import numpy as np

    labels = {str(label): label for label in np.unique(y).tolist()}
    unknown = [name for name in weights if name not in labels]
    if unknown:
        known = ", ".join(list(labels)[:10])
        raise BadInput(f"class_weight names {unknown[0]!r}, which is no class; the classes are {known}")
    return {labels[name]: weight for name, weight in weights.items()}


def _base(name: str, y: Any) -> Any:
    """The estimator that a bagging ensemble is made of, with its own defaults."""
    from tensorfleet import catalog

    base = catalog.algorithm(name)
    return build(base, base.defaults(), y)
