"""What would keep a dataset from being trained on, told from its manifest's columns alone.

The rule: the orchestrator's ValidateDataset and `data.prepare` give the same verdicts, so both ask here; nothing here
reads rows or imports numerics.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct

from tensorfleet.counts import counted, either
from tensorfleet.data.sources import find_target
from tensorfleet.errors import BadInput

MAX_CATEGORIES = 100
"""Categories of one text column, at most: each becomes a prepared column."""

MAX_ONE_HOT = 150
"""Prepared columns that all text columns together become, at most."""

MAX_REAL_CLASSES = 100
"""Different values from which a real-valued target is taken for continuous, though all be whole."""

MAX_LISTED = 20
"""Findings of one kind that are told one by one."""

_WHOLE = re.compile(r"-?\d+(\.0)?|-?\d+(\.0)?e\+\d+")

Column = Mapping[str, Any]


class Finding(Struct, frozen=True):
    """Something about a dataset. severity: `error` where training would be refused, else `warning`."""

    severity: str
    reason: str
    message: str
    column: str = ""


def findings(
    columns: Sequence[Column], rows: int, *, target: str = "", task: str = "", exclude: Collection[str] = ()
) -> list[Finding]:
    """The findings, worst first.

    columns: of a manifest; figures that are not there are not judged. target: found by its name when empty.
    task: `classification`, `regression`, or empty to take the one that the target suits.
    """
    names = [column["name"] for column in columns]
    try:
        target = find_target(names, target)
    except BadInput as error:
        return [Finding("error", "TARGET_MISSING_COLUMN", error.message, target)]
    predicted = next(column for column in columns if column["name"] == target)
    features = [column for column in columns if column["name"] != target and column["name"] not in exclude]
    found = [
        *_rows(rows),
        *_target(predicted, rows, task or suited_task(predicted), any(each["type"] == "image" for each in features)),
        *_excluded(names, exclude),
        *_features(features),
        *_mixed(features),
    ]
    return sorted(found, key=lambda finding: finding.severity != "error")


def raise_first(found: Sequence[Finding]) -> None:
    """BadInput with every error's message, under the first one's reason; nothing where there is none."""
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        raise BadInput("; ".join(finding.message for finding in errors), reason=errors[0].reason)


def suited_task(target: Column) -> str:
    """The task that a target suits: regression for real numbers that are not labels, else classification."""
    return "regression" if target["type"] == "time" or _continuous(target) else "classification"


def untaken(
    columns: Sequence[Column], takes: Collection[str], exclude: Collection[str] = (), *, who: str, instead: str
) -> Finding | None:
    """The finding that an algorithm does not train on images; None where it does, or there are none.

    takes: as the algorithm says. who, instead: it, and what does, for people.
    """
    for column in columns:
        if column["type"] == "image" and column["name"] not in exclude and "image" not in takes:
            message = f"{who} trains on columns, and {column['name']!r} holds images; take {instead}"
            return Finding("error", "IMAGES", message, column["name"])
    return None


def pictured(column: str) -> Finding:
    """The finding that a target holds images."""
    message = f"column {column!r} is to be predicted and holds images; expected labels or numbers"
    return Finding("error", "TARGET_IMAGES", message, column)


def continuous(column: str, task_hint: str) -> Finding:
    """The finding that a target is no class label."""
    return Finding(
        "error",
        "TARGET_CONTINUOUS",
        f"column {column!r} {task_hint}; to predict numbers take the algorithm's `_regressor`",
        column,
    )


def _rows(rows: int) -> list[Finding]:
    if rows >= 2:
        return []
    return [
        Finding(
            "error",
            "TOO_FEW_ROWS",
            f"training needs at least 2 rows, and there {either(rows, 'is', 'are')} {counted(rows, 'row')}",
        )
    ]


def unlabelled(column: str) -> Finding:
    """The finding that images have no labels."""
    message = "no image has a label; a folder of images to train on has one folder a class"
    return Finding("error", "TARGET_NO_CLASSES", message, column)


def _target(target: Column, rows: int, task: str, images: bool) -> list[Finding]:
    name, missing = target["name"], target.get("missing", 0)
    if images and missing == rows:
        return [unlabelled(name)]
    if target["type"] == "image":
        return [pictured(name)]
    found = []
    if missing:
        message = f"column {name!r} is to be predicted and has no value in {missing:,} of {rows:,} rows"
        found.append(Finding("error", "TARGET_MISSING_VALUES", message, name))
    if target.get("infinite"):
        message = f"column {name!r} is to be predicted and is infinite in {counted(target['infinite'], 'row')}"
        found.append(Finding("error", "INFINITE", message, name))
    return found + (_numeric_target(target) if task == "regression" else _label_target(target))


def _numeric_target(target: Column) -> list[Finding]:
    name = target["name"]
    if target["type"] == "text":
        message = f"column {name!r} holds text, and a regressor predicts numbers; take a classifier"
        return [Finding("error", "TARGET_TEXT", message, name)]
    if target.get("distinct") == 1:
        message = f"column {name!r} is to be predicted and has one value in all rows"
        return [Finding("warning", "CONSTANT_COLUMN", message, name)]
    return []


def _label_target(target: Column) -> list[Finding]:
    name, distinct = target["name"], target.get("distinct")
    if target["type"] == "time":
        return [continuous(name, "holds times, which are no classes")]
    if _continuous(target):
        counted = f"{distinct:,} different real numbers" if distinct else "real numbers"
        return [continuous(name, f"holds {counted}, which are no classes")]
    if distinct == 1:
        only = target["values"][0]["value"] if target.get("values") else "one class"
        message = f"column {name!r} is to be predicted and holds one class alone, {only!r}; a classifier needs two"
        return [Finding("error", "TARGET_ONE_CLASS", message, name)]
    single = [value["value"] for value in target.get("values", ()) if value["count"] == 1]
    return [small_classes(name, single)] if single else []


def small_classes(column: str, labels: Sequence[str]) -> Finding:
    """The finding that classes have one row each."""
    listed = ", ".join(map(repr, labels[:5])) + (", …" if len(labels) > 5 else "")
    message = f"column {column!r} has classes with one row ({listed}): the validation rows are not stratified"
    return Finding("warning", "CLASS_TOO_SMALL", message, column)


def _continuous(target: Column) -> bool:
    if target["type"] != "real":
        return False
    if (target.get("distinct") or MAX_REAL_CLASSES + 1) > MAX_REAL_CLASSES:
        return True
    return any(not _WHOLE.fullmatch(value["value"]) for value in target.get("values", ()))


def _excluded(names: Sequence[str], exclude: Collection[str]) -> list[Finding]:
    return [
        Finding("error", "COLUMN_MISSING", f"there is no column {name!r} to leave out", name)
        for name in exclude
        if name not in names
    ]


def _features(features: Sequence[Column]) -> list[Finding]:
    if not features:
        return [Finding("error", "NO_FEATURES", "no column is left to predict from")]
    return [*_infinite(features), *_categories(features), *_constant(features)]


def _mixed(features: Sequence[Column]) -> list[Finding]:
    images = [column["name"] for column in features if column["type"] == "image"]
    others = [column["name"] for column in features if column["type"] != "image"]
    if not images or len(features) == 1:
        return []
    message = f"images are trained on alone, and there are also {', '.join(map(repr, [*others, *images[1:]][:5]))}"
    return [Finding("error", "IMAGES_AND_COLUMNS", f"{message}: leave those out", images[0])]


def _infinite(features: Sequence[Column]) -> list[Finding]:
    return [
        Finding(
            "error",
            "INFINITE",
            f"column {column['name']!r} is infinite in {counted(column['infinite'], 'row')}; "
            "replace those values or leave the column out",
            column["name"],
        )
        for column in features
        if column.get("infinite")
    ][:MAX_LISTED]


def _categories(features: Sequence[Column]) -> list[Finding]:
    text = [column for column in features if column["type"] == "text"]
    counts = {column["name"]: column.get("distinct", 0) + bool(column.get("missing")) for column in text}
    many = [name for name, count in counts.items() if count > MAX_CATEGORIES]
    found = [
        Finding(
            "error",
            "TOO_MANY_COLUMNS",
            f"column {name!r} holds text with {_distinct(counts[name])} different values, each of which would become "
            f"a column; at most {MAX_CATEGORIES} are allowed: leave it out (exclude {name!r}) or group its values",
            name,
        )
        for name in many[:MAX_LISTED]
    ]
    total = sum(count for name, count in counts.items() if name not in many)
    if total > MAX_ONE_HOT:
        message = (
            f"the {len(counts) - len(many)} text columns would become {total:,} columns; at most {MAX_ONE_HOT} "
            "are allowed: leave some of them out"
        )
        found.append(Finding("error", "TOO_MANY_COLUMNS", message))
    return found


def _constant(features: Sequence[Column]) -> list[Finding]:
    return [
        Finding(
            "warning", "CONSTANT_COLUMN", f"column {column['name']!r} tells nothing: {_same(column)}", column["name"]
        )
        for column in features
        if column.get("distinct", 2) <= 1 and (column["distinct"] == 0 or not column["missing"])
    ][:MAX_LISTED]


def _same(column: Column) -> str:
    return "it has one value in all rows" if column["distinct"] else "it has no value in any row"


def _distinct(count: int) -> str:
    return f"{count:,}" if count < 1_000 else "1,000 or more"
