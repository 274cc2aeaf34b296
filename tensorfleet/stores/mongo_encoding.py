"""Documents as BSON.

The rule: a document's fields stand beside the store's own, whose names begin with `_`; those of the document never do.
What a collection says to be bulk is one text: FerretDB takes as long for each value in a document as for a short text.
"""

from typing import Any

from bson import encode
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from tensorfleet.stores.collections import collection_named
from tensorfleet.stores.marks import marked, marked_as_text, marked_key, unmarked, unmarked_key

ENTRY, DELETED = "_entry", "_deleted"
"""The journal entry of which a document is, and when it was deleted."""

MAX_DOCUMENT = 16 * 1024 * 1024


def encoded(collection: str, document_id: str, number: int, document: dict[str, Any]) -> RawBSONDocument:
    """A document of an entry. ValueError for what is not plain data, or is larger than MongoDB takes."""
    try:
        bulk = collection_named(collection).bulk
        plain = {
            _apart(marked_key(key)): marked_as_text(value) if key in bulk else marked(value)
            for key, value in document.items()
        }
        data = encode({"_id": document_id, ENTRY: number, **plain})
    except (TypeError, ValueError, BSONError) as error:
        raise ValueError(f"document {document_id!r} of {collection} is not plain data: {error}") from error
    if len(data) > MAX_DOCUMENT:
        raise ValueError(f"document {document_id!r} of {collection} has {len(data)} bytes, and may have {MAX_DOCUMENT}")
    return RawBSONDocument(data)


def decoded(document: dict[str, Any]) -> dict[str, Any]:
    """The document that was encoded."""
    return {unmarked_key(key): unmarked(value) for key, value in document.items() if not key.startswith("_")}


def path(field: str) -> str:
    """Where a checked field is kept; `id` is the document's own."""
    return "_id" if field == "id" else _apart(field)


def _apart(key: str) -> str:
    return f"%5F{key[1:]}" if key.startswith("_") else key
