"""Messages that hold a chunk of bytes and little else, written by hand.

The rule: what is written here is what protobuf would write, byte for byte. It is written here because protobuf copies a
chunk through buffers that grow, which for a MiB takes fifty times as long as the one copy that is needed.
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

_M = TypeVar("_M", bound=Message)

LARGEST_KEPT, MOST_KEPT = 4 * 1024 * 1024, 16 * 1024 * 1024
"""Bytes of a buffer that is kept, and of all that are, at most."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of glibc's `malloc.h`."""
_BYTES = 2
"""The wire type of what has its length before it."""


def chunk_field(number: int, chunk: bytes) -> bytes:
    """A message's field of bytes. Fields that are written one after another are a message. number: below 16."""
    if not chunk:
        return b""
    return b"".join((bytes((number << 3 | _BYTES,)), _varint(len(chunk)), chunk))


def chunk_message(kind: type[_M], chunk: bytes) -> _M:
    """A message that has a chunk and nothing else. It is its bytes already, which `written_or` leaves as they are."""
    return cast(_M, chunk_field(kind.DESCRIPTOR.fields_by_name["chunk"].number, chunk))


def written_or(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes] | None:
    """A serializer that leaves messages as they are where they are written already."""
    if serialize is None:
        return None
    return lambda message: message if isinstance(message, bytes) else serialize(message)


@lru_cache(maxsize=1)
def keep_buffers() -> None:
    """Has this process keep the memory of chunks for the next chunks, from now on.

    glibc would give each one's pages back at once, and the kernel clear others for the next one: a fifth of a worker's
    time for bytes. Elsewhere nothing happens.
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(_TRIM_THRESHOLD, MOST_KEPT)


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
