"""A network from the state that training left to whoever uses it: kept, put together, exported, gone on from."""

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_digits

from tensorfleet import bundle, catalog, direct
from tensorfleet.errors import BadInput, FailedPrecondition
from tensorfleet.model import JobSpec, ModelContent, Resolved, Task
from tensorfleet.models import frameworks, manifest
from tensorfleet.neural import keeping, resuming
from tensorfleet.neural.network import Network
from tensorfleet.operators import Input

SMALL = {"epochs": 2, "units": 16, "dropout": 0.1, "batch_normalization": True}


class Trained:
    """A model trained in this process."""

    def __init__(self, objects: Path, **given: Any) -> None:
        resolved = given.pop("resolved", None)
        spec, violations = catalog.validate(JobSpec(**given))
        assert not violations
        self.objects, self.spec = objects, spec
        self.result = direct.run(spec, resolved, objects=objects).result
        assert self.result.model is not None
        self.content: ModelContent = self.result.model

    def read(self, digest: str) -> Any:
        return bundle.mapped(direct.object_path(self.objects, digest))

    @property
    def manifest(self) -> manifest.Manifest:
        return manifest.read(bundle.decode(self.read(self.content.sha256)))

    @property
    def network(self) -> Network:
        network: Network = frameworks.assemble(self.manifest, self.read)
        return network

    def exported(self, format: str) -> bytes:
        """What the task of an export leaves."""
        from tensorfleet.execution import Pools, execute

        params: dict[str, Any] = {"model": [ref.digest for ref in self.content.parts], "format": format}
        inputs = [direct.object_path(self.objects, ref.digest) for ref in self.content.parts]
        made = execute("model.export@1", params, inputs, 1, lambda *_: None, str(self.objects / "export"), Pools())
        return made.files[0][1].read_bytes()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    objects = tmp_path_factory.mktemp("digits")
    return Trained(objects, algorithm="dnn", dataset="digits", hyperparameters=SMALL)


@pytest.fixture(scope="module")
def pixels() -> tuple[Any, Any]:
    found: tuple[Any, Any] = load_digits(return_X_y=True)
    return found


def test_a_network_has_one_digest_whatever_was_made_before_it_and_tells_what_it_takes(
    digits: Trained, tmp_path: Path
) -> None:
    Trained(tmp_path / "other", algorithm="cnn", dataset="digits", hyperparameters={"epochs": 1, "filters": [4]})
    again = Trained(tmp_path / "again", algorithm="dnn", dataset="digits", hyperparameters=SMALL)
    assert again.content == digits.content
    assert digits.content.framework == "keras"
    described = digits.manifest
    assert described.parts == [digits.content.parts[2].digest]
    assert described.shell["labels"].tolist() == list(range(10))
    assert described.shell["weights"] == keeping.digest(digits.network.model.get_weights())
    with zipfile.ZipFile(io.BytesIO(digits.network.file)) as kept:
        assert {entry.date_time for entry in kept.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert "date_saved" not in json.loads(kept.read("metadata.json"))
    beside = keeping.beside(digits.network.file)
    assert (beside["algorithm"], beside["classes"][:2]) == ("dnn", ["0", "1"])
    assert list(beside["takes"]["columns"][1]) == ["column", "missing", "mean", "scale"]


def test_raw_rows_of_any_kind_are_predicted_alike(digits: Trained, pixels: tuple[Any, Any]) -> None:
    X, y = pixels
    network, names = digits.network, [str(name) for name in digits.network.feature_names_in_]
    said = network.predict(X)
    measured = digits.result.metrics
    assert (said == y).mean() == pytest.approx(0.2 * measured["accuracy"] + 0.8 * measured["train_accuracy"], abs=0.001)
    frame = pd.DataFrame(X, columns=names)
    np.testing.assert_array_equal(network.predict(frame[names[::-1]].assign(other=1)), said)
    np.testing.assert_array_equal(network.predict(frame.iloc[:5].to_dict("records")), said[:5])
    np.testing.assert_array_equal(network.predict(X[:5].tolist()), said[:5])
    probabilities = network.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(network.classes_[probabilities.argmax(axis=1)], said)
    assert network.predict(X[:0]).tolist() == []
    assert (network.n_features_in_, len(network.feature_names_in_)) == (64, 64)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (np.zeros((2, 63)), "ROW_MALFORMED"),
        ([[0.0] * 63], "ROW_MALFORMED"),
        (pd.DataFrame({"pixel_0_0": [1.0]}), "COLUMNS_MISSING"),
        ([{"pixel_0_0": 1.0}], "COLUMNS_MISSING"),
    ],
)
def test_rows_that_do_not_fit_are_refused(digits: Trained, rows: Any, reason: str) -> None:
    with pytest.raises(BadInput) as caught:
        digits.network.predict(rows)
    assert caught.value.reason == reason


