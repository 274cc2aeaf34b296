"""Blobs in memory, and stores that reach them over a way that fails.

The rule: a blob that was put is there; the bytes that come out are those of their digest, or it says so.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from tensorfleet.errors import CorruptArtifact, NotFound
from tensorfleet.model import Ref
from tensorfleet.stores.contract import Grant, Leftovers

CHUNK = 1024 * 1024


class Bucket:
    """What a server keeps, whoever is connected to it. clock: its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.blobs: dict[str, bytes] = {}
        self.names: dict[str, str] = {}
        self._clock = clock
        self._renewed: dict[str, float] = {}

    def put(self, data: bytes) -> Ref:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest], self._renewed[digest] = data, self._clock()
        return Ref(digest, len(data))

    def age(self, digest: str) -> float:
        return float(int(self._clock() - self._renewed[digest]))

    def delete(self, digest: str, idle: float) -> bool:
        if digest in self.blobs and self._clock() - self._renewed[digest] >= idle:
            del self.blobs[digest], self._renewed[digest]
        return digest not in self.blobs


class MemoryObjects:
    """An `ObjectStore` over a bucket in memory.

    hop: one way to the store or back; may take its time and may raise Unavailable.
    """

    def __init__(self, bucket: Bucket, hop: Callable[[], Awaitable[None]]) -> None:
        self.url = "memory://objects"
        self._bucket = bucket
        self._hop = hop

    async def open(self) -> None:
        await self._hop()

    async def close(self) -> None: ...

    async def put(self, chunks: AsyncIterator[bytes], digest: str | None = None) -> Ref:
        data = b"".join([chunk async for chunk in chunks])
        if digest not in (None, found := hashlib.sha256(data).hexdigest()):
            raise CorruptArtifact(f"the bytes of {digest} are those of {found}")
        await self._hop()
        ref = self._bucket.put(data)
        await self._hop()
        return ref

    async def put_file(self, path: Path, ref: Ref) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield path.read_bytes()

        await self.put(chunks(), ref.digest)

    async def put_many(self, blobs: Sequence[Sequence[bytes | memoryview]]) -> list[Ref]:
        await self._hop()
        refs = [self._bucket.put(b"".join(buffers)) for buffers in blobs]
        await self._hop()
        return refs

    async def get(self, digest: str, offset: int = 0, *, check: bool = True) -> AsyncIterator[bytes]:
        await self._hop()
        data = self._bucket.blobs.get(digest)
        if data is None:
            raise NotFound(f"there is no blob {digest}")
        if check and offset == 0 and hashlib.sha256(data).hexdigest() != digest:
            raise CorruptArtifact(f"the blob {digest} is damaged")
        for start in range(offset, len(data), CHUNK):
            yield data[start : start + CHUNK]

    async def size(self, digest: str) -> int | None:
        await self._hop()
        return len(self._bucket.blobs[digest]) if digest in self._bucket.blobs else None

    async def delete(self, digest: str, idle: float = 0.0) -> bool:
        await self._hop()
        gone = self._bucket.delete(digest, idle)
        await self._hop()
        return gone

    async def blobs(self) -> AsyncIterator[tuple[Ref, float]]:
        await self._hop()
        for digest, data in list(self._bucket.blobs.items()):
            if digest in self._bucket.blobs:
                yield Ref(digest, len(data)), self._bucket.age(digest)

    async def unfinished(self, *, remove: bool) -> Leftovers:
        return Leftovers(0, 0)

    def path(self, digest: str) -> Path | None:
        return None

    async def grant_get(self, digest: str) -> Grant | None:
        return None

    async def grant_put(self, ref: Ref) -> Grant | None:
        return None

    async def name(self, name: str, digest: str | None) -> None:
        await self._hop()
        if digest is None:
            self._bucket.names.pop(name, None)
        else:
            self._bucket.names[name] = digest
