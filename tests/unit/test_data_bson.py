"""Documents as rows: which fields are columns, and what they hold."""

import datetime
import gzip
import uuid
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from tensorfleet.data import bson_reading, reading
from tensorfleet.errors import BadInput

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, 678_000)  # noqa: DTZ001  as MongoDB gives it


def table(*documents: dict[str, Any]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = bson_reading.table(b"".join(map(bson.encode, documents)), "rows.bson").to_pydict()
    return columns


def types(*documents: dict[str, Any]) -> dict[str, str]:
    found = bson_reading.table(b"".join(map(bson.encode, documents)), "rows.bson")
    return {field.name: str(field.type) for field in found.schema}


def test_fields_are_columns_by_their_paths_in_the_order_in_which_they_occur() -> None:
    found = table(
        {"_id": 1, "b": 1, "in": {"_id": 5, "deep": {"x": 1.5}}, "list": [1, {"y": "a"}]},
        {"_id": 2, "a": 2, "list": [3], "in": {}},
    )
    assert found == {
        "b": [1, None],
        "in._id": [5, None],
        "in.deep.x": [1.5, None],
        "list.0": [1, 3],
        "list.1.y": ["a", None],
        "a": [None, 2],
    }
    assert list(found) == ["b", "in._id", "in.deep.x", "list.0", "list.1.y", "a"]


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([1, Int64(2**62), None], "int64", [1, 2**62, None]),
        ([1, 1.5], "double", [1.0, 1.5]),
        ([1.5, 1], "double", [1.5, 1.0]),
        ([Decimal128("0.25"), 1], "double", [0.25, 1.0]),
        ([True, None], "bool", [True, None]),
        (["ä", None], "string", ["ä", None]),
        ([WHEN, None], "timestamp[us]", [WHEN, None]),
        ([Timestamp(5, 1)], "timestamp[us]", [datetime.datetime(1970, 1, 1, 0, 0, 5)]),  # noqa: DTZ001
        ([ObjectId("65a" + "0" * 21)], "string", ["65a" + "0" * 21]),
        ([Binary.from_uuid(uuid.UUID(int=5))], "string", [str(uuid.UUID(int=5))]),
        ([None, None], "double", [None, None]),
    ],
)
def test_what_values_are(values: list[Any], kind: str, read: list[Any]) -> None:
    documents = [{"x": value} for value in values]
    assert types(*documents) == {"x": kind}
    assert table(*documents) == {"x": read}


def test_a_column_may_begin_late_and_change_from_whole_numbers_to_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bson_reading, "BATCH", 3)
    rows = [{"always": number} for number in range(5)] + [{"always": 0.5, "late": True}] + [{} for _ in range(3)]
    assert table(*rows) == {
        "always": [0.0, 1.0, 2.0, 3.0, 4.0, 0.5, None, None, None],
        "late": [None] * 5 + [True] + [None] * 3,
    }


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (DatetimeMS(2**60), "holds a time outside the years 1 to 9999"),
        (b"\0", "holds binary data"),
        (Code("x"), "holds a Code"),
        (Regex("x"), "holds a Regex"),
        (DBRef("rows", 1), "holds a DBRef"),
        (MaxKey(), "holds a MaxKey"),
        (True, r"holds a flag, and in document 1 a whole number"),
        ("text", r"holds text, and in document 1 a whole number"),
        ({"x": b"\0"}, r"field 'odd\.x' holds binary data"),
    ],
)
def test_a_document_that_is_no_row_is_told(value: Any, said: str) -> None:
    rows = [{"odd": None if isinstance(value, dict) else 1}, {"_id": "second", "odd": value}]
    with pytest.raises(BadInput, match=said) as told:
        table(*rows)
    assert "rows.bson, document 2 (_id second): field 'odd" in told.value.message
    assert told.value.reason == "UNSUPPORTED_COLUMN"


def test_a_path_that_two_fields_have_is_told() -> None:
    with pytest.raises(BadInput, match=r"two fields that are both 'a\.b'"):
        table({"a": {"b": 1}, "a.b": 2})


def test_documents_have_so_many_fields_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bson_reading, "MAX_COLUMNS", 3)
    with pytest.raises(BadInput, match=r"field 'x\.3' would be one column more than 3"):
        table({"x": [1, 2, 3, 4]})


@pytest.mark.parametrize(
    "data",
    [b"not bson at all", bson.encode({"x": 1})[:-3], bson.encode({"x": 1}) + b"\0\0\0\0", b"\x05\0\0\0\x01"],
    ids=["text", "cut", "more", "unended"],
)
def test_what_is_no_bson_is_told(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"rows\.bson.*document [12]") as told:
        bson_reading.table(data, "rows.bson")
    assert told.value.reason == "BSON_MALFORMED"


@pytest.mark.parametrize("name", ["rows.bson", "rows.bson.gz"])
def test_a_dump_is_a_file_like_others(tmp_path: Path, name: str) -> None:
    data = b"".join(bson.encode({"_id": ObjectId(), "x": number, "when": WHEN}) for number in range(3))
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    found, form = reading.read(str(tmp_path / name), name)
    assert form == "bson"
    assert found.to_pydict() == {"x": [0, 1, 2], "when": [WHEN] * 3}


def test_documents_without_fields_have_no_columns(tmp_path: Path) -> None:
    (tmp_path / "rows.bson").write_bytes(bson.encode({"_id": 1}))
    with pytest.raises(BadInput) as told:
        reading.read(str(tmp_path / "rows.bson"), "rows.bson")
    assert told.value.reason == "NO_COLUMNS"
