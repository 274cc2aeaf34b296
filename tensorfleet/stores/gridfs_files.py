"""Files of GridFS, as any of its tools reads them: chunks, and then the document that makes them a file.

The rule: a file is there once its document is, which is inserted last and removed first; each upload is a file of its
own, so removing one that was looked at never takes away one that came meanwhile. Chunks without a file belong to an
upload that goes on for as long as it says so, and then to nobody.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from bson import Binary, ObjectId
from msgspec import Struct
from pymongo import IndexModel
from pymongo.errors import OperationFailure, PyMongoError

from tensorfleet.errors import Unavailable
from tensorfleet.stores.blobs import CHUNK
from tensorfleet.stores.contract import Leftovers
from tensorfleet.stores.mongo_connection import Database, Document

SCHEMA = 1
COLLECTIONS = ("fs.files", "fs.chunks", "fs.uploads")
RENEW_SECONDS, DEAD_SECONDS = 15.0, 60.0
"""How often a long upload says that it goes on, and how long one that is silent is believed."""
CLOCK_SECONDS = 300.0
"""How long the difference between the server's clock and this machine's is taken as known."""
ANSWERED_SECONDS = 0.05
"""By how much the server's clock may be misread."""
NO_SUCH_COMMAND = 59
SOME = 500


class File(Struct, frozen=True):
    """A file of GridFS. chunk: bytes of each of its chunks but the last."""

    id: ObjectId
    name: str
    length: int
    chunk: int
    since: float

    def expected(self, index: int) -> int:
        """Bytes of a chunk."""
        return min(self.chunk, self.length - index * self.chunk)


class Clock:
    """The server's, from this machine's and the difference."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ahead, self._asked = 0.0, float("-inf")

    async def now(self) -> float:
        here = _awake()
        if here - self._asked > CLOCK_SECONDS:
            there = await self._ask()
            after = _awake()
            self._ahead, self._asked, here = there - (here + after) / 2, after, after
        return here + self._ahead

    async def _ask(self) -> float:
        try:
            answer = await self._database.command("hello")
        except OperationFailure as error:
            if error.code != NO_SUCH_COMMAND:
                raise
            answer = await self._database.command("isMaster")
        return float(answer["localTime"].replace(tzinfo=UTC).timestamp())


class Files:
    """The files of a database."""

    def __init__(self, database: Database) -> None:
        self.clock = Clock(database)
        self._files, self._chunks, self._uploads = (database[name] for name in COLLECTIONS)

    async def prepare(self) -> None:
        await self._files.create_indexes([IndexModel([("filename", 1), ("uploadDate", 1)])])
        await self._chunks.create_indexes([IndexModel([("files_id", 1), ("n", 1)], unique=True)])

    async def newest(self, name: str) -> File | None:
        return max(await self.named([name]), key=lambda file: file.since, default=None)

    async def named(self, names: Sequence[str]) -> list[File]:
        found: list[File] = []
        for start in range(0, len(names), SOME):
            some = {"$in": list(names[start : start + SOME])}
            found += [_file(document) async for document in self._files.find({"filename": some})]
        return found

    async def below(self, prefix: str) -> AsyncIterator[File]:
        """The files whose names begin so, by name, the newest of each name."""
        last: File | None = None
        named = {"filename": {"$gte": prefix, "$lt": prefix[:-1] + chr(ord(prefix[-1]) + 1)}}
        async for document in self._files.find(named).sort([("filename", 1), ("uploadDate", 1)]):
            file = _file(document)
            if last is not None and last.name != file.name:
                yield last
            last = file
        if last is not None:
            yield last

    async def chunk(self, file: File, index: int) -> bytes | None:
        """The bytes of a chunk; None where it is gone, or not what it should be."""
        document = await self._chunks.find_one({"_id": _chunk_id(file.id, index)}, {"data": 1})
        data = bytes(document["data"]) if document is not None else b""
        return data if len(data) == file.expected(index) else None

    async def remove(self, files: Sequence[File]) -> None:
        ids = [file.id for file in files]
        for start in range(0, len(ids), SOME):
            some = {"$in": ids[start : start + SOME]}
            await self._files.delete_many({"_id": some})
            await self._chunks.delete_many({"files_id": some})

    async def store(self, contents: Mapping[str, bytes]) -> None:
        """Stores small files by name, all at once; each takes the place of those of its name."""
        if not contents:
            return
        began = _awake()
        ids = {name: await self._new_id() for name in contents}
        chunks = [
            _chunk(ids[name], index, data[start : start + CHUNK])
            for name, data in contents.items()
            for index, start in enumerate(range(0, len(data), CHUNK))
        ]
        async with self._nothing_left(list(ids.values())):
            if chunks:
                await self._chunks.insert_many(chunks, ordered=False)
            if _awake() - began > DEAD_SECONDS / 2:
                raise Unavailable("Storing took so long that it may have been taken for dead; try again.")
            replaced = await self._publish({name: (ids[name], len(data)) for name, data in contents.items()})
        await self._clear(replaced)

    @asynccontextmanager
    async def upload(self) -> AsyncIterator["Upload"]:
        """A file on its way in. Where this ends before it is published, nothing of it is left."""
        upload = Upload(self, await self._new_id())
        async with self._nothing_left([upload.id]):
            renewing = asyncio.create_task(upload.renew_on_and_on())
            try:
                yield upload
            finally:
                renewing.cancel()
                await asyncio.gather(renewing, return_exceptions=True)
        await self._clear(upload.replaced, [upload.id] if upload.registered else [])

    async def _clear(self, replaced: Sequence[File], uploads: Sequence[ObjectId] = ()) -> None:
        """Removes what was replaced: the newest counts meanwhile, so nothing depends on it."""
        with suppress(PyMongoError):
            await self.remove(replaced)
            if uploads:
                await self._uploads.delete_many({"_id": {"$in": list(uploads)}})

    async def _new_id(self) -> ObjectId:
        """An id that says when it was made, by the server's clock."""
        return ObjectId(int(await self.clock.now()).to_bytes(4, "big") + os.urandom(8))

    async def _publish(self, files: Mapping[str, tuple[ObjectId, int]]) -> list[File]:
        """Makes uploads the files of their names. Those that they replace."""
        before = await self.named(list(files))
        latest = {file.name: file.since for file in sorted(before, key=lambda file: file.since)}
        now = await self.clock.now()
        documents = [
            {
                "_id": file_id,
                "filename": name,
                "length": length,
                "chunkSize": CHUNK,
                # Never before what it replaces, however the clocks went.
                "uploadDate": datetime.fromtimestamp(max(now, latest.get(name, 0.0) + 0.001), UTC),
                "metadata": {"schema": SCHEMA},
            }
            for name, (file_id, length) in files.items()
        ]
        await self._files.insert_many(documents, ordered=False)
        return before

    @asynccontextmanager
    async def _nothing_left(self, ids: Sequence[ObjectId]) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            with suppress(PyMongoError):  # where the server is away, it is found later
                await self._files.delete_many({"_id": {"$in": list(ids)}})
                await self._chunks.delete_many({"files_id": {"$in": list(ids)}})
                await self._uploads.delete_many({"_id": {"$in": list(ids)}})
            raise

    async def unfinished(self, *, remove: bool) -> Leftovers:
        """Chunks of uploads that died, and their bytes."""
        count = size = 0
        oldest = await self.clock.now() - DEAD_SECONDS
        grouped = await self._chunks.aggregate([{"$group": {"_id": "$files_id"}}])
        ids = [document["_id"] async for document in grouped]
        alive = {upload["_id"] async for upload in self._uploads.find() if _time(upload["at"]) > oldest}
        for start in range(0, len(ids), SOME):
            some = [each for each in ids[start : start + SOME] if each not in alive and _made(each) <= oldest]
            whole = {file["_id"] async for file in self._files.find({"_id": {"$in": some}}, {"_id": 1})}
            for dead in [each for each in some if each not in whole]:
                chunks = self._chunks.find({"files_id": dead}, {"data": 1})
                size += sum([len(chunk["data"]) async for chunk in chunks])
                count += 1
                if remove:
                    await self._uploads.delete_one({"_id": dead})  # first: so one that comes back knows
                    await self._chunks.delete_many({"files_id": dead})
        return Leftovers(count, size)


