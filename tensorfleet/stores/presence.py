"""Which blobs are there, asked for many at once."""

import asyncio
from collections.abc import Iterable

from tensorfleet.model import Ref
from tensorfleet.stores.contract import ObjectStore

AT_ONCE = 32


async def present(objects: ObjectStore, refs: Iterable[Ref]) -> set[Ref]:
    """Those of the blobs that are there in their size; blobs without bytes always are. Unavailable as the store's."""
    wanted = dict.fromkeys(refs)
    found = {ref for ref in wanted if ref.size == 0}
    waiting = [ref for ref in wanted if ref.size]

    async def ask() -> None:
        while waiting:
            ref = waiting.pop()
            if await objects.size(ref.digest) == ref.size:
                found.add(ref)

    await asyncio.gather(*(ask() for _ in range(min(AT_ONCE, len(waiting)))))
    return found
