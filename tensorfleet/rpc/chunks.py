"""Messages that hold a chunk of bytes and little else, written and read by hand.

The rule: what is written here is what protobuf would write, byte for byte, and what is read is what it would read.
It is done here because protobuf writes a chunk through buffers that grow, which for a MiB takes fifty times as long as
the one copy that is needed, and reads it by two copies where none is.
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
LONGEST_VARINT = 10
"""Bytes of a number, as protobuf writes it."""
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


def chunk_reader(kind: type[Message]) -> Callable[[bytes], bytes | memoryview]:
    """A deserializer that gives a message's chunk alone: a view of the message's bytes."""
    tag = bytes((kind.DESCRIPTOR.fields_by_name["chunk"].number << 3 | _BYTES,))

    def read(message: bytes) -> bytes | memoryview:
        size = shift = 0
        for place in range(1, min(len(message), LONGEST_VARINT + 1)):
            size |= (message[place] & 0x7F) << shift
            shift += 7
            if message[place] < 0x80:
                if message.startswith(tag) and place + 1 + size == len(message):
                    return memoryview(message)[place + 1 :]
                break
        chunk: bytes = cast(Any, kind.FromString(message)).chunk  # another field, or a chunk that is not the last
        return chunk

    return read


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
