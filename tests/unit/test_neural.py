"""What of neural networks needs no TensorFlow: parameters, learning rates, labels, what is no architecture."""

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from tensorfleet import catalog
from tensorfleet.errors import BadInput
from tensorfleet.kinds import spread
from tensorfleet.model import JobSpec
from tensorfleet.neural import optimizers, samples

SPEC = JobSpec(algorithm="cnn", dataset="digits")


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"units": [64, 32], "layers": 2}, None),
        ({"units": [64, 32], "layers": 3}, "layers"),
        ({"image_shape": [8, 8]}, None),
        ({"image_shape": [8]}, "image_shape"),
        ({"nesterov": True, "optimizer": "sgd"}, None),
        ({"nesterov": True}, "nesterov"),
        ({"nesterov": True, "optimizer": "sgd", "momentum": 0.0}, "nesterov"),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, "clipvalue"),
        ({"way": "gang"}, None),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(given: dict[str, Any], wrong: str | None) -> None:
    _, violations = catalog.validate(replace(SPEC, hyperparameters=given))
    assert [violation.field for violation in violations] == ([f"spec.hyperparameters.{wrong}"] if wrong else [])


@pytest.mark.parametrize(
    ("given", "members"),
    [
        ({}, "4 members at once"),
        ({"replicas": 1}, "1 member at once"),
        ({"replicas": 3, "min_members": 2}, "3 members, or where there is no room for all, 2 at least, at once"),
    ],
)
def test_a_gang_is_told_with_its_members(given: dict[str, Any], members: str) -> None:
    lines = spread.expected(replace(SPEC, hyperparameters={"way": "gang", **given}))
    assert lines[1] == f"gang: 10 epochs by {members}, which average every step"


ENDS = {"class_name": "Dense", "module": "keras.layers", "config": {"units": 3, "activation": "softmax"}}


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([ENDS], None),
        ([{"class_name": "Lambda", "config": {"name": "twice"}}], r"'twice' \(Lambda\) calls a Python function"),
        (
            [{"class_name": "TimeDistributed", "config": {"layer": {"class_name": "Lambda", "config": {}}}}],
            "a Lambda calls",
        ),
        ([{"class_name": "TFSMLayer", "config": {}}], "loads a program"),
        ([{"class_name": "Popen", "module": "subprocess", "config": {}}], "from the module 'subprocess'"),
        ([{"class_name": "Mine", "module": "keras.layers", "registered_name": "me>Mine", "config": {}}], "its user's"),
    ],
)
def test_an_architecture_with_code_is_refused_when_it_is_submitted(layers: list[Any], said: str | None) -> None:
    config = {"class_name": "Sequential", "config": {"layers": layers}}
    spec = replace(SPEC, algorithm="keras", hyperparameters={"architecture": config})
    _, violations = catalog.validate(spec)
    if said is None:
        assert violations == []
    else:
        (violation,) = violations
        assert violation.field == "spec.hyperparameters.architecture"
        assert re.search(said, violation.description)


def test_an_architecture_must_be_given_and_be_a_model() -> None:
    for given, said in ((None, "got none"), ({}, "got none"), ({"a": 1}, "class_name and config")):
        _, (violation,) = catalog.validate(
            replace(SPEC, algorithm="keras", hyperparameters={} if given is None else {"architecture": given})
        )
        assert said in violation.description


def test_rates_follow_the_epochs_that_are_done_and_not_the_ways() -> None:
    given = catalog.algorithm("dnn").defaults() | {"schedule": "cosine", "warmup_epochs": 1.0, "epochs": 4}
    whole = optimizers.rates(given, 2, 0, 40, 40)
    shared = optimizers.rates(given, 2, 0, 10, 10)
    np.testing.assert_allclose(shared, whole[::4], rtol=1e-6)
    np.testing.assert_array_equal(optimizers.rates(given, 2, 5, 5, 10), shared[5:])
    first = optimizers.rates(given, 0, 0, 10, 10)
    assert 0 < first[0] < first[-1]
    assert optimizers.rates(given, 3, 0, 10, 10)[-1] < 0.01 * given["learning_rate"]  # type: ignore[operator]


@pytest.mark.parametrize(("schedule", "last"), [("constant", 0.001), ("exponential", 0.001 * 0.9**9)])
def test_schedules_end_where_they_say(schedule: str, last: float) -> None:
    given = catalog.algorithm("dnn").defaults() | {"schedule": schedule}
    assert optimizers.rates(given, 9, 0, 1, 10)[0] == pytest.approx(last)
    assert optimizers.rates(given, 9, 0, 1, 10, 0.1)[0] == pytest.approx(last / 10)


def test_replicas_take_longer_steps_as_asked() -> None:
    found = [optimizers.scaled({"replica_scaling": name}, 4) for name in ("root", "linear", "none")]
    assert found == [2.0, 4.0, 1.0]


def test_labels_are_told_by_their_text() -> None:
    assert samples.labels(np.array([3, 1, 3, 2]), ["1", "3"]).tolist() == [1, 0, 1, samples.UNKNOWN]
    assert samples.labels(np.array(["b", "a"]), ["a", "b"]).tolist() == [1, 0]
    assert samples.labels(np.array([], dtype=np.int64), ["a"]).tolist() == []


def test_balanced_classes_weigh_as_in_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    y = np.array([0, 0, 0, 1, 2, 2], dtype=np.int32)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y)
    found = samples.class_weights("balanced", y, ["a", "b", "c"])
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(BadInput, match="no class"):
        samples.class_weights({"d": 1.0}, y, ["a", "b", "c"])


def test_what_a_job_is_submitted_with_imports_no_tensorflow() -> None:
    program = (
        "import sys; from tensorfleet import catalog; from tensorfleet.model import JobSpec\n"
        'architecture = \'{"class_name": "Sequential", "config": {}}\'\n'
        "spec = JobSpec(algorithm='keras', dataset='digits', hyperparameters={'architecture': architecture})\n"
        "assert not catalog.validate(spec)[1]; catalog.operator('neural.local@1')\n"
        "print([name for name in ('tensorflow', 'keras', 'numpy') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
