"""Going on from a model: its classes are compared with those that a dataset's figures tell."""

from typing import Any

import pytest

from orchestrator.admission import admit
from orchestrator.core.state import State
from tensorfleet.errors import InvalidRequest
from tensorfleet.model import JobSpec
from tensorfleet.models import labels
from tests.unit.registry import registered


def column(kind: str, *values: str, distinct: int | None = None) -> dict[str, Any]:
    told = [{"value": value, "count": 3} for value in values]
    return {"name": "label", "type": kind, "distinct": len(values) if distinct is None else distinct, "values": told}


@pytest.mark.parametrize(
    ("given", "classes"),
    [
        (column("text", "dogs", "cats"), ("dogs", "cats")),
        (column("integer", "1", "0"), ("1", "0")),
        (column("flag", "true", "false"), ("True", "False")),  # as they are called in a model
        (column("text", "a", distinct=30), None),
        (column("text", "a", "b…"), None),  # one that was cut
        (column("real", "0.5", "1.0"), None),
        ({"name": "label", "type": "integer", "distinct": 10}, None),
    ],
)
def test_classes_are_known_where_all_of_them_are_told(given: dict[str, Any], classes: tuple[str, ...] | None) -> None:
    assert labels.of_column(given) == classes


def test_a_column_that_lacks_classes_of_a_model_is_told_with_both() -> None:
    told = labels.lacking(("cats", "dogs"), column("text", "pears", "apples"))
    assert "tells apart 'cats', 'dogs', and the rows to train on are of 'apples', 'pears'" in told
    assert labels.lacking(("cats", "dogs"), column("text", "cats")) != ""


def test_a_column_with_all_classes_or_unknown_ones_is_let_be() -> None:
    # One more may be a class of which no row is trained on: that is seen once the rows are split.
    for given in (column("text", "dogs", "cats"), column("text", "dogs", "cats", "rats"), column("text", distinct=99)):
        assert labels.lacking(("cats", "dogs"), given) == ""


def test_many_classes_are_not_all_named() -> None:
    told = labels.unlike([str(number) for number in range(1_000)], ["a", "b"])
    assert "'4', '5' and 994 more, and the rows to train on are of 'a', 'b':" in told


@pytest.mark.parametrize("classes", [("0", "1", "2", "cat"), ("setosa", "versicolor", "virginica")])
async def test_a_training_on_rows_without_a_models_classes_is_refused_as_it_is_submitted(
    classes: tuple[str, ...],
) -> None:
    documents = await registered("keras", "dnn", classes=classes)
    with pytest.raises(InvalidRequest, match=f"'{classes[-1]}', and the rows to train on are of '0', '1', '2'") as it:
        await admit(JobSpec(dataset="iris", algorithm="dnn", model="m"), "", documents, State())
    assert [each.field for each in it.value.violations] == ["spec.model"]


@pytest.mark.parametrize(
    ("classes", "spec"),
    [
        (("0", "1", "2"), JobSpec(dataset="iris", algorithm="dnn", model="m")),
        ((), JobSpec(dataset="iris", algorithm="dnn", model="m")),
        (("a", "b"), JobSpec(dataset="diabetes", algorithm="dnn_regressor", model="m")),
        (("a", "b"), JobSpec(dataset="file:///rows.csv", algorithm="dnn", model="m")),  # seen once they are read
    ],
)
async def test_a_training_whose_classes_may_be_a_models_is_taken(classes: tuple[str, ...], spec: JobSpec) -> None:
    await admit(spec, "", await registered("keras", "dnn", classes=classes), State())
