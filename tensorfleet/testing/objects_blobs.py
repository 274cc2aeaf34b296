"""The contract of an `ObjectStore`, as to a blob: what goes in comes out, and other bytes are refused."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from tensorfleet.errors import CorruptArtifact, InvalidRequest, NotFound
from tensorfleet.model import Ref
from tensorfleet.stores import open_objects
from tensorfleet.stores.contract import ObjectStore
from tensorfleet.testing.objects_steps import (
    MIB,
    NO_DIGESTS,
    NOWHERE,
    Overwrite,
    collect,
    fetch,
    put,
    ref_of,
    refs,
    stream,
)


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [b""],
        [b"one"],
        [b"", b"two", b"", b" chunks"],
        [b"x"] * 3000,
        [bytes(MIB), b"and a little more"],
        [b"exact" * (MIB // 5), b"!"],
        [b"larger than a chunk" * 200_000],
    ],
    ids=["none", "empty", "one", "gaps", "tiny", "over", "exact", "large"],
)
async def test_what_goes_in_comes_out(objects: ObjectStore, chunks: list[bytes]) -> None:
    data = b"".join(chunks)
    assert await objects.put(stream(chunks)) == ref_of(data)
    received = [chunk async for chunk in objects.get(ref_of(data).digest)]
    assert b"".join(received) == data
    assert all(0 < len(chunk) <= MIB for chunk in received)
    assert await objects.size(ref_of(data).digest) == len(data)
    assert await refs(objects) == {ref_of(data)}


async def test_blobs_survive_closing(objects: ObjectStore, objects_url: str) -> None:
    digest = await put(objects, b"kept")
    await objects.close()
    again = await open_objects(objects_url)
    assert await fetch(again, digest) == b"kept"
    await again.close()


async def test_a_big_blob_streams_through_little_memory(objects: ObjectStore) -> None:
    piece = bytes(range(256)) * 1024
    digest = hashlib.sha256(piece * 80).hexdigest()
    tracemalloc.start()
    try:
        assert await objects.put(stream(piece for _ in range(80)), digest) == Ref(digest, 20 * MIB)
        seen = hashlib.sha256()
        async for chunk in objects.get(digest):
            seen.update(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen.hexdigest() == digest
    assert peak < 8 * MIB


async def test_many_small_blobs_in_one_go(objects: ObjectStore) -> None:
    blobs: list[list[bytes | memoryview]] = [[b"blob ", memoryview(b"%d" % number)] for number in range(300)]
    found = await objects.put_many([*blobs, [], [b"", b""], blobs[0]])
    assert found == [ref_of(data) for data in [*(b"blob %d" % number for number in range(300)), b"", b"", b"blob 0"]]
    assert await refs(objects) == set(found)
    assert await fetch(objects, found[299].digest) == b"blob 299"
    assert await objects.put_many([]) == []


async def test_buffers_of_any_kind_are_their_bytes(objects: ObjectStore) -> None:
    numbers = cast("memoryview[int]", memoryview(bytearray(64)).cast("d"))
    assert await objects.put_many([[numbers, numbers[:0], numbers[2:4]]]) == [ref_of(bytes(80))]


async def test_a_file_is_stored(objects: ObjectStore, tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    ref = Ref(hashlib.sha256(data).hexdigest(), len(data))
    for _ in range(2):  # also where it is there already
        (tmp_path / "output").write_bytes(data)
        await objects.put_file(tmp_path / "output", ref)
    assert await fetch(objects, ref.digest) == data


async def test_a_file_that_was_cut_short_is_refused(objects: ObjectStore, tmp_path: Path) -> None:
    ref = Ref(hashlib.sha256(b"whole").hexdigest(), 5)
    (tmp_path / "output").write_bytes(b"who")
    with pytest.raises(CorruptArtifact):
        await objects.put_file(tmp_path / "output", ref)
    assert await objects.size(ref.digest) is None


async def test_reading_from_an_offset(objects: ObjectStore) -> None:
    data = bytes(range(256)) * 8192
    digest = await put(objects, data)
    for offset in (0, 1, MIB - 1, MIB, len(data) - 1, len(data), len(data) + 1):
        assert await fetch(objects, digest, offset) == data[offset:]
    with pytest.raises(InvalidRequest, match="offset"):
        await fetch(objects, digest, -1)


async def test_reading_may_stop_early(objects: ObjectStore) -> None:
    digest = await put(objects, bytes(3 * MIB))
    reading = objects.get(digest)
    assert len(await anext(reading)) == MIB
    await reading.aclose()  # type: ignore[attr-defined]
    assert len(await fetch(objects, digest)) == 3 * MIB


async def test_other_bytes_than_said_leave_nothing(objects: ObjectStore) -> None:
    for said in (NOWHERE, *NO_DIGESTS):
        with pytest.raises(CorruptArtifact, match=ref_of(b"bytes").digest):
            await objects.put(stream([b"bytes"]), said)
    assert await refs(objects) == set()
    assert await objects.size(ref_of(b"bytes").digest) is None


async def test_a_put_that_fails_leaves_nothing(objects: ObjectStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        raise ConnectionResetError("the client is gone")

    with pytest.raises(ConnectionResetError):
        await objects.put(broken())
    assert await refs(objects) == set()


async def test_a_cancelled_put_leaves_nothing(objects: ObjectStore) -> None:
    reached = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        reached.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(objects.put(endless()))
    await reached.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert await refs(objects) == set()


@pytest.mark.parametrize("digest", [NOWHERE, *NO_DIGESTS])
async def test_what_is_not_there(objects: ObjectStore, digest: str) -> None:
    with pytest.raises(NotFound):
        await fetch(objects, digest)
    with pytest.raises(NotFound):
        await fetch(objects, digest, 5)
    assert await objects.size(digest) is None
    assert objects.path(digest) is None
    await objects.delete(digest)
    with pytest.raises(NotFound):
        await objects.name("models/iris/v1/manifest", digest)


@pytest.mark.parametrize("size", [1, 1000, MIB, 2 * MIB + 5])
async def test_damage_is_noticed_before_the_last_chunk(objects: ObjectStore, overwrite: Overwrite, size: int) -> None:
    data = bytes(size)
    digest = await put(objects, data)
    for damaged in (data[:-1] + b"!", b"!" + data[1:], data[:-1], data + b"!", b""):
        await overwrite(digest, damaged)
        received: list[bytes] = []
        with pytest.raises(CorruptArtifact, match=digest):
            await collect(objects.get(digest), received)
        assert len(b"".join(received)) < max(len(damaged), 1)


async def test_whoever_checks_by_itself_reads_the_same(objects: ObjectStore) -> None:
    data = bytes(range(256)) * 10_000
    digest = await put(objects, data)
    assert b"".join([chunk async for chunk in objects.get(digest, check=False)]) == data


@pytest.mark.parametrize("damaged", [b"who", b"whale"], ids=["cut short", "other bytes"])
@pytest.mark.parametrize("how", ["put", "put_many", "put_file"])
async def test_a_damaged_blob_is_mended_by_a_put(
    objects: ObjectStore, overwrite: Overwrite, tmp_path: Path, how: str, damaged: bytes
) -> None:
    digest = await put(objects, b"whole")
    await overwrite(digest, damaged)
    if how == "put":
        assert await put(objects, b"whole") == digest
    elif how == "put_many":
        assert await objects.put_many([[b"whole"]]) == [ref_of(b"whole")]
    else:
        (tmp_path / "output").write_bytes(b"whole")
        await objects.put_file(tmp_path / "output", ref_of(b"whole"))
    assert await fetch(objects, digest) == b"whole"
