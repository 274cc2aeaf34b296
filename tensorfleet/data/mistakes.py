"""Where a text file goes wrong, and what was expected there.

The rule: lines are the file's own, counted from 1 with the header, so that an editor shows the one that is meant; a
quoted value may span several, and the one on which its row begins is told.
"""

import csv
import io
import json
import mmap
from collections.abc import Iterator
from typing import Any, TypeAlias

from tensorfleet.errors import BadInput

Data: TypeAlias = bytes | mmap.mmap

_UNENDED = "a quoted value begins here and never ends"

_KINDS = {bool: "a flag", int: "a number", float: "a number", str: "text"}


def line_at(data: Data, offset: int) -> int:
    """The line that an offset is on."""
    return 1 + _count(data, b"\n", offset)


def check_quotes(data: Data, delimiter: str, name: str) -> None:
    """BadInput where a quoted value never ends: Arrow takes the rest of the file for that value, and says nothing."""
    if _count(data, b'"', len(data)) % 2 == 0:
        return
    try:
        for _ in _rows(data, delimiter):
            pass
    except _Broken as error:
        if error.message == _UNENDED:
            raise _malformed("CSV", f"{name}, line {error.line}: {error.message}") from None


def in_csv(data: Data, delimiter: str, name: str, said: str) -> BadInput:
    """The error for a CSV file that Arrow refused, saying so."""
    expected, first = 0, 1
    try:
        # As lenient about quotes as Arrow, so that the row that Arrow refused is the one that is found.
        for line, row in _rows(data, delimiter, strict=False):
            if not row:
                continue
            if not expected:
                expected, first = len(row), line
            elif len(row) != expected:
                message = f"expected {expected} values, as line {first} has, and found {len(row)}"
                return _malformed("CSV", f"{name}, line {line}: {message}")
    except _Broken as error:
        return _malformed("CSV", f"{name}, line {error.line}: {error.message}")
    return _malformed("CSV", f"{name}: {said}")


def in_json(data: Data, name: str, said: str) -> BadInput:
    """The error for a file of JSON lines that Arrow refused, saying so."""
    seen: dict[str, tuple[str, int]] = {}
    for line, text in enumerate(_lines(data), 1):
        if not text.strip():
            continue
        wrong = _json_mistake(text, line, seen)
        if wrong:
            return _malformed("JSON", f"{name}, line {line}: {wrong}")
    return _malformed("JSON", f"{name}: {said}")


class _Broken(Exception):  # noqa: N818
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line, self.message = line, message


def _count(data: Data, wanted: bytes, end: int) -> int:
    step = 1 << 20
    return sum(data[start : min(start + step, end)].count(wanted) for start in range(0, end, step))


def _rows(data: Data, delimiter: str, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line that it begins on."""
    reader = csv.reader(_lines(data), delimiter=delimiter, strict=strict)
    csv.field_size_limit(2**31 - 1)
    while True:
        begin = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _Broken(begin, _quoting(str(error))) from None
        yield begin, row


def _quoting(said: str) -> str:
    if "unexpected end" in said:
        return _UNENDED
    if "expected after" in said:
        return "expected a delimiter or the line's end after a closing quote"
    return said


def _lines(data: Data) -> Iterator[str]:
    # newline="" keeps \r\n inside quoted values, and still ends lines at \n, \r and \r\n.
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")


def _json_mistake(text: str, line: int, seen: dict[str, tuple[str, int]]) -> str:
    try:
        row = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        return f"{error.msg} at column {error.colno}; each line must be one JSON object"
    except _Twice as error:
        return f"column {error.args[0]!r} occurs twice"
    if not isinstance(row, dict):
        return f'expected an object such as {{"a": 1}}, and found {_json_kind(row)}'
    for column, value in row.items():
        kind = _json_kind(value)
        before, where = seen.setdefault(column, (kind, line)) if value is not None else (kind, line)
        if before != kind:
            return f"column {column!r} holds {kind}, and on line {where} {before}"
    return ""


def _json_kind(value: Any) -> str:
    if value is None:
        return "null"
    return _KINDS.get(type(value), "a list" if isinstance(value, list) else "an object")


class _Twice(Exception):  # noqa: N818
    """A name that an object has twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in pairs:
        if name in row:
            raise _Twice(name)
        row[name] = value
    return row


def _malformed(form: str, message: str) -> BadInput:
    return BadInput(message, reason=f"{form}_MALFORMED")
