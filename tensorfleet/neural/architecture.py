"""The networks: dnn, cnn, resnet50, and a user's own, from parameters and the shape of a sample.

The rule: equal arguments make equal models, whatever the process made before: each layer has its name and its seed.
Pixels are taken as they are stored, 0 to 255, and scaled inside; so a kept model takes what its user has.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tensorfleet.errors import BadInput
from tensorfleet.model import Value
from tensorfleet.neural import own

Given = Mapping[str, Any]
SMALLEST = 32
"""Pixels of a side that resnet50 takes at least; smaller images are enlarged to it."""


def build(
    algorithm: str,
    hyperparameters: Mapping[str, Value],
    shape: Sequence[int],
    classes: int | None,
    target: Sequence[float] | None = None,
) -> Any:
    """The model, not compiled, its weights new: as the seeds of `keras.utils.set_random_seed` have them.

    shape: of a sample as it is fed: (features,) of prepared rows, or (height, width, channels) of pixels from 0 to 255.
    classes: how many, of a classifier, which ends in their probabilities, (n, classes); None for a regressor, (n, 1).
    target: offset and scale of what a regressor of ours predicts, by which it is scaled inside. BadInput where the
    parameters do not fit the shape.
    """
    import keras

    family = algorithm.removesuffix("_regressor")
    given: Given = dict(hyperparameters)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(given.get("mixed_precision") or "float32")
    try:
        if family == "keras":
            return _own(given, tuple(shape), classes)
        inputs = keras.Input(tuple(shape), name="samples", dtype="float32" if len(shape) == 1 else "uint8")
        outputs = _FAMILIES[family](given, inputs, tuple(shape))
        return keras.Model(inputs, _head(outputs, classes, target), name=algorithm)
    finally:
        keras.config.set_dtype_policy(policy)


def image_shape(given: Given, shape: Sequence[int]) -> tuple[int, int, int]:
    """The height, width and channels of samples: as they are, as the parameters say, or those of a square."""
    asked = tuple(given.get("image_shape") or ())
    if asked and len(asked) == 2:
        asked = (*asked, 1)
    if len(shape) == 3:
        if asked and asked != tuple(shape):
            raise BadInput(
                f"image_shape is {list(asked)}, and the images are {list(shape)}; leave it out", reason="SHAPE_MISMATCH"
            )
        return (int(shape[0]), int(shape[1]), int(shape[2]))
    columns = int(shape[0])
    if asked:
        if math.prod(asked) != columns:
            raise BadInput(
                f"image_shape {list(asked)} takes {math.prod(asked):,} columns, and the rows have {columns:,}",
                reason="SHAPE_MISMATCH",
            )
        return (int(asked[0]), int(asked[1]), int(asked[2]))
    for channels in (1, 3):
        side = math.isqrt(columns // channels)
        if side * side * channels == columns:
            return side, side, channels
    raise BadInput(
        f"rows of {columns:,} columns make no square image; say their image_shape as [height, width, channels], or "
        "train a dnn",
        reason="SHAPE_MISMATCH",
    )


def widths(given: Given, layers: int) -> list[int]:
    """The units of each dense layer. layers: how many there are where nobody says."""
    units = given["units"]
    if isinstance(units, list | tuple):
        return [int(width) for width in units]
    return [int(units)] * (layers if given["layers"] is None else int(given["layers"]))


def _dnn(given: Given, inputs: Any, shape: tuple[int, ...]) -> Any:
    from keras import layers

    x = inputs
    if len(shape) == 3:
        x = layers.Flatten(name="flatten")(layers.Rescaling(1 / 255, name="scale")(x))
    return _dense(given, x, widths(given, 2))


def _cnn(given: Given, inputs: Any, shape: tuple[int, ...]) -> Any:
    from keras import layers

    height, width, _ = image_shape(given, shape)
    x = _augmented(given, _images(given, inputs, shape, 1 / 255, 0.0))
    pools = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}
    for place, filters in enumerate(given["filters"]):
        normal = given["batch_normalization"]
        x = layers.Conv2D(
            filters, given["kernel_size"], padding="same", use_bias=not normal, name=f"convolution_{place}"
        )(x)
        if normal:
            x = layers.BatchNormalization(name=f"convolution_{place}_normalization")(x)
        x = layers.Activation(given["activation"], name=f"convolution_{place}_activation")(x)
        if given["pooling"] and min(height, width) >= given["pool_size"]:
            x = pools[given["pooling"]](given["pool_size"], name=f"convolution_{place}_pooling")(x)
            height, width = height // given["pool_size"], width // given["pool_size"]
    return _dense(given, layers.Flatten(name="flatten")(x), widths(given, 1))


def _resnet50(given: Given, inputs: Any, shape: tuple[int, ...]) -> Any:
    import keras
    from keras import layers
    from keras.applications import ResNet50

    height, width, channels = image_shape(given, shape)
    size = (given["image_size"],) * 2 if given["image_size"] else (max(height, SMALLEST), max(width, SMALLEST))
    x = _images(given, inputs, shape, 1 / 127.5, -1.0)
    if size != (height, width):
        x = layers.Resizing(*size, name="resize")(x)
    x = _augmented(given, x)
    pixels = keras.Input((*size, channels), name="pixels")  # which Keras would else count up
    x = ResNet50(include_top=False, weights=None, input_tensor=pixels, pooling="avg", name="resnet50")(x)
    return layers.Dropout(given["dropout"], seed=0, name="dropout")(x) if given["dropout"] else x


_FAMILIES: dict[str, Callable[[Given, Any, tuple[int, ...]], Any]] = {"dnn": _dnn, "cnn": _cnn, "resnet50": _resnet50}


def _images(given: Given, inputs: Any, shape: tuple[int, ...], scale: float, offset: float) -> Any:
    """Samples as images of small numbers. Prepared rows are standardised already."""
    from keras import layers

    if len(shape) == 3:
        return layers.Rescaling(scale, offset, name="scale")(inputs)
    return layers.Reshape(image_shape(given, shape), name="image")(inputs)


def _augmented(given: Given, x: Any) -> Any:
    from keras import layers

    if given["flip"]:
        mode = "horizontal_and_vertical" if given["flip"] == "both" else given["flip"]
        x = layers.RandomFlip(mode, seed=1, name="flip")(x)
    if given["shift"]:
        x = layers.RandomTranslation(given["shift"], given["shift"], seed=2, name="shift")(x)
    if given["rotation"]:
        x = layers.RandomRotation(given["rotation"] / 360, seed=3, name="rotate")(x)
    return x


def _dense(given: Given, x: Any, units: Sequence[int]) -> Any:
    from keras import layers

    for place, width in enumerate(units):
        normal = given["batch_normalization"]
        x = layers.Dense(width, use_bias=not normal, name=f"dense_{place}")(x)
        if normal:
            x = layers.BatchNormalization(name=f"dense_{place}_normalization")(x)
        x = layers.Activation(given["activation"], name=f"dense_{place}_activation")(x)
        if given["dropout"]:
            x = layers.Dropout(given["dropout"], seed=10 + place, name=f"dense_{place}_dropout")(x)
    return x


def _head(x: Any, classes: int | None, target: Sequence[float] | None) -> Any:
    from keras import layers

    if classes is not None:
        return layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)
    x = layers.Dense(1, dtype="float32", name="value")(x)
    if target is None:
        return x
    offset, scale = target
    return layers.Rescaling(float(scale), float(offset), dtype="float32", name="target")(x)


def _own(given: Given, shape: tuple[int, ...], classes: int | None) -> Any:
    """A user's architecture, whose shapes must be those of the data."""
    import keras

    fed = image_shape(given, shape) if given.get("image_shape") else shape
    inner = own.model(str(given["architecture"]), fed)
    if isinstance(inner.input_shape, list | dict) or isinstance(inner.output_shape, list | dict):
        raise BadInput("the architecture must have one input and one output", reason="SHAPE_MISMATCH")
    taken = tuple(inner.input_shape[1:])
    if len(fed) == 1 and len(taken) == 3 and None not in taken and math.prod(taken) == fed[0]:
        fed = taken
    if len(taken) != len(fed) or any(want not in (None, got) for want, got in zip(taken, fed, strict=True)):
        raise BadInput(
            f"the architecture takes samples of shape {_shown(taken)}, and the data's are {_shown(shape)}; change its "
            "input",
            reason="SHAPE_MISMATCH",
        )
    expected = (1,) if classes is None else (classes,)
    made = tuple(inner.output_shape[1:])
    if made != expected and not (classes is None and made == ()):
        told = "a number" if classes is None else f"{classes} classes"
        raise BadInput(
            f"the architecture ends in shape {_shown(made)}, and {_shown(expected)} is expected to tell {told}; change "
            "its last layer",
            reason="SHAPE_MISMATCH",
        )
    if classes is not None and _last_activation(inner) != "softmax":
        raise BadInput(
            f"the architecture ends in the activation {_last_activation(inner)!r}, and softmax is expected, which "
            "makes probabilities of classes",
            reason="ARCHITECTURE_REFUSED",
        )
    if fed == shape:
        return inner
    inputs = keras.Input(shape, name="samples")
    return keras.Model(inputs, inner(keras.layers.Reshape(fed, name="image")(inputs)), name="keras")


def _last_activation(model: Any) -> str:
    import keras

    last = model
    while getattr(last, "layers", None):
        last = last.layers[-1]
    if isinstance(last, keras.layers.Softmax):
        return "softmax"
    return str(getattr(getattr(last, "activation", None), "__name__", None) or "linear")


def _shown(shape: Sequence[int | None]) -> str:
    return (
        "(" + ", ".join("any" if size is None else str(size) for size in shape) + ("," if len(shape) == 1 else "") + ")"
    )
