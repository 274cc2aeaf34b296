"""Plain data as what any database can hold, and back: what JSON or a server has no form for is marked by a `%`.

The rule: what is plain stays as it is, for whoever reads it with other tools. Odd characters of a key are written as
in a URL; a number that JSON lacks and a list in a list, which FerretDB lacks, are documents of one marked key.
"""

import math
import re
from typing import Any

_EMPTY, _LIST, _INTEGER, _REAL = "%", "%list", "%integer", "%real"
_MARKS = frozenset((_LIST, _INTEGER, _REAL))
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
    return int(inner) if mark == _INTEGER else float(inner)
