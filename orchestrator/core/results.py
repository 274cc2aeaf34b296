"""A stage's results as columns: a place a task, and one run of bytes that the places point into.

The rule: a task without a result costs eight bytes, and one with a result these and its bytes; a result is decoded when
somebody looks at it.
"""

import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import overload

import msgspec
from msgspec import Struct

from tensorfleet.model import TaskResult

ABSENT = -1
LENGTH = 4
"""Bytes of the length before each result."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(TaskResult).decode


def _framed(result: TaskResult) -> bytes:
    content = _encode(result)
    return len(content).to_bytes(LENGTH, "little") + content


EMPTY = TaskResult()
_EMPTY = _framed(EMPTY)


class ResultsImage(Struct, frozen=True, array_like=True):
    """Results as a snapshot has them. places: eight bytes a task, the least significant first."""

    places: bytes
    content: bytes


class Results(Sequence[TaskResult]):
    """Results by task index. Iterating gives those that are there, in order."""

    __slots__ = ("_content", "_places")

    def __init__(self, count: int) -> None:
        self._places = array("q", [ABSENT]) * count
        self._content = bytearray(_EMPTY)  # the one result that many tasks share

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> TaskResult: ...
    @overload
    def __getitem__(self, index: slice) -> list[TaskResult]: ...
    def __getitem__(self, index: int | slice) -> TaskResult | list[TaskResult]:
        """A task's result; KeyError where it has none yet."""
        if isinstance(index, slice):
            return [self._at(place) for place in self._places[index]]
        return self._at(self._places[index])

    def __setitem__(self, index: int, result: TaskResult) -> None:
        if result is EMPTY or result == EMPTY:
            self._places[index] = 0
            return
        self._places[index] = len(self._content)
        self._content += _framed(result)

    def __iter__(self) -> Iterator[TaskResult]:
        return (self._at(place) for place in self._places if place != ABSENT)

    def has(self, index: int) -> bool:
        return self._places[index] != ABSENT

    def _at(self, place: int) -> TaskResult:
        if place == ABSENT:
            raise KeyError("a task that has no result yet")
        start = place + LENGTH
        length = int.from_bytes(self._content[place:start], "little")
        return _decode(self._content[start : start + length])

    def image(self) -> ResultsImage:
        return ResultsImage(_portable(self._places).tobytes(), bytes(self._content))

    @classmethod
    def of_image(cls, image: ResultsImage) -> "Results":
        results, places = cls(0), array("q")
        places.frombytes(image.places)
        results._places, results._content = _portable(places), bytearray(image.content)
        return results


def _portable(places: "array[int]") -> "array[int]":
    """Places with their bytes in the order that snapshots have, or back."""
    if sys.byteorder == "little":
        return places
    swapped = places[:]
    swapped.byteswap()
    return swapped
