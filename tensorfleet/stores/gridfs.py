"""Objects in GridFS: for a fleet that has a MongoDB and nothing else to keep them in.

The rule: a blob is the newest file of its digest's name, `cas/sha256/ab/<digest>`. A put is always a new file, which
takes the place of the old one in one step; so it renews and mends whatever was there.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from pymongo.errors import DuplicateKeyError

from tensorfleet.errors import AlreadyExists, CorruptArtifact, Unavailable
from tensorfleet.model import Ref
from tensorfleet.stores import mongo_connection as connection
from tensorfleet.stores.blobs import (
    check_digest,
    check_file,
    check_offset,
    exactly,
    no_blob,
    pieces,
)
from tensorfleet.stores.contract import Grant, Leftovers
from tensorfleet.stores.gridfs_files import ANSWERED_SECONDS, COLLECTIONS, SCHEMA, File, Files
from tensorfleet.stores.mongo_connection import Collection, Connection
from tensorfleet.stores.mongo_url import Place, documents, gridfs, place
from tensorfleet.stores.names import is_digest, name_parts
from tensorfleet.stores.threads import in_thread

PREFIX, NAMES = "cas/sha256/", "fs.names"


def from_url(url: str) -> "GridFSObjects":
    """The store of a URL such as `gridfs://host:27017/tensorfleet`."""
    return GridFSObjects(place(documents(url)))


class _Open:
    """What there is of an open store."""

    def __init__(self, connected: Connection) -> None:
        self.connected = connected
        self.files = Files(connected.database)
        self.names: Collection = connected.database[NAMES]


class GridFSObjects:
    """An `ObjectStore` in the GridFS of one database."""

    def __init__(self, where: Place) -> None:
        self.where = where
        self.url = gridfs(where.url)
        self._opened: _Open | None = None

    async def open(self) -> None:
        await self.close()
        opened = _Open(await connection.connect(self.where))
        await opened.connected.prepare(partial(self._prepare, opened))
        self._opened = opened

    async def _prepare(self, opened: _Open) -> None:
        await opened.connected.make((*COLLECTIONS, NAMES))
        await opened.files.prepare()

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.connected.close()

    async def put(self, chunks: AsyncIterator[bytes], digest: str | None = None) -> Ref:
        seen, size = hashlib.sha256(), 0
        async with self._use() as store, store.files.upload() as upload:
            async for piece in exactly(chunks):
                await in_thread(seen.update, piece)
                size += len(piece)
                await upload.write(piece)
            ref = Ref(seen.hexdigest(), size)
            check_digest(ref, digest)
            await upload.publish(_name(ref.digest))
            return ref

    async def put_file(self, path: Path, ref: Ref) -> None:
        check_file(path, ref)
        await self.put(pieces(path), ref.digest)

    async def put_many(self, blobs: Sequence[Sequence[bytes | memoryview]]) -> list[Ref]:
        contents = [b"".join([memoryview(buffer).tobytes() for buffer in buffers]) for buffers in blobs]
        refs = [Ref(hashlib.sha256(data).hexdigest(), len(data)) for data in contents]
        async with self._use() as store:
            await store.files.store({_name(ref.digest): data for ref, data in zip(refs, contents, strict=True)})
        return refs

    async def get(self, digest: str, offset: int = 0, *, check: bool = True) -> AsyncIterator[bytes]:
        """As the contract says. The last chunk is held back until the digest is known to be right."""
        check_offset(offset)
        file, position = await self._file(digest), offset
        seen = hashlib.sha256() if check and offset == 0 else None
        while position < file.length:
            index, skipped = divmod(position, file.chunk)
            async with self._use() as store:
                chunk = await store.files.chunk(file, index)
            if chunk is None:
                file = await self._replaced(digest, file)
                continue
            chunk = chunk[skipped:]
            position += len(chunk)
            if seen is not None:
                await in_thread(seen.update, chunk)
                if position >= file.length and seen.hexdigest() != digest:
                    raise _damaged(file)
            yield chunk
        if position == 0 and seen is not None and seen.hexdigest() != digest:
            raise _damaged(file)

    async def size(self, digest: str) -> int | None:
        async with self._use() as store:
            file = await store.files.newest(_name(digest)) if is_digest(digest) else None
            return None if file is None else file.length

    async def delete(self, digest: str, idle: float = 0.0) -> bool:
        if not is_digest(digest):
            return True
        async with self._use() as store:
            there = await store.files.named([_name(digest)])
            now = await store.files.clock.now()
            if idle > 0 and any(_age(file, now) < idle for file in there):
                return False
            await store.files.remove(there)
            return not there or await store.files.newest(_name(digest)) is None

    async def blobs(self) -> AsyncIterator[tuple[Ref, float]]:
        async with self._use() as store:
            async for file in store.files.below(PREFIX):
                digest = file.name.rpartition("/")[2]
                if is_digest(digest):
                    yield Ref(digest, file.length), _age(file, await store.files.clock.now())

    async def unfinished(self, *, remove: bool) -> Leftovers:
        async with self._use() as store:
            return await store.files.unfinished(remove=remove)

    def path(self, digest: str) -> Path | None:
        return None

    async def grant_get(self, digest: str) -> Grant | None:
        return None

    async def grant_put(self, ref: Ref) -> Grant | None:
        return None

    async def name(self, name: str, digest: str | None) -> None:
        parts = name_parts(name)
        async with self._use() as store:
            if digest is None:
                await store.names.delete_one({"_id": name})
                return
            if not is_digest(digest) or await store.files.newest(_name(digest)) is None:
                raise no_blob(digest)
            above = ["/".join(parts[:count]) for count in range(1, len(parts))]
            below = {"$gte": f"{name}/", "$lt": f"{name}0"}  # the character after the slash
            if await store.names.find_one({"$or": [{"_id": {"$in": above}}, {"_id": below}]}):
                raise AlreadyExists(f"{name} is taken: one name cannot be the beginning of another.")
            named = {"schema": SCHEMA, "blob": _name(digest)}
            try:
                await store.names.insert_one({"_id": name, **named})
            except DuplicateKeyError:
                await store.names.update_one({"_id": name}, {"$set": named})

    @asynccontextmanager
    async def _use(self) -> AsyncIterator[_Open]:
        if self._opened is None:
            raise Unavailable(f"The GridFS of the {self.where} is not open.")
        with connection.told(self.where):
            yield self._opened

    async def _file(self, digest: str) -> File:
        async with self._use() as store:
            file = await store.files.newest(_name(digest)) if is_digest(digest) else None
        if file is None:
            raise no_blob(digest)
        return file

    async def _replaced(self, digest: str, file: File) -> File:
        """The file that has come in the place of one that has lost a chunk."""
        found = await self._file(digest)
        if found.id == file.id:
            raise _damaged(file)
        return found


def _name(digest: str) -> str:
    return f"{PREFIX}{digest[:2]}/{digest}"


def _age(file: File, now: float) -> float:
    return max(now - file.since - ANSWERED_SECONDS, 0.0)


def _damaged(file: File) -> CorruptArtifact:
    return CorruptArtifact(f"The blob in GridFS {file.name} is damaged: its bytes have another digest.")
