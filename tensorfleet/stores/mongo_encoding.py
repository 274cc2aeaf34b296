"""Plain JSON data as what any MongoDB can hold, and back.

The rule: what is plain stays as it is, for whoever reads it with other tools. What BSON or a server has no form for is
marked by a `%`: odd characters of a key as in a URL, and a value as a document of one marked key.
"""

import math
import re
from typing import Any

from bson import encode
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

ENTRY, DELETED = "_entry", "_deleted"
"""Fields of the store's own: the journal entry of which a document is, and when it was deleted."""

MAX_DOCUMENT = 16 * 1024 * 1024
_EMPTY, _LIST, _INTEGER = "%", "%list", "%integer"
_ODD = re.compile(r"[%.$\0]")
_MARKED = re.compile("%([0-9A-F]{2})")


def encoded(collection: str, document_id: str, number: int, document: dict[str, Any]) -> RawBSONDocument:
    """A document of an entry. ValueError for what is not plain JSON data, or is larger than MongoDB takes."""
    try:
        plain = {_top(key): _value(value) for key, value in document.items()}
        data = encode({"_id": document_id, ENTRY: number, **plain})
    except (TypeError, ValueError, BSONError) as error:
        raise ValueError(f"document {document_id!r} of {collection} is not plain JSON data: {error}") from error
    if len(data) > MAX_DOCUMENT:
        raise ValueError(f"document {document_id!r} of {collection} has {len(data)} bytes, and may have {MAX_DOCUMENT}")
    return RawBSONDocument(data)


def decoded(document: dict[str, Any]) -> dict[str, Any]:
    """The document that was encoded."""
    return {_plain_key(key): _plain(value) for key, value in document.items() if not key.startswith("_")}


def path(field: str) -> str:
    """Where a checked field is kept; `id` is the document's own."""
    return "_id" if field == "id" else _apart(field)


def _top(key: str) -> str:
    return _apart(_key(key))


def _apart(key: str) -> str:
    """Keeps a document's fields apart from the store's own, which begin with `_`."""
    return f"%5F{key[1:]}" if key.startswith("_") else key


def _key(key: Any) -> str:
    if type(key) is not str:
        raise TypeError(f"{key!r} is no key")
    return _ODD.sub(lambda odd: f"%{ord(odd[0]):02X}", key) or _EMPTY


def _value(value: Any) -> Any:
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, dict):
        return {_key(key): _value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [{_LIST: _value(inner)} if isinstance(inner, list | tuple) else _value(inner) for inner in value]
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else {_INTEGER: str(value)}
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise TypeError(f"{value!r}")


def _plain_key(key: str) -> str:
    if "%" not in key:
        return key
    return "" if key == _EMPTY else _MARKED.sub(lambda mark: chr(int(mark[1], 16)), key)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if len(value) == 1 and (marked := value.keys() & {_LIST, _INTEGER}):
            inner = value[marked.pop()]
            return int(inner) if isinstance(inner, str) else _plain(inner)
        return {_plain_key(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    # BSON's integers of 64 bits have a type of their own.
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
