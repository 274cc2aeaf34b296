"""A directory keeps the contract of objects, and what a directory alone promises."""

import asyncio
import errno
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tensorfleet.errors import CorruptArtifact, NotFound, Unavailable
from tensorfleet.stores.blobs import CHUNK
from tensorfleet.stores.contract import Leftovers, ObjectStore
from tensorfleet.stores.directory import DirectoryObjects
from tensorfleet.stores.directory_files import FORGOTTEN_SECONDS
from tensorfleet.stores.threads import in_thread
from tensorfleet.testing.objects import *  # noqa: F403
from tensorfleet.testing.objects_steps import Overwrite, fetch, put, refs, stream


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "a home, 100% mine" / "objects"


@pytest.fixture
def objects_url(root: Path) -> str:
    return DirectoryObjects(root).url


@pytest.fixture
def store(objects: ObjectStore) -> DirectoryObjects:
    return cast(DirectoryObjects, objects)


@pytest.fixture
def overwrite(root: Path) -> Overwrite:
    async def write(digest: str, data: bytes) -> None:
        path = root / "cas" / "sha256" / digest[:2] / digest
        path.chmod(0o644)
        path.write_bytes(data)

    return write


def place(store: DirectoryObjects, digest: str) -> Path:
    path = store.path(digest)
    assert path is not None
    return path


def unfinished(root: Path) -> list[Path]:
    return list((root / "tmp").iterdir())


async def test_a_blob_is_a_read_only_file_under_its_digest(store: DirectoryObjects, root: Path) -> None:
    one = await put(store, b"bytes")
    [two] = await store.put_many([[b"more bytes"]])
    for digest in (one, two.digest):
        assert place(store, digest) == root / "cas" / "sha256" / digest[:2] / digest
        assert place(store, digest).stat().st_mode & 0o777 == 0o444
    assert unfinished(root) == []


async def test_a_put_of_what_is_there_renews_its_age_and_writes_nothing(store: DirectoryObjects, root: Path) -> None:
    digest = await put(store, b"bytes")
    path = place(store, digest)
    for again in (store.put(stream([b"bytes"])), store.put_many([[b"bytes"]])):
        os.utime(path, (1000, 1000))
        before = path.stat()
        [(_, age)] = [found async for found in store.blobs()]
        assert age > 1e9
        await again
        assert path.stat().st_ino == before.st_ino
        [(_, age)] = [found async for found in store.blobs()]
        assert age < 3600
    assert unfinished(root) == []


async def test_a_mapped_blob_outlives_its_deletion(store: DirectoryObjects) -> None:
    digest = await put(store, b"bytes")
    with place(store, digest).open("rb") as mapped:
        await store.delete(digest)
        assert mapped.read() == b"bytes"


@pytest.mark.parametrize("at_hand", [0, 1, 2, 3])
async def test_a_blob_is_read_whole_however_much_of_it_is_in_memory(
    store: DirectoryObjects, monkeypatch: pytest.MonkeyPatch, at_hand: int
) -> None:
    data = os.urandom(2 * CHUNK + 5)
    digest = await put(store, data)
    reads = iter(range(at_hand))
    preadv = os.preadv

    def some(*given: Any) -> int:
        if next(reads, None) is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return preadv(*given)

    monkeypatch.setattr(os, "preadv", some)
    assert b"".join([chunk async for chunk in store.get(digest, check=False)]) == data


async def test_a_blob_that_ends_too_soon_is_damaged_though_it_is_not_checked(store: DirectoryObjects) -> None:
    digest = await put(store, os.urandom(2 * CHUNK))
    reading = store.get(digest, check=False)
    await anext(reading)
    path = place(store, digest)
    path.chmod(0o644)
    os.truncate(path, CHUNK)
    with pytest.raises(CorruptArtifact):
        await anext(reading)


