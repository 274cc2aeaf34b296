"""Whether a training can go on from a model: its classes must be those of the rows, by name and in order.

The rule: what a network's outputs stand for is in their order alone, so weights that fit in shape and not in classes
would be trained to mean something else, and nobody would be told.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

SHOWN = 6
"""Classes that a message names of each side."""

_CUT = "…"


def of_column(column: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Every class that a column to predict holds, in no particular order; None where its figures do not tell.

    column: as a dataset's manifest has it.
    """
    values = [str(each["value"]) for each in column.get("values", ())]
    if column["type"] not in ("text", "integer", "flag") or not values or column.get("distinct") != len(values):
        return None
    if any(value.endswith(_CUT) for value in values):
        return None
    return tuple(value.capitalize() if column["type"] == "flag" else value for value in values)


def lacking(model: Collection[str], column: Mapping[str, Any]) -> str:
    """What is wrong where a column surely lacks classes of a model; empty where nothing is, or it cannot be told."""
    held = of_column(column)
    return unlike(model, sorted(held)) if held is not None and not set(model) <= set(held) else ""


def unlike(model: Collection[str], rows: Sequence[str]) -> str:
    """That a model's classes are not those of the rows to train on, and what can be done."""
    return (
        f"the model to go on from tells apart {_listed(model)}, and the rows to train on are of {_listed(rows)}: "
        "expected the same classes in the same order. For its weights alone, whatever they stood for, download it as a "
        ".keras file and go on from that"
    )


def _listed(classes: Collection[str]) -> str:
    names = list(classes)
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
