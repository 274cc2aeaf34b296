"""Findings from a manifest's columns alone, as the orchestrator asks for them."""

from typing import Any

import pytest

from tensorfleet.data import checks, sources


def column(name: str, kind: str = "real", distinct: int = 50, **figures: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "missing": 0, "distinct": distinct, "values": [], **figures}


def reasons(columns: list[dict[str, Any]], rows: int = 100, **options: Any) -> list[tuple[str, str, str]]:
    found = checks.findings(columns, rows, **options)
    return [(finding.severity, finding.reason, finding.column) for finding in found]


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits", "diabetes", "california"])
def test_builtin_datasets_are_fit_to_train_on(name: str) -> None:
    columns, rows = sources.columns(name), sources.rows(name)
    assert columns is not None
    assert rows is not None
    assert checks.findings(columns, rows) == []
    suited = "regression" if name in ("diabetes", "california") else "classification"
    assert checks.suited_task(columns[-1]) == suited


def test_a_regression_dataset_is_refused_to_a_classifier() -> None:
    columns = sources.columns("diabetes")
    assert columns is not None
    (finding,) = checks.findings(columns, 442, task="classification")
    assert finding.reason == "TARGET_CONTINUOUS"
    assert "214 different real numbers" in finding.message
    assert "`_regressor`" in finding.message


def test_errors_come_before_warnings() -> None:
    columns = [
        column("same", distinct=1),
        column("empty", distinct=0, missing=100),
        column("huge", infinite=1),
        column("words", "text", 101),
        column("target", "integer", 3, missing=2, values=[{"value": "7", "count": 1}]),
    ]
    assert reasons(columns, exclude=["gone"]) == [
        ("error", "TARGET_MISSING_VALUES", "target"),
        ("error", "COLUMN_MISSING", "gone"),
        ("error", "INFINITE", "huge"),
        ("error", "TOO_MANY_COLUMNS", "words"),
        ("warning", "CLASS_TOO_SMALL", "target"),
        ("warning", "CONSTANT_COLUMN", "same"),
        ("warning", "CONSTANT_COLUMN", "empty"),
    ]


@pytest.mark.parametrize(
    ("target", "task", "expected"),
    [
        (column("t", "text", 1), "", [("error", "TARGET_ONE_CLASS", "t")]),
        (column("t", "integer", 1), "regression", [("warning", "CONSTANT_COLUMN", "t")]),
        (column("t", "text", 3), "regression", [("error", "TARGET_TEXT", "t")]),
        (column("t", "real", 500), "", []),
        (column("t", "real", 500), "classification", [("error", "TARGET_CONTINUOUS", "t")]),
        (
            column("t", "real", 2, values=[{"value": "0.5", "count": 9}]),
            "classification",
            [("error", "TARGET_CONTINUOUS", "t")],
        ),
        (
            column("t", "real", 2, values=[{"value": "1e+16", "count": 9}, {"value": "-1.0", "count": 9}]),
            "classification",
            [],
        ),
        (column("t", "time", 5), "classification", [("error", "TARGET_CONTINUOUS", "t")]),
        (column("t", "integer", 400), "classification", []),
        (column("t", "real", 500, infinite=3), "", [("error", "INFINITE", "t")]),
    ],
)
def test_targets(target: dict[str, Any], task: str, expected: list[tuple[str, str, str]]) -> None:
    assert reasons([column("a"), target], task=task) == expected


def test_a_missing_value_is_a_category_too() -> None:
    target = column("t", "integer", 2)
    assert reasons([column("w", "text", 100), target]) == []
    assert reasons([column("w", "text", 100, missing=1), target]) == [("error", "TOO_MANY_COLUMNS", "w")]
    assert reasons([column("w", "text", 100, missing=1), target, column("a")], target="t", exclude=["w"]) == []


def test_a_missing_target_and_no_rows() -> None:
    assert reasons([column("a")], target="b") == [("error", "TARGET_MISSING_COLUMN", "b")]
    assert reasons([column("t", "integer", 2)], rows=1) == [("error", "TOO_FEW_ROWS", ""), ("error", "NO_FEATURES", "")]
