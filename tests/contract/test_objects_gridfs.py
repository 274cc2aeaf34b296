"""GridFS keeps the contract of objects, and what it alone promises: on each server there is."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio
from gridfs import AsyncGridFSBucket

from tensorfleet.errors import Unavailable
from tensorfleet.stores import gridfs_files
from tensorfleet.stores.blobs import CHUNK
from tensorfleet.stores.contract import Leftovers, ObjectStore
from tensorfleet.stores.gridfs import GridFSObjects
from tensorfleet.stores.mongo_connection import Database
from tensorfleet.stores.mongo_url import gridfs
from tensorfleet.testing.objects import *  # noqa: F403
from tensorfleet.testing.objects_steps import Overwrite, fetch, put, ref_of, refs
from tests.servers.running import database_url, mongo_servers, remove_database


@pytest_asyncio.fixture(params=mongo_servers())
async def objects_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    url = database_url(request.param)
    yield gridfs(url)
    await remove_database(url)


@pytest.fixture
def store(objects: ObjectStore) -> GridFSObjects:
    return cast(GridFSObjects, objects)


@pytest.fixture
def database(store: GridFSObjects) -> Database:
    assert store._opened is not None
    return store._opened.connected.database


@pytest.fixture
def overwrite(database: Database) -> Overwrite:
    async def write(digest: str, data: bytes) -> None:
        [file] = await database["fs.files"].find({"filename": f"cas/sha256/{digest[:2]}/{digest}"}).to_list()
        await database["fs.chunks"].delete_many({"files_id": file["_id"]})
        for n, start in enumerate(range(0, len(data), CHUNK)):
            chunk = {"_id": f"{file['_id']}-{n}", "files_id": file["_id"], "n": n}
            await database["fs.chunks"].insert_one({**chunk, "data": data[start : start + CHUNK]})
        await database["fs.files"].update_one({"_id": file["_id"]}, {"$set": {"length": len(data)}})

    return write


async def test_any_tool_of_gridfs_reads_a_blob(store: GridFSObjects, database: Database) -> None:
    data = bytes(range(256)) * 5000
    digest = await put(store, data)
    [small] = await store.put_many([[b"small"]])
    bucket = AsyncGridFSBucket(database)
    for name, expected in ((digest, data), (small.digest, b"small")):
        file = await bucket.open_download_stream_by_name(f"cas/sha256/{name[:2]}/{name}")
        assert await file.read() == expected


async def test_names_say_what_they_are_on(store: GridFSObjects, database: Database) -> None:
    digest = await put(store, b"bytes")
    await store.name("models/iris/v1/manifest", digest)
    [name] = await database["fs.names"].find().to_list()
    assert (name["_id"], name["blob"]) == ("models/iris/v1/manifest", f"cas/sha256/{digest[:2]}/{digest}")


async def test_nothing_of_a_failed_put_is_left(store: GridFSObjects, database: Database) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(3 * CHUNK)
        assert await database["fs.chunks"].count_documents({}) > 0
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.put(broken())
    for collection in ("fs.files", "fs.chunks", "fs.uploads"):
        assert await database[collection].count_documents({}) == 0


async def test_a_replaced_blob_leaves_nothing_of_itself(store: GridFSObjects, database: Database) -> None:
    for _ in range(3):
        await put(store, bytes(2 * CHUNK + 1))
        await store.put_many([[b"small"]])
    assert await database["fs.files"].count_documents({}) == 2
    assert await database["fs.chunks"].count_documents({}) == 4
    assert await database["fs.uploads"].count_documents({}) == 0


async def test_a_blob_may_be_replaced_while_it_is_read(store: GridFSObjects) -> None:
    data = bytes(3 * CHUNK)
    digest = await put(store, data)
    reading = store.get(digest)
    received = [await anext(reading)]
    await put(store, data)
    received += [chunk async for chunk in reading]
    assert b"".join(received) == data


PUT_WITHOUT_END = """
import asyncio, sys
from tensorfleet.stores import open_objects

async def chunks():
    yield bytes(3_000_000)
    print("written", flush=True)
    await asyncio.Event().wait()

async def main():
    store = await open_objects(sys.argv[1])
    await store.put(chunks())

asyncio.run(main())
"""


async def test_a_killed_put_leaves_no_blob_and_is_cleared_in_time(
    store: GridFSObjects, objects_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PUT_WITHOUT_END, objects_url, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"written\n"
    child.kill()
    await child.wait()
    kept = await put(store, b"kept")
    assert await refs(store) == {ref_of(b"kept")}
    assert await store.unfinished(remove=True) == Leftovers(0, 0)  # it may be a put that goes on
    monkeypatch.setattr(gridfs_files, "DEAD_SECONDS", -10.0)
    left = Leftovers(1, 2 * CHUNK)
    assert await store.unfinished(remove=False) == await store.unfinished(remove=True) == left
    assert await store.unfinished(remove=True) == Leftovers(0, 0)
    assert await database["fs.chunks"].count_documents({}) == 1
    assert await database["fs.uploads"].count_documents({}) == 0
    assert await fetch(store, kept) == b"kept"


async def test_a_put_that_was_taken_for_dead_says_so(store: GridFSObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was stopped, and goes on when its chunks are removed: it is no blob."""

    async def chunks() -> AsyncIterator[bytes]:
        yield bytes(3 * CHUNK)
        monkeypatch.setattr(gridfs_files, "DEAD_SECONDS", -10.0)
        assert await store.unfinished(remove=True) == Leftovers(1, 3 * CHUNK)
        yield b"the end"

    with pytest.raises(Unavailable, match="taken for dead"):
        await store.put(chunks())
    assert await refs(store) == set()
    assert await store.unfinished(remove=False) == Leftovers(0, 0)


async def test_a_long_put_says_that_it_goes_on(
    store: GridFSObjects, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gridfs_files, "RENEW_SECONDS", 0.001)

    async def chunks() -> AsyncIterator[bytes]:
        yield bytes(2 * CHUNK)
        [upload] = await database["fs.uploads"].find().to_list()
        while await database["fs.uploads"].find().to_list() == [upload]:
            pass
        yield b"the end"

    assert (await store.put(chunks())).size == 2 * CHUNK + 7
    assert await database["fs.uploads"].count_documents({}) == 0


async def test_a_closed_store_says_so(store: GridFSObjects) -> None:
    await store.close()
    with pytest.raises(Unavailable, match="not open"):
        await put(store, b"bytes")
    with pytest.raises(Unavailable, match="not open"):
        await store.size(ref_of(b"bytes").digest)
