"""The cache over a remote of a few lines: one fetch a digest, nothing unverified, old blobs make room."""

import asyncio
import gc
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tensorfleet.errors import CorruptArtifact, NotFound, Unavailable
from tensorfleet.model import Ref
from tensorfleet.stores import open_objects
from tensorfleet.stores.contract import Grant
from worker.cache import AT_ONCE, INLINE, TRIES, Cache, store_is_here, sweep
from worker.messages import OrderInput


def ref_of(data: bytes) -> Ref:
    return Ref(hashlib.sha256(data).hexdigest(), len(data))


def own(home: Path, term: int) -> None:
    """Writes the file by which an orchestrator shows that a home is its own."""
    (home / "orchestrator.json").write_text(json.dumps({"pid": os.getpid(), "term": term}))


class Remote:
    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.gets = 0
        self.checks: list[bool] = []
        self.puts = 0
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def add(self, data: bytes) -> OrderInput:
        ref = ref_of(data)
        self.blobs[ref.digest] = data
        return OrderInput(ref)

    async def get(self, digest: str, check: bool) -> AsyncIterator[bytes]:
        self.gets += 1
        self.checks.append(check)
        await self.gate.wait()
        self._stumble()
        if digest not in self.blobs:
            raise NotFound(digest)
        yield self.blobs[digest][:10]
        yield self.blobs[digest][10:]

    async def put(self, chunks: AsyncIterator[bytes], digest: str) -> Ref:
        self.puts += 1
        self._stumble()
        data = b"".join([chunk async for chunk in chunks])
        self.blobs[digest] = data
        return ref_of(data)

    async def grant_get(self, digest: str) -> Grant | None:
        return None

    async def grant_put(self, ref: Ref) -> Grant | None:
        return None

    def _stumble(self) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("not now")


@pytest.fixture
def remote() -> Remote:
    return Remote()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorfleet.rpc.pauses.random.uniform", lambda _low, _high: 0.0)


async def cache_of(tmp_path: Path, remote: Remote, capacity: int = 1 << 30) -> Cache:
    cache = Cache(tmp_path / "cache", capacity)
    await cache.connect(remote, "", 0)
    return cache


async def test_an_input_is_fetched_once_and_is_there_in_the_next_life(tmp_path: Path, remote: Remote) -> None:
    wanted = remote.add(b"x" * 100)
    for life in range(2):
        cache = await cache_of(tmp_path, remote)
        path = await cache.fetch(wanted, tmp_path / f"input-{life}")
        assert path.read_bytes() == b"x" * 100
    assert remote.gets == 1


async def test_fetches_of_one_digest_at_once_share_one(tmp_path: Path, remote: Remote) -> None:
    cache, wanted = await cache_of(tmp_path, remote), remote.add(b"x" * 100)
    remote.gate.clear()
    fetches = [asyncio.create_task(cache.fetch(wanted, tmp_path / str(number))) for number in range(5)]
    await asyncio.sleep(0)
    fetches[0].cancel()  # whoever asked first may leave; the others still get it
    remote.gate.set()
    for path in await asyncio.gather(*fetches[1:]):
        assert path.read_bytes() == b"x" * 100
    assert remote.gets == 1


async def test_a_fetch_that_fails_once_nobody_waits_for_it_is_no_error(tmp_path: Path, remote: Remote) -> None:
    cache = await cache_of(tmp_path, remote)
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    remote.gate.clear()
    fetch = asyncio.create_task(cache.fetch(OrderInput(ref_of(b"gone")), tmp_path / "input"))
    while not remote.gets:
        await asyncio.sleep(0)
    fetch.cancel()
    remote.gate.set()
    while cache._fetching:
        await asyncio.sleep(0)
    del fetch  # which knows where it was cancelled, and so what it waited for
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []


async def test_an_inline_input_needs_no_fetch(tmp_path: Path, remote: Remote) -> None:
    wanted = OrderInput(ref_of(b"small"), b"small")
    path = await (await cache_of(tmp_path, remote)).fetch(wanted, tmp_path / "input")
    assert (path.read_bytes(), remote.gets) == (b"small", 0)