class Upload:
    """A file whose bytes come one chunk after another."""

    def __init__(self, files: Files, file_id: ObjectId) -> None:
        self.id = file_id
        self._files = files
        self._length = self._count = 0
        self.replaced: list[File] = []
        self.registered = False
        self._renewed = _awake()

    async def write(self, chunk: bytes) -> None:
        """Takes the next `CHUNK` bytes; fewer only at the end."""
        if self._count == 1:
            await self._register()
        await self._files._chunks.insert_one(_chunk(self.id, self._count, chunk))
        self._count += 1
        self._length += len(chunk)

    async def publish(self, name: str) -> None:
        """Makes it the file of a name, in the place of what there was."""
        if _awake() - self._renewed > DEAD_SECONDS / 2:
            await self._renew()
        self.replaced = await self._files._publish({name: (self.id, self._length)})

    async def renew_on_and_on(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if self.registered:
                with suppress(PyMongoError, Unavailable):  # whether it matters shows when it is published
                    await self._renew()

    async def _register(self) -> None:
        await self._files._uploads.insert_one({"_id": self.id, "schema": SCHEMA, "at": await self._at()})
        self.registered = True

    async def _renew(self) -> None:
        done = await self._files._uploads.update_one({"_id": self.id}, {"$set": {"at": await self._at()}})
        if not done.matched_count:
            raise Unavailable("The upload was silent for so long that it was taken for dead; try again.")
        self._renewed = _awake()

    async def _at(self) -> datetime:
        return datetime.fromtimestamp(await self._files.clock.now(), UTC)


def _awake() -> float:
    """Seconds that pass also while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _file(document: Document) -> File:
    since = _time(document["uploadDate"])
    return File(document["_id"], document["filename"], document["length"], document["chunkSize"], since)


def _chunk_id(file_id: ObjectId, index: int) -> str:
    # GridFS leaves it open; so each chunk is found by equality of `_id`, which is quick on every server.
    return f"{file_id}-{index}"


def _chunk(file_id: ObjectId, index: int, data: bytes) -> Document:
    return {"_id": _chunk_id(file_id, index), "files_id": file_id, "n": index, "data": Binary(data)}


def _time(at: datetime) -> float:
    return at.replace(tzinfo=UTC).timestamp()


def _made(file_id: ObjectId) -> float:
    return file_id.generation_time.timestamp()
