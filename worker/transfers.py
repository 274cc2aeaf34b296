"""How blobs travel between a worker and its fleet's object store: straight, by grants, or through the orchestrator.

The rule: a worker has no keys. For each blob it asks the orchestrator for leave, uses it at once and forgets it. Where
the store gives none, or this machine has no way to the store, the orchestrator passes the bytes on.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Protocol

from tensorfleet.errors import Unavailable
from tensorfleet.logs import Logger
from tensorfleet.model import Ref
from tensorfleet.stores.blobs import pieces
from tensorfleet.stores.contract import Grant
from tensorfleet.stores.threads import behind
from worker.draft import Draft

if TYPE_CHECKING:
    import urllib3

log = Logger(__name__)

DETOUR_SECONDS = 60.0
"""How long blobs go through the orchestrator before the straight way is tried again."""
BREAKS = 3
"""Straight transfers that break off one after another until the way is taken to be no good."""


class Remote(Protocol):
    """What the orchestrator does for a worker's blobs. All of it raises the catalogue's errors."""

    def get(self, digest: str, check: bool) -> AsyncIterator[bytes | memoryview]:
        """A blob's bytes. check: the orchestrator is to check them as well, and to see to a blob that is damaged."""
        ...

    async def put(self, chunks: AsyncIterator[bytes], digest: str) -> Ref: ...

    async def grant_get(self, digest: str) -> Grant | None: ...

    async def grant_put(self, ref: Ref) -> Grant | None: ...


class Transfers:
    """A worker's blobs on their way, while it has one orchestrator. clock: seconds that only go forward."""

    def __init__(self, remote: Remote, clock: Callable[[], float] = time.monotonic) -> None:
        self._remote = remote
        self._clock = clock
        self._pool: urllib3.PoolManager | None = None
        self._straight_from = -math.inf
        self._broken = 0

    async def download(self, ref: Ref, path: Path, doubted: bool = False) -> None:
        """Writes a blob to a file, verified. NotFound, CorruptArtifact, Unavailable. doubted: its bytes came wrong."""
        if await self._straight(partial(self._remote.grant_get, ref.digest), ref, path):
            return
        with Draft(path, ref) as draft:
            await behind(self._remote.get(ref.digest, doubted), draft.write)
            draft.check()

    async def upload(self, path: Path, ref: Ref) -> None:
        """Stores a file, whose digest is checked where it arrives. CorruptArtifact, Unavailable."""
        if not await self._straight(partial(self._remote.grant_put, ref), ref, path):
            await self._remote.put(pieces(path), ref.digest)

    async def _straight(self, ask: Callable[[], Awaitable[Grant | None]], ref: Ref, path: Path) -> bool:
        """Carries a blob by a grant; False where it has to go through the orchestrator."""
        if self._clock() < self._straight_from:
            return False
        for last in (False, True):  # a grant may run out on its way here
            grant = await ask()
            if grant is None:
                self._straight_from = math.inf
                return False
            from worker import grants  # which costs a start that needs none

            self._pool = self._pool or grants.open_pool()
            try:
                await _in_thread(partial(grants.carry, self._pool, grant, ref, path))
                self._broken = 0
                return True
            except Unavailable:
                self._broken += 1
                if self._broken >= BREAKS:
                    self._turn_off("it breaks off again and again")
                raise
            except grants.NoWay as error:
                self._turn_off(f"there is no way to it from here ({error})")
                return False
            except grants.Refused as error:
                if last:
                    self._turn_off(f"it refuses what the orchestrator grants ({error})")
        return False

    def _turn_off(self, why: str) -> None:
        log.warning("blobs go through the orchestrator, not straight to the object store", why=why)
        self._broken = 0
        self._straight_from = self._clock() + DETOUR_SECONDS


async def _in_thread(carry: Callable[[Event], None]) -> None:
    """Carries a blob beside the event loop. When cancelled, the thread ends at its next chunk by itself."""
    stop = Event()
    try:
        await asyncio.to_thread(carry, stop)
    finally:
        stop.set()