async def test_an_empty_input_is_an_empty_file(tmp_path: Path, remote: Remote) -> None:
    path = await (await cache_of(tmp_path, remote)).fetch(OrderInput(ref_of(b"")), tmp_path / "input")
    assert path.read_bytes() == b""


async def test_wrong_bytes_are_refused_and_leave_nothing(tmp_path: Path, remote: Remote, no_waiting: None) -> None:
    cache, wanted = await cache_of(tmp_path, remote), remote.add(b"right")
    remote.blobs[wanted.ref.digest] = b"wrong"
    with pytest.raises(CorruptArtifact):
        await cache.fetch(wanted, tmp_path / "input")
    assert remote.checks == [False] + [True] * (TRIES - 1)  # who has sent wrong bytes is to look at them
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    remote.blobs[wanted.ref.digest] = b"right"
    assert (await cache.fetch(wanted, tmp_path / "input")).read_bytes() == b"right"


async def test_a_cached_file_of_another_size_is_fetched_again(tmp_path: Path, remote: Remote) -> None:
    cache, wanted = await cache_of(tmp_path, remote), remote.add(b"x" * 100)
    first = await cache.fetch(wanted, tmp_path / "first")
    os.truncate(first, 7)
    assert (await cache.fetch(wanted, tmp_path / "second")).read_bytes() == b"x" * 100


async def test_a_server_that_is_away_is_waited_for(tmp_path: Path, remote: Remote, no_waiting: None) -> None:
    cache, wanted = await cache_of(tmp_path, remote), remote.add(b"x" * 100)
    remote.failures = 3
    assert (await cache.fetch(wanted, tmp_path / "input")).read_bytes() == b"x" * 100
    output = tmp_path / "output"
    output.write_bytes(b"y" * (INLINE + 1))
    remote.failures = 3
    assert (await cache.put(output, ref_of(output.read_bytes()))).inline == b""
    assert remote.puts == 4


async def test_a_missing_blob_is_an_error_at_once(tmp_path: Path, remote: Remote) -> None:
    with pytest.raises(NotFound):
        await (await cache_of(tmp_path, remote)).fetch(OrderInput(Ref("0" * 64, 1)), tmp_path / "input")
    assert remote.gets == 1


async def test_the_least_recently_used_makes_room_and_what_is_in_use_stays_readable(
    tmp_path: Path, remote: Remote
) -> None:
    cache = await cache_of(tmp_path, remote, capacity=250)
    old, used, new = (remote.add(letter * 100) for letter in (b"a", b"b", b"c"))
    held = await cache.fetch(used, tmp_path / "used")
    await cache.fetch(old, tmp_path / "old")
    await cache.fetch(used, tmp_path / "used-again")
    await cache.fetch(new, tmp_path / "new")
    assert (tmp_path / "old").read_bytes() == b"a" * 100
    assert held.read_bytes() == b"b" * 100
    (tmp_path / "old").unlink()
    assert remote.gets == 3
    await cache.fetch(used, tmp_path / "used-once-more")
    assert remote.gets == 3
    await cache.fetch(old, tmp_path / "old")
    assert remote.gets == 4


async def test_small_outputs_ride_along_and_large_ones_are_put_and_kept(tmp_path: Path, remote: Remote) -> None:
    cache = await cache_of(tmp_path, remote)
    small, large = b"s" * INLINE, b"l" * (1 << 20)
    (tmp_path / "small").write_bytes(small)
    (tmp_path / "large").write_bytes(large)
    assert (await cache.put(tmp_path / "small", ref_of(small))).inline == small
    blob = await cache.put(tmp_path / "large", ref_of(large))
    assert (blob.ref, blob.inline) == (ref_of(large), b"")
    assert cache.news() == [blob.ref.digest]
    assert cache.news() == []
    await cache.fetch(OrderInput(blob.ref), tmp_path / "input")
    assert (remote.puts, remote.gets) == (1, 0)
    assert cache.digests() == [blob.ref.digest]


