"""What a training makes small.

The rule: the reductions are Keras's own, so that a step has the gradients that `keras.Model.fit` has.
"""

from collections.abc import Mapping
from typing import Any


def build(given: Mapping[str, Any], classes: int | None, scale: float = 1.0) -> Any:
    """A `keras.losses.Loss` of labels (n,) or values (n,), and what a model says, (n, classes) or (n, 1).

    scale: a regression's errors are counted in it.
    """
    return _of_values(given["loss"], scale) if classes is None else _of_labels(classes, given["label_smoothing"])


def _of_labels(classes: int, smoothing: float) -> Any:
    import keras

    if not smoothing:
        return keras.losses.SparseCategoricalCrossentropy()

    def smoothed(y: Any, said: Any) -> Any:
        return keras.losses.categorical_crossentropy(keras.ops.one_hot(y, classes), said, label_smoothing=smoothing)

    return _loss(smoothed)


def _of_values(name: str, scale: float) -> Any:
    import keras

    measure = getattr(keras.losses, name)

    def scaled(y: Any, said: Any) -> Any:
        errors = (keras.ops.reshape(keras.ops.cast(said, "float32"), (-1, 1)) - keras.ops.reshape(y, (-1, 1))) / scale
        return measure(keras.ops.zeros_like(errors), errors)

    return _loss(scaled)


def _loss(function: Any) -> Any:
    import keras

    class Loss(keras.losses.Loss):  # type: ignore[misc]
        """A loss whose reduction is Keras's own."""

        def call(self, y: Any, said: Any) -> Any:
            return function(y, said)

    return Loss()
