"""What requests are about to name: blobs that they put, and blobs that they found named in a document.

The rule: between looking at a blob, or putting it, and the durable record that names it, its request is underway here,
so that a collector knows what it cannot see in any record.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tensorfleet.errors import ResourceExhausted

MOST_PUTS = 64
"""Uploads at once: each may hold some megabytes in memory, and all that it has brought on a disk."""


class Underway:
    """The requests that are underway. clock: wall time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._putting: dict[object, float] = {}
        self._naming: dict[object, None] = {}
        self._ended = asyncio.Event()

    @contextmanager
    def putting(self) -> Iterator[None]:
        """Bytes are put that a record is to name. It may take as long as a client takes to send them.

        ResourceExhausted, with a delay, where as many are underway as may be.
        """
        if len(self._putting) >= MOST_PUTS:
            text = f"{MOST_PUTS} uploads are underway, as many as may be at once; try again in a second"
            raise ResourceExhausted(text, retry_after=1.0)
        me = object()
        self._putting[me] = self._clock()
        try:
            yield
        finally:
            del self._putting[me]

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Documents are read whose blobs a record is to name. It takes no longer than a look and a commit."""
        me = object()
        self._naming[me] = None
        try:
            yield
        finally:
            del self._naming[me]
            self._ended.set()

    def putting_since(self) -> float | None:
        """When the longest of the puts began; what was put since may be its own."""
        return min(self._putting.values(), default=None)

    async def settled(self) -> None:
        """Waits until nobody is left of those who are naming blobs now."""
        left = set(self._naming)
        while left:
            self._ended.clear()
            await self._ended.wait()
            left &= self._naming.keys()