async def test_nothing_of_a_failed_put_is_left(store: DirectoryObjects, root: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(2_000_000)
        assert len(unfinished(root)) == 1
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.put(broken())
    with pytest.raises(TypeError):
        await store.put_many([[b"good"], [cast(bytes, "no bytes")]])
    assert unfinished(root) == []
    assert await refs(store) == set()


async def test_bytes_are_synced_before_they_are_moved(
    store: DirectoryObjects, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before it is under its digest; the directory after."""
    synced: list[tuple[str, int]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.relative_to(root).parts[0], len(list((root / "cas").rglob("*/*/*")))))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    await put(store, b"bytes")
    assert synced == [("tmp", 0), ("cas", 1)]


async def test_a_full_disk_is_unavailable_and_leaves_nothing(
    store: DirectoryObjects, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Unavailable, match="No space left") as caught:
            await put(store, b"bytes")
        assert str(root) in caught.value.message
        with pytest.raises(Unavailable, match="No space left"):
            await store.put_many([[b"one"], [b"two"]])
    assert unfinished(root) == []
    assert await refs(store) == set()
    assert await fetch(store, await put(store, b"bytes")) == b"bytes"


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


async def test_a_killed_put_leaves_no_blob_and_is_cleared_in_time(store: DirectoryObjects, root: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PUT_WITHOUT_END, store.url, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"written\n"
    child.kill()
    await child.wait()
    assert await refs(store) == set()
    [left] = unfinished(root)
    found = Leftovers(1, left.stat().st_size)
    assert await store.unfinished(remove=False) == found
    assert await store.unfinished(remove=True) == found
    assert unfinished(root) == []


async def test_a_store_is_opened_beside_puts_that_go_on(store: DirectoryObjects, root: Path) -> None:
    (root / "tmp" / "left").write_bytes(b"by a put that died")

    async def chunks() -> AsyncIterator[bytes]:
        yield bytes(2_000_000)
        other = DirectoryObjects(root)
        await other.open()
        await other.close()
        yield b"more"

    ref = await store.put(chunks())
    assert ref.size == 2_000_004
    assert unfinished(root) == []


async def test_links_on_their_way_are_no_garbage_until_they_are_old(store: DirectoryObjects, root: Path) -> None:
    digest = await put(store, b"bytes")
    draft = root / "tmp" / "name-1"
    draft.symlink_to(place(store, digest))
    assert await store.unfinished(remove=True) == Leftovers(0, 0)
    old = time.time() - FORGOTTEN_SECONDS - 60
    os.utime(draft, (old, old), follow_symlinks=False)
    assert (await store.unfinished(remove=True)).count == 1
    assert unfinished(root) == []
    assert await fetch(store, digest) == b"bytes"


async def test_a_blob_whose_age_was_renewed_is_not_deleted(store: DirectoryObjects) -> None:
    digest = await put(store, b"bytes")
    os.utime(place(store, digest), (1000, 1000))
    [(_, age)] = [found async for found in store.blobs()]
    assert age > 1e9
    await put(store, b"bytes")
    assert not await store.delete(digest, idle=60.0)
    os.utime(place(store, digest), (1000, 1000))
    assert await store.delete(digest, idle=60.0)
    assert await store.size(digest) is None


async def test_a_digest_leads_nowhere_else(store: DirectoryObjects, root: Path) -> None:
    secret = root.parent / "secret"
    secret.write_bytes(b"mine")
    digest = "../../secret"  # which is there, seen from the second level of the blobs
    assert (root / "cas" / "sha256" / digest[:2] / digest).exists()
    with pytest.raises(NotFound):
        await fetch(store, digest)
    assert store.path(digest) is None
    assert await store.size(digest) is None
    await store.delete(digest)
    assert secret.read_bytes() == b"mine"


async def test_arrays_without_elements_have_no_bytes(store: DirectoryObjects) -> None:
    data = b"rows"
    [ref] = await store.put_many([[np.empty((0, 3)).data, data]])
    assert ref.size == len(data)


async def test_cancelled_disk_work_is_waited_for() -> None:
    begun, release, finished = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait()
        finished.set()

    working = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait)
    try:
        for _ in range(3):  # however often it is asked to stop
            working.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert not working.done()
    finally:
        release.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert finished.is_set()


async def test_strangers_among_the_blobs_are_not_blobs(store: DirectoryObjects, root: Path) -> None:
    digest = await put(store, b"bytes")
    (root / "cas" / "sha256" / ".DS_Store").write_text("")
    (place(store, digest).parent / "notes.txt").write_text("")
    assert {ref.digest for ref in await refs(store)} == {digest}


async def test_a_name_is_a_relative_link(store: DirectoryObjects, root: Path, tmp_path: Path) -> None:
    first, second = await put(store, b"first"), await put(store, b"second")
    await store.name("models/iris/v1/manifest", first)
    assert (root / "models/iris/v1/manifest").read_bytes() == b"first"
    await store.name("models/iris/v1/manifest", second)
    moved = root.rename(tmp_path / "moved")
    assert (moved / "models/iris/v1/manifest").read_bytes() == b"second"


async def test_a_name_that_is_taken_away_leaves_no_empty_directories(store: DirectoryObjects, root: Path) -> None:
    digest = await put(store, b"bytes")
    for name in ("models/iris/v1/manifest", "models/iris/v2/manifest"):
        await store.name(name, digest)
    await store.name("models/iris/v1/manifest", None)
    assert [path.name for path in (root / "models/iris").iterdir()] == ["v2"]
    await store.name("models/iris/v2/manifest", None)
    assert not (root / "models").exists()
    assert root.exists()


async def test_names_may_come_and_go_at_once(store: DirectoryObjects, root: Path) -> None:
    digest = await put(store, b"bytes")
    changes = [
        store.name(f"models/iris/v{number % 3}/manifest", target) for number in range(20) for target in (digest, None)
    ]
    await asyncio.gather(*changes)
    assert (root / "tmp").is_dir()


async def test_a_place_that_cannot_be_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="file/objects"):
        await DirectoryObjects(tmp_path / "file" / "objects").open()
