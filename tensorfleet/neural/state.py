"""What passes between the tasks of a training: the state, what a replica carries on, and what a paused task saved.

The rule: arrays in the order of the model's own lists, and nothing of the process that wrote them.
"""

from collections.abc import Sequence
from typing import Any

from tensorfleet.operators import Output

VERSION = 1


def tree(
    weights: Sequence[Any],
    velocity: Sequence[Any] = (),
    *,
    target: Sequence[float] | None = None,
    statistics: Sequence[int] = (),
) -> dict[str, Any]:
    """A state. weights: in the order of `model.weights`. velocity: the outer momentum's, or none. target: see
    `architecture.build`. statistics: places of weights that are measured and not trained, as batch norm's are."""
    return {
        "version": VERSION,
        "weights": list(weights),
        "velocity": list(velocity),
        "target": None if target is None else [float(value) for value in target],
        "statistics": [int(place) for place in statistics],
    }


def encode(content: dict[str, Any]) -> Output:
    from tensorfleet import bundle

    return bundle.encode(content)


def values(variables: Sequence[Any]) -> list[Any]:
    """What Keras's variables hold, as arrays."""
    return [as_array(variable) for variable in variables]


def as_array(variable: Any) -> Any:
    """What a variable holds. NumPy has no bfloat16, which goes as float32 without loss."""
    import numpy as np

    value = np.asarray(variable.value)
    return value if value.dtype.kind in "biuf" else value.astype(np.float32)


def assign(variables: Sequence[Any], arrays: Sequence[Any]) -> None:
    """Gives variables what arrays hold. ValueError where these are of another model."""
    if [tuple(variable.shape) for variable in variables] != [tuple(array.shape) for array in arrays]:
        raise ValueError("the state is of another model: its arrays have other shapes")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