async def test_a_store_on_this_machine_is_used_in_place(tmp_path: Path, remote: Remote) -> None:
    store = await open_objects(tmp_path / "home")
    ref = (await store.put_many([[b"x" * 100_000]]))[0]
    cache = Cache(tmp_path / "cache")
    await cache.connect(remote, store.url, 3)
    own(tmp_path / "home", 3)  # an orchestrator writes it a moment after it serves
    assert await cache.fetch(OrderInput(ref), tmp_path / "input") == store.path(ref.digest)
    (tmp_path / "output").write_bytes(b"y" * 100_000)
    blob = await cache.put(tmp_path / "output", ref_of(b"y" * 100_000))
    assert await store.size(blob.ref.digest) == 100_000
    assert (remote.gets, remote.puts) == (0, 0)
    await store.close()


def test_a_store_is_here_only_where_its_own_orchestrator_lives(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/objects"
    assert not store_is_here(url, 3)
    (tmp_path / "objects" / "cas" / "sha256").mkdir(parents=True)
    assert not store_is_here(url, 3)
    owner = tmp_path / "orchestrator.json"
    own(tmp_path, 3)
    assert store_is_here(url, 3)
    assert not store_is_here(url, 4)
    owner.write_text(json.dumps({"pid": 2**22 + 1, "term": 3}))
    assert not store_is_here(url, 3)
    owner.write_text("not json")
    assert not store_is_here(url, 3)
    assert not store_is_here("s3://bucket/objects", 3)
    assert not store_is_here("", 3)


def test_scratch_of_workers_that_are_gone_is_swept(tmp_path: Path) -> None:
    for name in (str(os.getpid()), str(2**22 + 1)):
        (tmp_path / name / "12").mkdir(parents=True)
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]
    sweep(tmp_path / "nowhere")


def damage(path: Path) -> None:
    """Another byte, in a file of the same size."""
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, (1, 1))  # a clock that is too coarse would else hide that it was written


async def test_a_damaged_cached_file_is_noticed_and_fetched_again(tmp_path: Path, remote: Remote) -> None:
    wanted = remote.add(b"x" * 100)
    for life in range(2):
        cache = await cache_of(tmp_path, remote)
        await cache.fetch(wanted, tmp_path / f"before-{life}")
        damage(next((tmp_path / "cache").glob("??/*")))
        assert (await cache.fetch(wanted, tmp_path / f"after-{life}")).read_bytes() == b"x" * 100
    assert remote.gets == 3


async def test_a_file_damaged_between_two_lives_is_noticed(tmp_path: Path, remote: Remote) -> None:
    wanted = remote.add(b"x" * 100)
    await (await cache_of(tmp_path, remote)).fetch(wanted, tmp_path / "before")
    damage(next((tmp_path / "cache").glob("??/*")))
    again = await cache_of(tmp_path, remote)
    assert (await again.fetch(wanted, tmp_path / "after")).read_bytes() == b"x" * 100


async def test_a_damaged_blob_in_a_store_on_this_machine_is_not_used(tmp_path: Path, remote: Remote) -> None:
    store = await open_objects(tmp_path / "home")
    ref = (await store.put_many([[b"x" * 100_000]]))[0]
    own(tmp_path / "home", 3)
    cache = Cache(tmp_path / "cache")
    await cache.connect(remote, store.url, 3)
    place = store.path(ref.digest)
    assert place is not None
    assert await cache.fetch(OrderInput(ref), tmp_path / "input") == place
    damage(place)
    with pytest.raises(NotFound):  # the orchestrator is asked for it
        await cache.fetch(OrderInput(ref), tmp_path / "again")
    assert remote.gets == 1
    await store.close()


