"""What every store of documents asks of a query and of an entry's writes, before it speaks its own language.

The rule: a query that one backend refuses, every backend refuses, in the same words.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

from tensorfleet.errors import FailedPrecondition
from tensorfleet.stores.collections import SCHEMA, collection_named
from tensorfleet.stores.contract import Write

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")


def check_field(field: str) -> str:
    """The name, where it is one: names joined by dots. ValueError."""
    if not _FIELD.fullmatch(field):
        raise ValueError(f"{field!r} is not the name of a field")
    return field


def check_value(field: str, value: Any) -> None:
    """ValueError where a field cannot be compared with it."""
    bad = abs(value) >= 2**63 if isinstance(value, int) else isinstance(value, float) and not math.isfinite(value)
    if bad or not isinstance(value, bool | int | float | str):
        raise ValueError(f"{field} can be compared with a flag, a number or a text, not with {value!r}")


def check_term(field: str, value: Any) -> None:
    """ValueError where a field cannot be asked to equal it: a value, None, or some texts of which it is to be one."""
    check_field(field)
    if isinstance(value, tuple):
        if not all(isinstance(each, str) for each in value):
            raise ValueError(f"{field} can be asked to be one of some texts, not one of {value!r}")
    elif value is not None:
        check_value(field, value)


def check_page(skip: int, limit: int) -> None:
    if skip < 0 or limit < 0:
        raise ValueError(f"skip and limit are counts, not {skip} and {limit}")


def ordering(order: Sequence[str]) -> list[tuple[str, bool]]:
    """Fields and whether each descends. Ties go by id, in the direction of the last field, as the indexes have them."""
    terms = [(check_field(field.removeprefix("-")), field.startswith("-")) for field in order]
    if all(field != "id" for field, _ in terms):
        terms.append(("id", bool(terms) and terms[-1][1]))
    return terms


def last_writes(writes: Sequence[Write]) -> dict[str, dict[str, dict[str, Any] | None]]:
    """An entry's documents by collection and id; where one is written twice, the last counts.

    ValueError for an unknown collection.
    """
    last: dict[str, dict[str, dict[str, Any] | None]] = {}
    for write in writes:
        if write.collection not in last:
            last[collection_named(write.collection).name] = {}
        last[write.collection][write.id] = write.document
    return last


def check_schema(collection: str, document_id: str, document: dict[str, Any]) -> dict[str, Any]:
    """The document, where this release knows its form. FailedPrecondition where a newer one has drawn it."""
    schema = document.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise FailedPrecondition(
            f"Document {document_id!r} of {collection} was written by a newer release of TensorFleet: its schema is "
            f"{schema}, and this release knows up to {SCHEMA}. Use the newer release."
        )
    return document
