"""The networks: equal arguments make equal models, and what does not fit is said with both shapes."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tensorfleet import catalog
from tensorfleet.errors import BadInput
from tensorfleet.neural import architecture, runtime


@pytest.fixture(autouse=True)
def tensorflow() -> None:
    runtime.start(1)


def build(algorithm: str, shape: Sequence[int], classes: int | None = 3, target: Any = None, **given: Any) -> Any:
    return architecture.build(algorithm, catalog.algorithm(algorithm).defaults() | given, shape, classes, target)


def sequential(*layers: dict[str, Any]) -> str:
    return json.dumps({"class_name": "Sequential", "config": {"layers": list(layers)}})


def layer(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": config}


LAST = layer("Dense", units=3, activation="softmax")


@pytest.mark.parametrize(
    ("given", "widths"),
    [({}, [128, 128]), ({"layers": 0}, []), ({"units": 5, "layers": 3}, [5, 5, 5]), ({"units": [7, 6]}, [7, 6])],
)
def test_dense_layers_are_as_wide_as_asked(given: dict[str, Any], widths: list[int]) -> None:
    model = build("dnn", (4,), **given)
    assert [layer.units for layer in model.layers if hasattr(layer, "units")] == [*widths, 3]


def test_equal_arguments_make_equal_models_whatever_was_made_before() -> None:
    given = {"dropout": 0.2, "flip": "both", "shift": 0.1, "rotation": 9.0, "batch_normalization": True}
    first = build("cnn", (64,), **given).to_json()
    build("cnn", (8, 8, 1), filters=[3])
    own = {"architecture": sequential(layer("RandomFlip"), layer("Flatten"), layer("Dropout", rate=0.5), LAST)}
    mine = build("keras", (8, 8, 1), **own).to_json()
    assert build("cnn", (64,), **given).to_json() == first
    assert build("keras", (8, 8, 1), **own).to_json() == mine


@pytest.mark.parametrize(
    ("columns", "asked", "image"),
    [(64, None, (8, 8, 1)), (784, None, (28, 28, 1)), (3072, None, (32, 32, 3)), (54, [9, 6], (9, 6, 1))],
)
def test_rows_are_taken_as_square_images_or_as_asked(columns: int, asked: Any, image: tuple[int, ...]) -> None:
    assert build("cnn", (columns,), image_shape=asked).get_layer("image").output.shape[1:] == image


@pytest.mark.parametrize(
    ("algorithm", "shape", "given", "said"),
    [
        ("cnn", (54,), {}, "54 columns make no square image"),
        ("cnn", (54,), {"image_shape": [9, 7]}, r"\[9, 7, 1\] takes 63 columns, and the rows have 54"),
        ("cnn", (8, 8, 3), {"image_shape": [8, 8]}, r"image_shape is \[8, 8, 1\], and the images are \[8, 8, 3\]"),
        (
            "keras",
            (4,),
            {"architecture": sequential(layer("InputLayer", batch_shape=[None, 5]), LAST)},
            r"\(5,\).*\(4,\)",
        ),
        ("keras", (4,), {"architecture": sequential(layer("Dense", units=2, activation="softmax"))}, r"\(2,\).*\(3,\)"),
        ("keras", (4,), {"architecture": sequential(layer("Dense", units=3))}, "'linear', and softmax is expected"),
        ("keras", (4,), {"architecture": sequential(layer("Dense", units=-3))}, "positive integer.*units=-3"),
        ("keras", (4,), {"architecture": sequential(layer("Danse", units=3))}, "Danse"),
        ("keras", (4,), {"architecture": sequential(layer("Lambda", name="twice"), LAST)}, "'twice' .Lambda. calls"),
        ("keras", (4,), {"architecture": json.dumps(LAST)}, "expected a model, .* got a Dense"),
    ],
)
def test_what_does_not_fit_is_refused(algorithm: str, shape: tuple[int, ...], given: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        build(algorithm, shape, **given)


def test_an_architecture_of_several_inputs_is_refused() -> None:
    import keras

    inputs = [keras.Input((2,), name=name) for name in "ab"]
    outputs = keras.layers.Dense(3, activation="softmax")(keras.layers.Concatenate()(inputs))
    with pytest.raises(BadInput, match="one input and one output"):
        build("keras", (4,), architecture=keras.Model(inputs, outputs).to_json())


def test_an_architecture_may_take_rows_as_images_or_images_of_any_size() -> None:
    convolution = (layer("Conv2D", filters=2, kernel_size=3), layer("GlobalAveragePooling2D"), LAST)
    fixed = sequential(layer("InputLayer", batch_shape=[None, 8, 8, 1]), *convolution)
    assert build("keras", (64,), architecture=fixed).input_shape == (None, 64)
    assert build("keras", (64,), architecture=sequential(*convolution), image_shape=[8, 8]).input_shape == (None, 64)
    free = sequential(layer("InputLayer", batch_shape=[None, None, None, 3]), *convolution)
    assert build("keras", (9, 7, 3), architecture=free).output_shape == (None, 3)


def test_a_regressor_of_ours_ends_in_the_targets_own_measure() -> None:
    import numpy as np

    model = build("dnn_regressor", (4,), None, (100.0, 10.0))
    assert model.output_shape == (None, 1)
    model.set_weights([np.zeros(array.shape, array.dtype) for array in model.get_weights()])
    assert float(model(np.ones((1, 4), np.float32))[0, 0]) == 100.0


def test_resnet50_takes_images_smaller_than_its_own() -> None:
    model = build("resnet50", (8, 8, 3))
    assert (model.input_shape, model.output_shape) == ((None, 8, 8, 3), (None, 3))
    assert model.get_layer("resize").output.shape == (None, 32, 32, 3)


def test_mixed_precision_leaves_the_probabilities_and_the_process_as_they_were() -> None:
    import keras

    model = build("dnn", (4,), mixed_precision="mixed_bfloat16")
    assert model.get_layer("dense_0").compute_dtype == "bfloat16"
    assert model.get_layer("probabilities").compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"
