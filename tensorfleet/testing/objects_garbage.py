"""The contract of an `ObjectStore`, as to blobs that are put again and that go."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tensorfleet.errors import NotFound
from tensorfleet.stores import open_objects
from tensorfleet.stores.contract import Leftovers, ObjectStore
from tensorfleet.testing.objects_steps import MIB, NOWHERE, fetch, put, ref_of, refs, stream


async def test_the_same_blob_is_one_blob(objects: ObjectStore) -> None:
    digest = await put(objects, b"same")
    assert await put(objects, b"same") == digest
    assert await objects.put_many([[b"sa", b"me"]]) == [ref_of(b"same")]
    assert await refs(objects) == {ref_of(b"same")}


async def test_the_same_blob_may_come_from_many_at_once(objects: ObjectStore, objects_url: str) -> None:
    other = await open_objects(objects_url)
    data = bytes(range(256)) * 8192
    putting = [store.put(stream([data])) for store in (objects, other) for _ in range(6)]
    assert set(await asyncio.gather(*putting)) == {ref_of(data)}
    assert await fetch(objects, ref_of(data).digest) == data
    assert await refs(other) == {ref_of(data)}
    await other.close()


async def test_a_blob_being_read_outlives_its_deletion_or_says_so(objects: ObjectStore) -> None:
    digest = await put(objects, bytes(3 * MIB))
    reading = objects.get(digest)
    received = len(await anext(reading))
    await objects.delete(digest)
    try:
        async for chunk in reading:
            received += len(chunk)
    except NotFound:
        assert received < 3 * MIB
    else:
        assert received == 3 * MIB


async def test_a_deleted_blob_is_gone_and_can_come_back(objects: ObjectStore) -> None:
    digest = await put(objects, b"bytes")
    kept = await put(objects, b"others")
    assert await objects.delete(digest)
    assert await objects.delete(digest)
    assert await objects.size(digest) is None
    with pytest.raises(NotFound):
        await fetch(objects, digest)
    assert {ref.digest for ref in await refs(objects)} == {kept}
    assert await put(objects, b"bytes") == digest
    assert await fetch(objects, digest) == b"bytes"


async def test_a_blob_that_was_just_put_is_no_garbage(objects: ObjectStore) -> None:
    digest = await put(objects, b"bytes")
    assert not await objects.delete(digest, idle=3600.0)
    assert await fetch(objects, digest) == b"bytes"
    assert await objects.delete(NOWHERE, idle=3600.0)


async def test_a_put_wins_against_deletions(objects: ObjectStore) -> None:
    """Whoever has put a blob has it, however often somebody deletes what is not new at that moment."""
    digest = await put(objects, b"bytes")

    async def delete() -> None:
        while not done:
            await objects.delete(digest, idle=60.0)

    done = False
    deleting = [asyncio.create_task(delete()) for _ in range(2)]
    try:
        for _ in range(20):
            await objects.delete(digest)
            await put(objects, b"bytes")
            assert await objects.size(digest) == 5
    finally:
        done = True
        await asyncio.gather(*deleting)


async def test_nothing_is_left_of_what_was_put(objects: ObjectStore) -> None:
    await put(objects, b"bytes")
    for remove in (False, True):
        assert await objects.unfinished(remove=remove) == Leftovers(0, 0)
    assert await refs(objects) == {ref_of(b"bytes")}


async def test_a_put_that_goes_on_loses_nothing(objects: ObjectStore) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        await objects.unfinished(remove=True)
        yield bytes(2 * MIB)

    ref = await objects.put(chunks())
    assert await fetch(objects, ref.digest) == bytes(4 * MIB)


async def test_blobs_have_their_ages(objects: ObjectStore) -> None:
    digests = {await put(objects, b"%d" % number) for number in range(20)}
    found = [(ref.digest, age) async for ref, age in objects.blobs()]
    assert {digest for digest, _ in found} == digests
    assert len(found) == 20
    assert all(0 <= age < 3600 for _, age in found)


async def test_a_path_is_the_blob_itself(objects: ObjectStore) -> None:
    digest = await put(objects, b"mapped")
    path = objects.path(digest)
    if path is not None:
        assert path.read_bytes() == b"mapped"
