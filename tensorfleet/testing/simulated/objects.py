"""Blobs in memory, and stores that reach them over a way that fails.

The rule: a blob that was put is there; the bytes that come out are those of their digest, or it says so.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from tensorfleet.errors import CorruptArtifact, NotFound
from tensorfleet.model import Ref
from tensorfleet.stores.contract import Leftovers

CHUNK = 1024 * 1024


class MemoryObjects:
    """An `ObjectStore` over blobs by digest, which others may hold too.

    hop: one way to the store or back; may take its time and may raise Unavailable.
    """

    def __init__(self, blobs: dict[str, bytes], hop: Callable[[], Awaitable[None]]) -> None:
        self.url = "memory://objects"
        self._blobs = blobs
        self._names: dict[str, str] = {}
        self._hop = hop

    async def open(self) -> None:
        await self._hop()

    async def close(self) -> None: ...

    async def put(self, chunks: AsyncIterator[bytes], digest: str | None = None) -> Ref:
        data = b"".join([chunk async for chunk in chunks])
        ref = Ref(hashlib.sha256(data).hexdigest(), len(data))
        if digest is not None and ref.digest != digest:
            raise CorruptArtifact(f"the bytes of {digest} are those of {ref.digest}")
        await self._hop()
        self._blobs[ref.digest] = data
        await self._hop()
        return ref

    async def put_file(self, path: Path, ref: Ref) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield path.read_bytes()

        await self.put(chunks(), ref.digest)

    async def put_many(self, blobs: Sequence[Sequence[bytes | memoryview]]) -> list[Ref]:
        whole = [b"".join(buffers) for buffers in blobs]
        refs = [Ref(hashlib.sha256(data).hexdigest(), len(data)) for data in whole]
        await self._hop()
        self._blobs.update({ref.digest: data for ref, data in zip(refs, whole, strict=True)})
        await self._hop()
        return refs

    async def get(self, digest: str, offset: int = 0) -> AsyncIterator[bytes]:
        await self._hop()
        data = self._blobs.get(digest)
        if data is None:
            raise NotFound(f"there is no blob {digest}")
        if offset == 0 and hashlib.sha256(data).hexdigest() != digest:
            raise CorruptArtifact(f"the blob {digest} is damaged")
        for start in range(offset, len(data), CHUNK):
            yield data[start : start + CHUNK]

    async def size(self, digest: str) -> int | None:
        await self._hop()
        return len(self._blobs[digest]) if digest in self._blobs else None

    async def delete(self, digest: str, idle: float = 0.0) -> bool:
        await self._hop()
        return self._blobs.pop(digest, None) is not None or True

    async def blobs(self) -> AsyncIterator[tuple[Ref, float]]:
        for digest, data in list(self._blobs.items()):
            yield Ref(digest, len(data)), 0.0

    async def unfinished(self, *, remove: bool) -> Leftovers:
        return Leftovers(0, 0)

    def path(self, digest: str) -> Path | None:
        return None

    async def name(self, name: str, digest: str | None) -> None:
        await self._hop()
        if digest is None:
            self._names.pop(name, None)
        else:
            self._names[name] = digest
