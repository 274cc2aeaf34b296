"""What the command line reads: hyperparameters, labels, and the training they make."""

import json
from pathlib import Path

import pytest

from clients.cli.training import Training, label, parameter, value
from tensorfleet.errors import BadInput, InvalidRequest
from tensorfleet.model import Value


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("64", 64),
        ("64.0", 64.0),
        ("1e-3", 0.001),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}),
        ('"64"', "64"),
        ("sqrt", "sqrt"),
        ("True", "True"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("", ""),
        ("a=b", "a=b"),
    ],
)
def test_a_value_is_json_else_text(text: str, read: Value) -> None:
    assert value(text) == read
    assert type(value(text)) is type(read)


def test_a_parameter_is_a_name_and_a_value() -> None:
    assert parameter("max_features=sqrt") == ("max_features", "sqrt")
    assert parameter("expression=a=b") == ("expression", "a=b")


@pytest.mark.parametrize("text", ["n_estimators", "=5", " =5"])
def test_a_parameter_without_a_name_or_a_sign_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="NAME=VALUE"):
        parameter(text)


def test_a_label_stays_text() -> None:
    assert label("zone=1") == ("zone", "1")


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    file.write_text(json.dumps({"n_estimators": 10, "max_depth": 3}))
    training = Training(params=file, param=["n_estimators=20", "n_estimators=30"])
    assert training.hyperparameters() == {"n_estimators": 30, "max_depth": 3}


@pytest.mark.parametrize("content", ["[1]", "{", "nope"])
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "params.json").write_text(content)
    with pytest.raises(InvalidRequest, match="--params"):
        Training(params=tmp_path / "params.json").hyperparameters()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        Training(params=tmp_path / "params.json").hyperparameters()


def test_a_training_in_this_process_reads_paths_as_sources(tmp_path: Path) -> None:
    (tmp_path / "data.csv").touch()
    spec = Training(algorithm="ridge", seed=7, name="m").spec(str(tmp_path / "data.csv"))
    assert spec.dataset == (tmp_path / "data.csv").as_uri()
    assert (spec.algorithm, spec.seed, spec.model_name, spec.validation_dataset) == ("ridge", 7, "m", "")
    assert Training().spec("iris").dataset == "iris"
    with pytest.raises(BadInput):
        Training().spec(str(tmp_path / "other.csv"))
