"""Reading blobs where they are kept, to see whether they are whole.

The rule: a blob is deleted only where its bytes have been read here and are not its own; so the next put mends it, and
no known result is taken that consists of it.
"""

import asyncio
import time
from collections.abc import Iterable

from tensorfleet.errors import CorruptArtifact, NotFound
from tensorfleet.logs import Logger
from tensorfleet.model import Ref
from tensorfleet.stores.contract import ObjectStore

log = Logger(__name__)


class Inspection:
    """Inspects blobs; one that many ask for at once is read once."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._running: dict[str, asyncio.Task[bool]] = {}

    async def lost(self, refs: Iterable[Ref]) -> list[str]:
        """Digests of the blobs that are not there, or were damaged and are deleted now. Unavailable."""
        digests = list(dict.fromkeys(ref.digest for ref in refs if ref.size))
        return [digest for digest in digests if await self._is_lost(digest)]

    async def _is_lost(self, digest: str) -> bool:
        if digest not in self._running:
            self._running[digest] = task = asyncio.create_task(self._read(digest))
            task.add_done_callback(lambda _: self._running.pop(digest))
        return await asyncio.shield(self._running[digest])

    async def _read(self, digest: str) -> bool:
        began = time.monotonic()
        try:
            async for _ in self._objects.get(digest):
                pass
        except NotFound:
            return True
        except CorruptArtifact as error:
            log.warning("a blob is damaged, and is deleted", digest=digest, error=error.message)
            return await self._objects.delete(digest, idle=time.monotonic() - began)  # else it was put anew meanwhile
        return False
