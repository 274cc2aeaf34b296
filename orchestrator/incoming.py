"""Results, and what was saved, on their way in: small outputs that came along are kept before anyone hears of them.

The rule: they are told in the order in which they came, and none before its bytes are in the object store. While the
store is away they wait here, and the session's other words, its heartbeats above all, go on without them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

from tensorfleet.api.v1 import worker_pb2 as pb
from tensorfleet.errors import BadInput, FailedPrecondition, Unavailable
from tensorfleet.logs import Logger
from tensorfleet.model import Ref
from tensorfleet.rpc.pauses import pauses
from tensorfleet.stores.contract import ObjectStore

log = Logger(__name__)

News: TypeAlias = pb.AttemptResult | pb.SavedAttempt
KEPT_BYTES = 16 * 1024 * 1024
LONGEST_PAUSE = 2.0


class Kept:
    """The newest small blobs, so that the next task has them in its assignment."""

    def __init__(self) -> None:
        self._blobs: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def put(self, digest: str, data: bytes) -> None:
        if digest not in self._blobs:
            self._blobs[digest] = data
            self._size += len(data)
        while self._size > KEPT_BYTES:
            _, old = self._blobs.popitem(last=False)
            self._size -= len(old)

    def get(self, digest: str) -> bytes:
        return self._blobs.get(digest, b"")


class Incoming:
    """Results, and what was saved, of one session. tell: hears of them once they are kept."""

    def __init__(self, objects: ObjectStore, kept: Kept, tell: Callable[[Sequence[News]], None]) -> None:
        self._objects = objects
        self._kept = kept
        self._tell = tell
        self._waiting: list[News] = []
        self._more = asyncio.Event()
        self._through = asyncio.Event()
        self._through.set()

    def take(self, results: Sequence[News]) -> None:
        """Takes results in; at once where nothing has to be kept and nothing waits."""
        if self._through.is_set() and not any(map(_inline, results)):
            self._tell(results)
            return
        self._waiting += results
        self._through.clear()
        self._more.set()

    async def through(self) -> None:
        """Waits until nothing waits."""
        await self._through.wait()

    async def run(self) -> None:
        """Keeps and tells, for ever. BadInput where bytes are not those of their digest."""
        while True:
            await self._more.wait()
            self._more.clear()
            results, self._waiting = self._waiting, []
            await self._keep([output for result in results for output in _inline(result)])
            self._tell(results)
            if not self._waiting:
                self._through.set()

    async def _keep(self, outputs: Sequence[pb.Output]) -> None:
        stored = await self._stored([output.inline for output in outputs])
        for output, ref in zip(outputs, stored, strict=True):
            if ref.digest != output.ref.digest:
                raise BadInput(f"the bytes of {output.ref.digest} are those of {ref.digest}")
            self._kept.put(ref.digest, output.inline)

    async def _stored(self, blobs: Sequence[bytes]) -> Sequence[Ref]:
        """Puts blobs, and waits for a store that is away, or that takes nothing until somebody sees to it."""
        pause = pauses(LONGEST_PAUSE)
        while True:
            try:
                return await self._objects.put_many([[blob] for blob in blobs])
            except (Unavailable, FailedPrecondition) as error:
                log.warning("outputs could not be kept yet", blobs=len(blobs), error=error.message)
            await asyncio.sleep(next(pause))


def _inline(news: News) -> list[pb.Output]:
    """The outputs that came along."""
    outputs = news.outputs if isinstance(news, pb.AttemptResult) else ()
    return [output for output in (*outputs, news.saved) if output.inline]