def test_a_number_is_predicted_as_it_is_and_without_probabilities(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True)
    trained = Trained(tmp_path, algorithm="dnn_regressor", dataset="diabetes", hyperparameters={"epochs": 20})
    network = trained.network
    assert trained.result.metrics["r2"] > 0.2
    assert network.predict(X).shape == (442,)
    assert abs(network.predict(X).mean() - y.mean()) < 40
    assert not hasattr(network, "predict_proba")
    assert not hasattr(network, "classes_")


def test_each_format_is_what_it_says(digits: Trained, pixels: tuple[Any, Any], tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    network = digits.network
    X = network.prepared(pixels[0][:20])
    expected = network.outputs(X)
    (tmp_path / "model.keras").write_bytes(digits.exported("keras"))
    alone = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(np.asarray(alone(X)), expected, atol=1e-6)
    again = pickle.loads(digits.exported("pickle"))
    np.testing.assert_array_equal(again.predict(pixels[0]), network.predict(pixels[0]))
    with zipfile.ZipFile(io.BytesIO(digits.exported("saved_model"))) as zipped:
        zipped.extractall(tmp_path / "saved")
    served = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(np.asarray(served.serve(X)), expected, atol=1e-6)
    assert json.loads((tmp_path / "saved/assets.extra/tensorfleet.json").read_text())["algorithm"] == "dnn"
    with pytest.raises(BadInput, match="expected keras, saved_model or pickle for a model of dnn, got 'onnx'"):
        digits.exported("onnx")


def test_a_pickle_is_read_without_tensorflow_until_it_computes(digits: Trained, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(digits.exported("pickle"))
    code = f"import pickle, sys; m = pickle.load(open({str(path)!r}, 'rb')); print(m, 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "<network: 64 columns, one of 10 classes> False"


def test_without_keras_it_says_how_to_get_it(digits: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    network = digits.network
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(FailedPrecondition, match=r"pip install 'tensorfleet\[tensorflow\]'"):
        network.predict(np.zeros((1, 64)))


def goes_on(trained: Trained, objects: Path, hyperparameters: dict[str, Any], **given: Any) -> Trained:
    """A training that goes on from a model."""
    for ref in trained.content.parts:
        direct.keep(objects, [bytes(trained.read(ref.digest))])
    resolved = Resolved(model=trained.content.parts)
    spec = {"algorithm": "dnn", "dataset": "digits", "model": "digits", **given}
    return Trained(objects, hyperparameters=hyperparameters, resolved=resolved, **spec)


def first_state(objects: Path, spec: JobSpec, resolved: Resolved) -> list[Any]:
    """The weights that a training begins with."""
    from tensorfleet.kinds import plan_for
    from tensorfleet.plan import Done, StageResults

    done: list[StageResults] = []
    while not done or done[-1].name != "start":
        stage = plan_for(spec).next_stage(spec, resolved, done)
        assert not isinstance(stage, Done)
        done.append(StageResults(stage.name, [run(objects, stage.task(index)) for index in range(stage.count)], stage))
    weights: list[Any] = bundle.load(direct.object_path(objects, done[-1].results[0].outputs[0].digest))["weights"]
    return weights


def run(objects: Path, task: Task) -> Any:
    from tensorfleet.execution import Pools

    return direct._task(task, objects, Pools(), lambda *_: None)


def test_training_goes_on_from_a_model(digits: Trained, tmp_path: Path) -> None:
    more = goes_on(digits, tmp_path, {**SMALL, "epochs": 3})
    assert more.result.metrics["accuracy"] > digits.result.metrics["accuracy"]
    began = first_state(tmp_path, more.spec, Resolved(model=digits.content.parts))
    for one, other in zip(began, digits.network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_regressor_that_goes_on_keeps_the_scale_of_its_target(tmp_path: Path) -> None:
    given: dict[str, Any] = {"algorithm": "dnn_regressor", "dataset": "diabetes"}
    first = Trained(tmp_path / "first", hyperparameters={"epochs": 1}, **given)
    other = goes_on(first, tmp_path / "other", {"epochs": 1}, seed=7, **given)
    targets = [trained.network.model.get_layer("target").get_config() for trained in (first, other)]
    assert targets[0] == targets[1]


@pytest.mark.parametrize(
    ("hyperparameters", "told"),
    [
        ({**SMALL, "units": 8}, r"dense_0/kernel has shape \(64, 8\) here, and dense_0/kernel \(64, 16\) in the model"),
        ({**SMALL, "layers": 3}, r"dense_2/kernel has shape \(16, 16\) here, and probabilities/kernel \(16, 10\)"),
        ({"epochs": 1, "units": 16}, r"dense_0/bias has shape|dense_1/kernel has shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_both_shapes(
    digits: Trained, tmp_path: Path, hyperparameters: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadInput, match=told) as caught:
        goes_on(digits, tmp_path, hyperparameters)
    assert caught.value.reason == "WEIGHTS_UNLIKE"


@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_training_goes_on_from_a_file_of_keras(digits: Trained, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"model{ending}"
    model = digits.network.model
    write: Callable[[Path], None] = model.save if ending == ".keras" else model.save_weights
    write(path)
    ref = direct.keep(tmp_path / "objects", [path.read_bytes()])
    spec, _ = catalog.validate(JobSpec(algorithm="dnn", dataset="digits", hyperparameters=SMALL, model="a file"))
    began = first_state(tmp_path / "objects", spec, Resolved(model=(ref,)))
    for one, other in zip(began, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("classes", [("9", *"012345678"), tuple("abcdefghij"), ("0", "1")])
def test_a_model_of_other_classes_is_refused_with_both(digits: Trained, classes: tuple[str, ...]) -> None:
    earlier = resuming.earlier([Input(direct.object_path(digits.objects, ref.digest)) for ref in digits.content.parts])
    earlier.check_classes(tuple("0123456789"))
    earlier.check_classes(())  # of a regressor, whose shapes do not fit
    with pytest.raises(
        BadInput, match=f"tells apart '0', '1', .* and the rows to train on are of '{classes[0]}'"
    ) as it:
        earlier.check_classes(classes)
    assert it.value.reason == "CLASSES_UNLIKE"


def test_a_training_on_other_classes_ends_at_its_start(digits: Trained, tmp_path: Path) -> None:
    rows = [",".join(map(str, [*range(64), "abcdefghij"[row % 10]])) for row in range(40)]
    table = tmp_path / "rows.csv"
    table.write_text("\n".join([",".join([*(f"f{place}" for place in range(64)), "label"]), *rows]))
    with pytest.raises(BadInput, match=r"tells apart '0'.* are of 'a'"):
        goes_on(digits, tmp_path / "objects", SMALL, dataset=table.as_uri())


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    ref = direct.keep(tmp_path, [b"nothing of the kind"])
    with pytest.raises(BadInput, match=r"expected a model, a \.keras file or a \.h5 file"):
        Trained(
            tmp_path,
            algorithm="dnn",
            dataset="digits",
            hyperparameters=SMALL,
            model="a file",
            resolved=Resolved(model=(ref,)),
        )


def test_only_networks_go_on_from_a_model() -> None:
    _, violations = catalog.validate(JobSpec(algorithm="random_forest", dataset="iris", model="iris@best"))
    assert [each.field for each in violations] == ["spec.model"]


def backbone(channels: int = 1) -> Any:
    """A small network as `keras.applications` has them, with layers of their own names."""
    import keras

    pixels = keras.Input((8, 8, channels), name="pixels")
    x = keras.layers.Conv2D(4, 3, name="conv1")(pixels)
    x = keras.layers.BatchNormalization(name="bn1")(x)
    return keras.Model(pixels, x, name="backbone")


@pytest.fixture
def pretrained(tmp_path: Path) -> tuple[Path, list[Any]]:
    """A backbone's file, and its arrays."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    made, path = backbone(), tmp_path / "backbone"
    made.set_weights([np.random.default_rng(1).random(array.shape) for array in made.get_weights()])
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, made)
    return path, made.get_weights()


def test_a_backbone_takes_its_weights_by_name_and_the_head_stays_new(pretrained: tuple[Path, list[Any]]) -> None:
    import keras

    samples = keras.Input((8, 8, 1), name="samples")
    x = keras.layers.Flatten(name="flatten")(backbone()(samples))
    model = keras.Model(samples, keras.layers.Dense(3, name="probabilities")(x))
    head = model.get_layer("probabilities").get_weights()
    path, expected = pretrained
    found = resuming.earlier([Input(path)]).weights(model)
    for one, other in zip(found, [*expected, *head], strict=True):
        np.testing.assert_array_equal(one, other.astype(np.float32))


def test_a_backbone_that_does_not_fit_is_refused(pretrained: tuple[Path, list[Any]]) -> None:
    import keras

    for model, told in (
        (backbone(channels=2), r"conv1.*\(3, 3, 2, 4\).*\(3, 3, 1, 4\)"),
        (keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="other")]), "none for its layers.* other"),
    ):
        with pytest.raises(BadInput, match=told):
            resuming.earlier([Input(pretrained[0])]).weights(model)
