"""Artifacts on this machine, by digest: inputs are fetched once, outputs are put where the orchestrator finds them.

The rule: what has come over the network is verified before anything reads it, and no file under a digest is ever
changed. Where the orchestrator's store is a directory of this machine, blobs are mapped from it and never copied.
"""

import asyncio
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tensorfleet.errors import CorruptArtifact, Unavailable
from tensorfleet.logs import Logger
from tensorfleet.model import Ref
from tensorfleet.rpc.pauses import pauses
from tensorfleet.stores import open_objects
from tensorfleet.stores.contract import ObjectStore
from worker import disk
from worker.messages import Blob, OrderInput
from worker.transfers import Remote, Transfers

log = Logger(__name__)

INLINE = 64 * 1024
"""Bytes of an output that still rides along with its attempt's end."""
CAPACITY = 10 * (1 << 30)
AT_ONCE = 4
"""Blobs that are fetched at once: while one is checked and written, others come."""
TRIES = 3
"""Fetches of a blob whose bytes come wrong."""
LONGEST_PAUSE = 2.0
"""Seconds between two tries of what is away, at most."""
REMEMBERED = 100_000
"""Files that are known to be whole, at most: one that is not remembered is read once more."""
WORTH_TELLING = 1 << 20
"""Bytes of a blob from which on it is worth placing work where it already is."""


