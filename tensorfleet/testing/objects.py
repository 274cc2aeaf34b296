"""The contract of an `ObjectStore` as tests. The rule: nothing here knows which backend it tries.

A backend's test module says where to keep objects and how to damage one, and takes the tests in:

    from tensorfleet.testing.objects import *  # noqa: F403

    @pytest.fixture
    def objects_url(tmp_path): return f"file://{tmp_path}/objects"

    @pytest.fixture
    def overwrite(objects): ...  # an async function (digest, bytes) that writes other bytes in a blob's place

The place is fresh for each test, and `open_objects` knows its scheme.
"""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from tensorfleet.errors import AlreadyExists, CorruptArtifact, InvalidRequest, NotFound
from tensorfleet.model import Ref
from tensorfleet.stores import open_objects
from tensorfleet.stores.contract import Leftovers, ObjectStore

MIB = 1024 * 1024
NOWHERE = hashlib.sha256(b"nobody stored this").hexdigest()
NO_DIGESTS = ["", "abc", "../../../../etc/passwd", NOWHERE.upper(), NOWHERE + "0", f"{NOWHERE[:63]}/", f"{NOWHERE}\n"]

Overwrite = Callable[[str, bytes], Awaitable[None]]


@pytest_asyncio.fixture
async def objects(objects_url: str) -> AsyncIterator[ObjectStore]:
    store = await open_objects(objects_url)
    yield store
    await store.close()


async def stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def put(store: ObjectStore, data: bytes) -> str:
    return (await store.put(stream([data]))).digest


async def collect(reading: AsyncIterator[bytes], into: list[bytes]) -> None:
    async for chunk in reading:
        into.append(chunk)  # noqa: PERF401


async def fetch(store: ObjectStore, digest: str, offset: int = 0) -> bytes:
    return b"".join([chunk async for chunk in store.get(digest, offset)])


async def refs(store: ObjectStore) -> set[Ref]:
    return {ref async for ref, _ in store.blobs()}


def ref_of(data: bytes) -> Ref:
    return Ref(hashlib.sha256(data).hexdigest(), len(data))


# In and out


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


# What is refused


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


# The same blob again, and blobs that go


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


# Names


async def test_names_are_given_moved_and_taken(objects: ObjectStore) -> None:
    first, second = await put(objects, b"first"), await put(objects, b"second")
    for digest in (first, second, second):
        await objects.name("models/iris/v1/manifest", digest)
    await objects.name("models/iris/v1/part-0", first)
    await objects.name("models/iris/v1/manifest", None)
    await objects.name("models/iris/v1/manifest", None)
    await objects.name("models/never/v1/manifest", None)
    assert await refs(objects) == {ref_of(b"first"), ref_of(b"second")}
    assert await fetch(objects, second) == b"second"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "manifest",
        "/etc/passwd",
        "../outside",
        "models/../../outside",
        "models/./iris",
        "models//iris",
        "models/iris/",
        "models/a\0b",
        "models\\..\\outside",
        "models/" + "x" * 300,
        "cas/sha256/ab",
        "tmp/iris",
    ],
)
async def test_a_name_cannot_leave_its_place(objects: ObjectStore, name: str) -> None:
    digest = await put(objects, b"bytes")
    for target in (digest, None):
        with pytest.raises(InvalidRequest, match="name"):
            await objects.name(name, target)
    assert await refs(objects) == {ref_of(b"bytes")}


async def test_a_name_is_no_beginning_of_another(objects: ObjectStore) -> None:
    digest = await put(objects, b"bytes")
    await objects.name("models/iris/v1/manifest", digest)
    for name in ("models/iris/v1", "models/iris/v1/manifest/part"):
        with pytest.raises(AlreadyExists, match=name):
            await objects.name(name, digest)
    await objects.name("models/iris/v1", None)
    await objects.name("models/iris/v1/manifest/part", None)
    assert await fetch(objects, digest) == b"bytes"


async def test_odd_names_are_names(objects: ObjectStore) -> None:
    digest = await put(objects, b"bytes")
    for name in (
        "models/..iris/v1",
        "models/naïve 😀/v1 final (2)",
        "datasets/a-b_c.d/manifest",
        "models/" + "x" * 255,
    ):
        await objects.name(name, digest)
        await objects.name(name, None)