async def test_a_file_is_read_for_its_digest_once(
    tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = remote.add(b"x" * 100)
    await (await cache_of(tmp_path, remote)).fetch(wanted, tmp_path / "first")
    again = await cache_of(tmp_path, remote)
    await again.fetch(wanted, tmp_path / "second")
    monkeypatch.setattr("worker.cache._digest", lambda path: pytest.fail("read again"))
    await again.fetch(wanted, tmp_path / "third")


async def test_a_full_disk_gets_its_room_from_the_cache(
    tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await cache_of(tmp_path, remote)
    wanted = [remote.add(letter * 100) for letter in (b"a", b"b", b"c")]
    for number, one in enumerate(wanted):
        await cache.fetch(one, tmp_path / str(number))
    kept = lambda: sorted(path.name for path in (tmp_path / "cache").glob("??/*"))  # noqa: E731
    monkeypatch.setattr("worker.disk.missing", lambda folder, wanted=0: max(0, len(kept()) * 100 + wanted - 200))
    cache.make_room()
    assert kept() == sorted(one.ref.digest for one in wanted[1:])
    await cache.fetch(wanted[0], tmp_path / "again")
    assert kept() == sorted(one.ref.digest for one in (wanted[0], wanted[2]))


async def test_a_cached_file_that_vanishes_is_fetched_again(
    tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, wanted = await cache_of(tmp_path, remote), remote.add(b"x" * 100)
    link, gone = os.link, iter([True, False])

    def vanishing(source: Path, place: Path) -> None:
        if next(gone):
            source.unlink()
        link(source, place)

    monkeypatch.setattr("worker.cache.os.link", vanishing)
    assert (await cache.fetch(wanted, tmp_path / "input")).read_bytes() == b"x" * 100
    assert remote.gets == 2


def test_drafts_of_workers_that_are_gone_are_swept(tmp_path: Path) -> None:
    for pid in (os.getpid(), 2**22 + 1):
        (tmp_path / f"draft-{pid}-abc").touch()
    Cache(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"draft-{os.getpid()}-abc"]


async def test_an_attempts_inputs_are_fetched_side_by_side(tmp_path: Path, remote: Remote) -> None:
    cache = await cache_of(tmp_path, remote)
    wanted = [remote.add(bytes([number]) * 100) for number in range(AT_ONCE + 2)]
    remote.gate.clear()
    fetching = asyncio.create_task(cache.fetch_all(wanted, tmp_path))
    for _ in range(20):
        await asyncio.sleep(0)
    assert remote.gets == AT_ONCE
    remote.gate.set()
    paths = await fetching
    assert [path.read_bytes() for path in paths] == [remote.blobs[each.ref.digest] for each in wanted]
    assert [path.name for path in paths] == [f"input-{number}" for number in range(len(wanted))]


async def test_an_input_that_is_lost_ends_the_fetch_of_all(tmp_path: Path, remote: Remote) -> None:
    cache, there = await cache_of(tmp_path, remote), remote.add(b"x" * 100)
    with pytest.raises(NotFound):
        await cache.fetch_all([there, OrderInput(ref_of(b"y" * 100))], tmp_path)


async def test_what_comes_at_once_has_room_for_all_of_it(
    tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await cache_of(tmp_path, remote)
    asked: list[int] = []
    monkeypatch.setattr(cache, "make_room", lambda wanted=0: asked.append(wanted))
    await cache.fetch_all([remote.add(letter * 100) for letter in (b"a", b"b", b"c")], tmp_path)
    assert max(asked) == 300
    asked.clear()
    await cache.fetch(remote.add(b"d" * 100), tmp_path / "alone")
    assert max(asked) == 100


async def test_what_was_put_here_is_not_read_again(
    tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_objects(tmp_path / "home")
    own(tmp_path / "home", 3)
    cache = Cache(tmp_path / "cache")
    await cache.connect(remote, store.url, 3)
    (tmp_path / "output").write_bytes(b"y" * 100_000)
    blob = await cache.put(tmp_path / "output", ref_of(b"y" * 100_000))
    with monkeypatch.context() as patched:
        patched.setattr("worker.cache._digest", lambda path: pytest.fail("read again"))
        place = await cache.fetch(OrderInput(blob.ref), tmp_path / "input")
    damage(place)
    with pytest.raises(NotFound):  # it is not what was put there
        await cache.fetch(OrderInput(blob.ref), tmp_path / "again")
    await store.close()
