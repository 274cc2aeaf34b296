"""Raw rows as the DataFrame that a model's pipeline takes.

The rule: a frame's columns are the model's features in their order, and their values are those that the rows held when
the model was trained: numbers, flags as 0 and 1, times as seconds since 1970, text; what is missing is NaN or None.
"""

import datetime
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tensorfleet.data import typed
from tensorfleet.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_FLAGS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


def frame(
    columns: Sequence[str] | None,
    rows: "Sequence[Sequence[Any]] | pa.Table",
    features: Sequence[str],
    types: Sequence[str] = (),
) -> "pd.DataFrame":
    """The raw rows (n, features) of a model, from lists with the columns' names, or from a table.

    columns: names of the rows' items; None where they are the features in their order. types: of the features, as the
    preparation has them; without them values are taken as they come. BadInput: COLUMNS_MISSING, ROW_MALFORMED, VALUE.
    """
    if not isinstance(rows, Sequence):
        return of_table(typed.typed(rows, "the rows"), features, types)
    names = list(features if columns is None else columns)
    _check_columns(names, features)
    _check_rows(names, rows)
    positions = [names.index(feature) for feature in features]
    kinds = list(types) or [""] * len(features)
    return _framed(
        {
            feature: _values([row[position] for row in rows], kind, feature)
            for feature, position, kind in zip(features, positions, kinds, strict=True)
        },
        len(rows),
    )


def of_table(table: "pa.Table", features: Sequence[str], types: Sequence[str] = ()) -> "pd.DataFrame":
    """The raw rows of a typed table. BadInput where features are missing, or hold text where a number was learned."""
    _check_columns(table.column_names, features)
    columns, values = dict(zip(table.column_names, table.columns, strict=True)), {}
    for feature, wanted in zip(features, types or [""] * len(features), strict=True):
        column = columns[feature]
        kind = typed.column_type(column.type)
        if typed.TEXT in (kind, wanted) and wanted not in ("", kind):
            values[feature] = _values(column.to_pylist(), wanted, feature)
        elif kind == typed.TEXT:
            values[feature] = column.to_pandas().to_numpy(dtype=object)
        else:
            values[feature] = typed.numbers(column, kind)
    return _framed(values, table.num_rows)


def _framed(values: Mapping[str, Any], rows: int) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(dict(values), index=pd.RangeIndex(rows), columns=pd.Index(list(values), dtype=object))


def _check_columns(names: Sequence[str], features: Sequence[str]) -> None:
    known = set(names)
    missing = [feature for feature in features if feature not in known]
    if not missing:
        return
    listed = ", ".join(map(repr, missing[:10])) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
    near = difflib.get_close_matches(missing[0], [str(name) for name in names], n=1)
    hint = f" (is {near[0]!r} meant as {missing[0]!r}?)" if near else ""
    raise BadInput(f"columns that the model needs are missing: {listed}{hint}", reason="COLUMNS_MISSING")


def _check_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    for number, row in enumerate(rows, 1):
        if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != len(names):
            got = f"{len(row)} values" if isinstance(row, Sequence) and not isinstance(row, str) else repr(row)[:80]
            raise BadInput(f"row {number}: expected {len(names)} values, got {got}", reason="ROW_MALFORMED")


def _values(values: Sequence[Any], kind: str, feature: str) -> Any:
    import numpy as np

    convert = _CONVERT.get(kind, _plain)
    converted = []
    for number, value in enumerate(values, 1):
        try:
            converted.append(None if _missing(value) else convert(value))
        except (TypeError, ValueError, OverflowError):
            raise BadInput(
                f"row {number}: column {feature!r} expects {_EXPECTED.get(kind, 'a plain value')}, got {value!r:.80}",
                reason="VALUE",
            ) from None
    if kind != typed.TEXT and not any(isinstance(value, str) for value in converted):
        return np.array(converted, dtype=np.float64)
    return np.array(converted, dtype=object)


def _missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _number(value: Any) -> float:
    if isinstance(value, datetime.date):
        return _time(value)
    number = float(value)
    if math.isinf(number):
        raise ValueError
    return number


def _flag(value: Any) -> float:
    return (
        _FLAGS[value.strip().lower()] if isinstance(value, str) and value.strip().lower() in _FLAGS else _number(value)
    )


def _time(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            value = datetime.datetime.fromisoformat(value.strip())
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
    if isinstance(value, datetime.datetime):
        # A time without a zone is taken as UTC, as it is when a dataset is read.
        return (value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp()
    return _number(value)


def _text(value: Any) -> str:
    if isinstance(value, list | dict | tuple):
        raise TypeError
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else _number(value)


_CONVERT: Mapping[str, Callable[[Any], Any]] = {
    typed.INTEGER: _number,
    typed.REAL: _number,
    typed.FLAG: _flag,
    typed.TIME: _time,
    typed.TEXT: _text,
}

_EXPECTED = {
    typed.INTEGER: "a number",
    typed.REAL: "a number",
    typed.FLAG: "true or false",
    typed.TIME: "a time, such as 2024-05-01T12:00:00, or seconds since 1970",
    typed.TEXT: "text",
}
