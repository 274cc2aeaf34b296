"""The five types of a table's column, and how whatever a file holds becomes one of them.

The rule: past this module a table holds int64, float64, bool, string and timestamp[us] alone, and what is missing is
null: never NaN, never an empty string. A dataset of images has a column of a sixth type, which no table has.
"""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tensorfleet.errors import BadInput

INTEGER, REAL, FLAG, TEXT, TIME, IMAGE = "integer", "real", "flag", "text", "time", "image"

STORED: dict[str, pa.DataType] = {
    INTEGER: pa.int64(),
    REAL: pa.float64(),
    FLAG: pa.bool_(),
    TEXT: pa.string(),
    TIME: pa.timestamp("us"),
}

_INDEX = re.compile(r"__index_level_\d+__")


def column_type(dtype: pa.DataType) -> str:
    """The column type that a stored Arrow type stands for."""
    if isinstance(dtype, pa.FixedShapeTensorType):
        return IMAGE
    return next(name for name, stored in STORED.items() if stored == dtype)


def typed(table: pa.Table, name: str) -> pa.Table:
    """A table as it was read, in the stored types.

    name: the file's, for errors: DUPLICATE_COLUMNS, NO_COLUMNS, NO_ROWS, UNSUPPORTED_COLUMN, VALUE_TOO_LARGE.
    """
    read = table.column_names
    kept = [index for index, column in enumerate(read) if not _INDEX.fullmatch(column)]
    names = [read[index] or f"column_{index + 1}" for index in kept]
    check_names(names, name)
    if not table.num_rows:
        raise BadInput(f"{name}: it has columns, and no rows", reason="NO_ROWS")
    columns = table.columns
    labelled = zip(kept, names, strict=True)
    stored = [_stored(columns[index], f"{name}: column {column!r}") for index, column in labelled]
    return pa.table(stored, names=names)


def check_names(names: Sequence[str], name: str) -> None:
    """BadInput where there are no columns, or two of one name."""
    if not names:
        raise BadInput(f"{name}: it has no columns", reason="NO_COLUMNS")
    seen: set[str] = set()
    doubled = list(dict.fromkeys(column for column in names if column in seen or seen.add(column)))  # type: ignore[func-returns-value]
    if doubled:
        listed = ", ".join(map(repr, doubled[:10])) + (", …" if len(doubled) > 10 else "")
        raise BadInput(f"{name}: columns that occur more than once: {listed}", reason="DUPLICATE_COLUMNS")


def seconds(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Times as seconds since 1970, real numbers."""
    return pc.divide(pc.cast(pc.cast(column, pa.int64()), pa.float64(), safe=False), 1e6)


def _stored(column: pa.ChunkedArray, label: str) -> pa.ChunkedArray:
    dtype = column.type
    if pa.types.is_dictionary(dtype):
        return _stored(column.cast(dtype.value_type), label)
    if pa.types.is_null(dtype):
        return column.cast(pa.float64())
    if pa.types.is_boolean(dtype):
        return column
    if pa.types.is_integer(dtype):
        return _integers(column)
    if pa.types.is_floating(dtype) or pa.types.is_decimal(dtype):
        return _reals(column)
    if pa.types.is_temporal(dtype):
        return _times(column, label)
    return _text(column, label)


def _integers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:  # unsigned, and past 2^63
        return column.cast(pa.float64(), safe=False)


def _reals(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.type == pa.float16():
        column = column.cast(pa.float32())
    reals = column.cast(pa.float64(), safe=False)
    return pc.if_else(pc.is_nan(reals), pa.scalar(None, pa.float64()), reals)


def _times(column: pa.ChunkedArray, label: str) -> pa.ChunkedArray:
    dtype = column.type
    if pa.types.is_duration(dtype):
        per_second = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[dtype.unit]
        return pc.divide(column.cast(pa.int64()).cast(pa.float64(), safe=False), per_second)
    if pa.types.is_time(dtype):  # a time of day, taken as one of the first day
        column = column.cast(pa.time64("ns" if dtype.bit_width == 64 and dtype.unit == "ns" else "us"))
        column = column.cast(pa.int64()).cast(pa.timestamp(column.type.unit))
    try:
        return column.cast(STORED[TIME], safe=False)
    except pa.ArrowException as error:
        raise BadInput(f"{label}: {dtype} cannot be taken as times: {error}", reason="UNSUPPORTED_COLUMN") from error


def _text(column: pa.ChunkedArray, label: str) -> pa.ChunkedArray:
    try:
        text = column.cast(pa.large_string())
    except pa.ArrowException as error:
        raise BadInput(
            f"{label}: it holds {column.type}; numbers, flags, text and times can be used", reason="UNSUPPORTED_COLUMN"
        ) from error
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.large_string()), text)
    try:
        return text.cast(STORED[TEXT])
    except pa.ArrowException:
        # More than 2 GiB in one chunk: cut it up, so that each has offsets of 32 bits.
        pieces = [text.slice(start, 65_536) for start in range(0, len(text), 65_536)]
        return pa.chunked_array([chunk.cast(STORED[TEXT]) for piece in pieces for chunk in piece.chunks])


def numbers(column: pa.Array, kind: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """A column's values as float64 (n,): flags as 0 and 1, times as seconds, what is missing as NaN."""
    if kind == TIME:
        column = seconds(column)
    if kind != REAL and column.type != pa.float64():
        column = pc.cast(column, pa.float64(), safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
