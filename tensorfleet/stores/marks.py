"""Plain data as what any database can hold, and back: what JSON or a server has no form for is marked by a `%`.

The rule: what is plain stays as it is, for whoever reads it with other tools. Odd characters of a key are written as
in a URL; a number that JSON lacks and a list in a list, which FerretDB lacks, are documents of one marked key. So is
what is kept as a text, since a server would take long for its many values.
"""

import json
import math
import re
from typing import Any

_EMPTY, _LIST, _INTEGER, _REAL, _TEXT = "%", "%list", "%integer", "%real", "%text"
_MARKS = frozenset((_LIST, _INTEGER, _REAL, _TEXT))
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), check_circular=False)
_ODD = re.compile(r"[%.$\0]")
_MARKED = re.compile("%([0-9A-F]{2})")


def marked(value: Any) -> Any:
    """A value whose keys have no `.`, `$` or NUL, whose numbers are finite or of 64 bits, with no list in a list.

    TypeError for what is not plain data.
    """
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, dict):
        return {marked_key(key): marked(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [{_LIST: marked(inner)} if isinstance(inner, list | tuple) else marked(inner) for inner in value]
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else {_INTEGER: str(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {_REAL: repr(value)}
    raise TypeError(f"{value!r}")


def text_of(value: Any) -> str:
    """A value as JSON; marked only where there is need. TypeError, ValueError for what is not plain data."""
    try:
        text = _ENCODER.encode(value)
    except ValueError:  # a number is in it that JSON has no form for
        return _ENCODER.encode(marked(value))
    return _ENCODER.encode(marked(value)) if _may_be_marked(text) else text  # what looks like a mark is marked itself


def of_text(text: str) -> Any:
    """The value of which it is the text."""
    value = json.loads(text)
    return unmarked(value) if _may_be_marked(text) else value


def _may_be_marked(text: str) -> bool:
    return '"%' in text


def marked_as_text(value: Any) -> dict[str, str]:
    """A value as one text, which is read by everyone and looked into by nobody."""
    return {_TEXT: text_of(value)}


def marked_key(key: Any) -> str:
    if type(key) is not str:
        raise TypeError(f"{key!r} is no key")
    return _ODD.sub(lambda odd: f"%{ord(odd[0]):02X}", key) or _EMPTY


def unmarked(value: Any) -> Any:
    """The value that was marked."""
    if isinstance(value, dict):
        if len(value) == 1 and (mark := value.keys() & _MARKS):
            return _from_mark(mark.pop(), value)
        return {unmarked_key(key): unmarked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [unmarked(inner) for inner in value]
    # BSON's integers of 64 bits have a type of their own.
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def unmarked_key(key: str) -> str:
    if "%" not in key:
        return key
    return "" if key == _EMPTY else _MARKED.sub(lambda mark: chr(int(mark[1], 16)), key)


def _from_mark(mark: str, value: dict[str, Any]) -> Any:
    inner = value[mark]
    if mark == _LIST:
        return unmarked(inner)
    if mark == _TEXT:
        return of_text(inner)
    return int(inner) if mark == _INTEGER else float(inner)