class Cache:
    """A worker's artifacts. `connect` tells it where blobs are; until then nothing can be fetched."""

    def __init__(self, directory: Path, capacity: int = CAPACITY) -> None:
        self._directory = directory
        self._capacity = capacity
        self._transfers: Transfers | None = None
        self._store: ObjectStore | None = None
        self._store_url, self._term = "", 0
        self._connected = asyncio.Event()
        self._fetching: dict[str, asyncio.Task[Path]] = {}
        self._lanes = asyncio.Semaphore(AT_ONCE)
        self._coming = 0
        """Bytes of the blobs that are fetched now."""
        self._verified: dict[Path, _Looks] = {}
        self._drafts = itertools.count()
        self._sizes: dict[str, int] = {}  # least recently used first
        self._news: list[str] = []
        self._index()

    async def connect(self, remote: Remote, store_url: str, term: int) -> None:
        """Where blobs are from now on. store_url: the orchestrator's own, which may be on this machine."""
        if self._store is not None:
            await self._store.close()
            self._store = None
        self._transfers, self._store_url, self._term = Transfers(remote), store_url, term
        self._connected.set()

    def disconnect(self) -> None:
        self._connected.clear()

    def digests(self) -> list[str]:
        """What is here and worth telling."""
        return [digest for digest, size in self._sizes.items() if size >= WORTH_TELLING]

    def news(self) -> list[str]:
        """What has come since this was last asked and is worth telling."""
        news, self._news = self._news, []
        return news

    async def fetch(self, wanted: OrderInput, place: Path) -> Path:
        """An input on local disk. NotFound, or CorruptArtifact where its bytes keep coming wrong.

        place: a path of the attempt's own, at which the input stays until the attempt lets go of it.
        """
        ref = wanted.ref
        if wanted.inline or ref.size == 0:
            place.write_bytes(wanted.inline)
            return place
        if (path := await self._in_store(ref)) is not None:
            return path
        while True:
            cached = await self._cached(ref)
            try:
                os.link(cached, place)  # so that nobody's eviction takes it away before the slot opens it
            except FileNotFoundError:
                continue  # somebody's did
            except OSError:
                return cached
            return place

    async def fetch_all(self, wanted: Sequence[OrderInput], place: Path) -> list[Path]:
        """An attempt's inputs, fetched side by side; they stay in its folder `place`. Errors as `fetch` has them."""
        places = [place / f"input-{number}" for number in range(len(wanted))]
        if len(wanted) == 1:
            return [await self.fetch(wanted[0], places[0])]
        fetches = [asyncio.ensure_future(self.fetch(*each)) for each in zip(wanted, places, strict=True)]
        try:
            return await asyncio.gather(*fetches)
        finally:
            for fetch in fetches:  # where one has failed
                fetch.cancel()

    async def put(self, path: Path, ref: Ref) -> Blob:
        """An output, put where it belongs, or taken along where it is small."""
        if ref.size <= INLINE:
            return Blob(ref, path.read_bytes())
        pause = pauses(LONGEST_PAUSE)
        while True:
            await self._connected.wait()
            assert self._transfers is not None
            try:
                if (store := await self._local()) is not None:
                    await store.put_file(path, ref)
                    if (kept := store.path(ref.digest)) is not None:
                        self._remember(kept, _looks(kept))  # the slot hashed it as it wrote it
                else:
                    await self._transfers.upload(path, ref)
                break
            except Unavailable as error:
                log.warning("an output could not be stored yet", digest=ref.digest, error=str(error))
                await asyncio.sleep(next(pause))
        if self._store is None:
            self._keep(path, ref)
        return Blob(ref)

    async def _local(self) -> ObjectStore | None:
        """The orchestrator's store, where it is on this machine."""
        if self._store is None and store_is_here(self._store_url, self._term):
            store = await open_objects(self._store_url)
            if self._store is None:  # nobody else was quicker
                self._store = store
        return self._store

    async def _in_store(self, ref: Ref) -> Path | None:
        store = await self._local()
        path = store.path(ref.digest) if store is not None else None
        return path if path is not None and await self._is_whole(path, ref) else None

    async def _cached(self, ref: Ref) -> Path:
        if ref.digest not in self._fetching:
            task = asyncio.create_task(self._brought(ref))
            self._fetching[ref.digest] = task
            task.add_done_callback(partial(self._came, ref.digest))
        return await asyncio.shield(self._fetching[ref.digest])

    def _came(self, digest: str, task: asyncio.Task[Path]) -> None:
        self._fetching.pop(digest, None)
        if not task.cancelled():
            task.exception()  # seen: whoever waited for it may have gone, and asyncio need not complain of it

    async def _brought(self, ref: Ref) -> Path:
        path = self._place(ref.digest)
        if await self._is_whole(path, ref):
            self._used(ref)
            return path
        return await self._download(ref)

    async def _is_whole(self, path: Path, ref: Ref) -> bool:
        """Whether a file has the bytes of its digest: read once, and again where it is not the file that it was."""
        looks = _looks(path)
        if looks is None or looks.size != ref.size:
            return False
        if self._verified.get(path) != looks:
            if await asyncio.to_thread(_digest, path) != ref.digest:
                log.warning("a file is damaged; its bytes have another digest", path=str(path))
                return False
            self._remember(path, looks)
        return True

    async def _download(self, ref: Ref) -> Path:
        pause, wrong = pauses(LONGEST_PAUSE), 0
        while True:
            await self._connected.wait()
            try:
                async with self._lanes:
                    return await self._download_once(ref, doubted=wrong > 0)
            except Unavailable as error:
                log.warning("an input could not be fetched yet", digest=ref.digest, error=str(error))
            except CorruptArtifact:
                wrong += 1
                if wrong >= TRIES:
                    raise
            await asyncio.sleep(next(pause))

    async def _download_once(self, ref: Ref, doubted: bool) -> Path:
        assert self._transfers is not None
        draft = self._directory / f"draft-{os.getpid()}-{next(self._drafts)}-{ref.digest}"
        try:
            self._coming += ref.size
            try:
                self.make_room(self._coming)
                await self._transfers.download(ref, draft, doubted)
            finally:
                self._coming -= ref.size
            return self._settle(draft, ref)
        finally:
            draft.unlink(missing_ok=True)

    def _keep(self, path: Path, ref: Ref) -> None:
        """An output may be the next task's input here."""
        try:
            self._settle(path, ref)
        except OSError:
            log.debug("an output is not kept", digest=ref.digest)

    def _settle(self, draft: Path, ref: Ref) -> Path:
        path = self._place(ref.digest)
        path.parent.mkdir(exist_ok=True)
        self.make_room()
        draft.replace(path)
        self._used(ref)
        if ref.size >= WORTH_TELLING:
            self._news.append(ref.digest)
        return path

    def _used(self, ref: Ref) -> None:
        self._sizes.pop(ref.digest, None)
        self._sizes[ref.digest] = ref.size
        path = self._place(ref.digest)
        with suppress(OSError):
            os.utime(path)  # tells the next life of this worker, and others that share the cache
        self._remember(path, _looks(path))

    def _remember(self, path: Path, looks: "_Looks | None") -> None:
        """A file is known to be whole as long as it looks so."""
        if looks is not None:
            self._verified[path] = looks
            if len(self._verified) > REMEMBERED:
                del self._verified[next(iter(self._verified))]

    def make_room(self, wanted: int = 0) -> None:
        """Lets go of what was used longest ago, until `wanted` bytes more are within bounds and the disk has room."""
        total = sum(self._sizes.values()) + wanted
        while self._sizes and (total > self._capacity or disk.missing(self._directory, wanted)):
            digest = next(iter(self._sizes))
            total -= self._sizes.pop(digest)
            self._verified.pop(self._place(digest), None)
            self._place(digest).unlink(missing_ok=True)

    def _place(self, digest: str) -> Path:
        return self._directory / digest[:2] / digest

    def _index(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        for path in self._directory.glob("draft-*"):
            if not Path(f"/proc/{path.name.split('-')[1]}").exists():
                path.unlink(missing_ok=True)
        found = []
        for path in self._directory.glob("??/*"):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((status.st_mtime, path.name, status.st_size))
        self._sizes = {name: size for _, name, size in sorted(found)}


def store_is_here(url: str, term: int) -> bool:
    """Whether the orchestrator's store is a directory of this machine.

    A directory of the same name may be another fleet's. So the orchestrator's own file beside it must tell the term
    that the welcome told, and its process must be alive here.
    """
    parts = urlsplit(url)
    root = Path(unquote(parts.path))
    if parts.scheme != "file" or parts.netloc or not (root / "cas" / "sha256").is_dir():
        return False
    try:
        owner = json.loads((root.parent / "orchestrator.json").read_text())
        return bool(owner["term"] == term and Path(f"/proc/{int(owner['pid'])}").exists())
    except (OSError, ValueError, KeyError, TypeError):
        return False


class _Looks(NamedTuple):
    """By what a file is known to be the one that was verified."""

    inode: int
    size: int
    changed: int


def _looks(path: Path) -> _Looks | None:
    """None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _Looks(status.st_ino, status.st_size, status.st_mtime_ns)


def _digest(path: Path) -> str | None:
    """None where the file has gone, or cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def sweep(scratch: Path) -> None:
    """Removes what earlier workers left in a folder of scratch folders, each named by the id of its process."""
    if not scratch.is_dir():
        return
    for path in scratch.iterdir():
        if not Path(f"/proc/{path.name}").exists():
            shutil.rmtree(path, ignore_errors=True)
