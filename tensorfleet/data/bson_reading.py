"""BSON documents as a table: a MongoDB collection, or the `.bson` file that `mongodump` writes of one.

The rule: a column is a field by its dotted path, also into lists (`address.city`, `scores.0`), and holds one kind of
value; what a document does not have is missing. `_id` is no column: it says which document, and nothing of it. Columns
are in the order in which they first occur.
"""

import datetime
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import bson
import pyarrow as pa
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from bson.timestamp import Timestamp
from msgspec import Struct

from tensorfleet.data.typed import FLAG, INTEGER, REAL, STORED, TEXT, TIME
from tensorfleet.errors import BadInput

MAX_COLUMNS = 100_000
BATCH = 16_384
"""Documents whose values are Python's at a time."""

ID = "_id"
_OPTIONS: CodecOptions[Mapping[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO, uuid_representation=UuidRepresentation.STANDARD
)
_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001  MongoDB's times are UTC, and come without a zone
_MICROSECOND = datetime.timedelta(microseconds=1)
_SHOWN = {FLAG: "a flag", INTEGER: "a whole number", REAL: "a number", TEXT: "text", TIME: "a time"}


class _Seen(Struct):
    """A column as far as it is known. kind: empty where all values were missing. where: the first that had one."""

    values: list[Any]
    chunks: list[pa.Array]
    kind: str = ""
    where: str = ""


def table(data: Any, name: str) -> pa.Table:
    """The documents of concatenated BSON, as rows in their order.

    name: the file's, for errors. BadInput, reason BSON_MALFORMED or UNSUPPORTED_COLUMN, says which document and field.
    """
    columns: dict[str, _Seen] = {}
    rows = 0
    for document in _documents(data, name):
        rows += 1
        label = f"document {rows:,}"
        try:
            for path, value in _fields(document):
                _add(columns, path, value, rows, label)
        except _Refused as error:
            known = f" ({ID} {document[ID]})" if ID in document else ""
            raise BadInput(f"{name}, {label}{known}: {error}", reason="UNSUPPORTED_COLUMN") from None
        if rows % BATCH == 0:
            _pack(columns, BATCH)
    _pack(columns, rows % BATCH)
    arrays = [pa.chunked_array([_cast(chunk, column.kind) for chunk in column.chunks]) for column in columns.values()]
    return pa.table(arrays, names=list(columns))


class _Refused(Exception):  # noqa: N818
    """What is wrong with a field of a document."""


def _documents(data: Any, name: str) -> Iterator[Mapping[str, Any]]:
    """Each document. The bytes are walked by the lengths that they tell, so that none is read to its end at once."""
    view, start, number = memoryview(data), 0, 0
    try:
        while start < len(view):
            number += 1
            length = int.from_bytes(view[start : start + 4], "little", signed=True)
            if length < 5 or start + length > len(view):
                raise BadInput(
                    f"{name}: it breaks off in document {number:,}, or is no BSON as mongodump writes it",
                    reason="BSON_MALFORMED",
                )
            try:
                yield bson.decode(bytes(view[start : start + length]), _OPTIONS)
            except (bson.errors.BSONError, UnicodeDecodeError, OverflowError) as error:
                raise BadInput(
                    f"{name}, document {number:,}: it is no BSON: {error}", reason="BSON_MALFORMED"
                ) from error
            start += length
    finally:
        view.release()


def _fields(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values that are there, with their paths."""
    pending: list[tuple[str, Any]] = [(name, value) for name, value in reversed([*document.items()]) if name != ID]
    while pending:
        path, value = pending.pop()
        inner: Iterable[tuple[Any, Any]]
        if isinstance(value, Mapping):
            inner = value.items()
        elif isinstance(value, list):
            inner = enumerate(value)
        else:
            yield path, value
            continue
        pending += [(f"{path}.{key}", item) for key, item in reversed([*inner])]


def _add(columns: dict[str, _Seen], path: str, value: Any, row: int, label: str) -> None:
    column = columns.get(path)
    if column is None:
        if len(columns) >= MAX_COLUMNS:
            raise _Refused(f"field {path!r} would be one column more than {MAX_COLUMNS:,}")
        column = columns[path] = _Seen([], [])
        column.chunks = [pa.nulls(BATCH)] * ((row - 1) // BATCH)
    position = (row - 1) % BATCH
    if len(column.values) > position:
        raise _Refused(f"it has two fields that are both {path!r}")
    column.values += [None] * (position - len(column.values))
    kind, plain = _plain(value, path)
    column.values.append(plain)
    if kind and kind != column.kind:
        if not column.kind:
            column.kind, column.where = kind, label
        elif {kind, column.kind} == {INTEGER, REAL}:
            column.kind = REAL
        else:
            raise _Refused(f"field {path!r} holds {_SHOWN[kind]}, and in {column.where} {_SHOWN[column.kind]}")


def _plain(value: Any, path: str) -> tuple[str, Any]:
    """The value's column type, empty for what is missing, and the value as Arrow takes it; times in microseconds."""
    if value is None:
        return "", None
    if isinstance(value, bool):
        return FLAG, value
    if isinstance(value, int):
        return INTEGER, int(value)
    if isinstance(value, float):
        return REAL, value
    if isinstance(value, Decimal128):
        return REAL, float(value.to_decimal())
    if type(value) is str:  # code in text is of another kind
        return TEXT, value
    if isinstance(value, ObjectId | uuid.UUID):
        return TEXT, str(value)
    if isinstance(value, datetime.datetime):
        return TIME, (value - _EPOCH) // _MICROSECOND
    if isinstance(value, Timestamp):
        return TIME, value.time * 1_000_000
    if isinstance(value, DatetimeMS):
        raise _Refused(f"field {path!r} holds a time outside the years 1 to 9999")
    raise _Refused(
        f"field {path!r} holds {_called(value)}; numbers, flags, text, times, identifiers, and documents and lists of "
        "these can be used: leave the field out, in a view of the collection"
    )


def _called(value: Any) -> str:
    return "binary data" if isinstance(value, bytes) else f"a {type(value).__name__}"


def _pack(columns: Mapping[str, _Seen], rows: int) -> None:
    """The values of the last rows into Arrow's arrays."""
    for column in columns.values():
        if rows:
            column.chunks.append(_array([*column.values, *[None] * (rows - len(column.values))], column.kind))
        column.values = []


def _array(values: list[Any], kind: str) -> pa.Array:
    if not kind:
        return pa.nulls(len(values))
    if kind == REAL:
        values = [None if value is None else float(value) for value in values]
    return pa.array(values, pa.int64()).cast(STORED[TIME]) if kind == TIME else pa.array(values, STORED[kind])


def _cast(chunk: pa.Array, kind: str) -> pa.Array:
    """A chunk in its column's type, which was not known to all of the rows before."""
    return chunk.cast(STORED[kind or REAL], safe=False)
