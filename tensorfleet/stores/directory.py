"""Objects as files in a directory: `cas/sha256/ab/<digest>`, and names as relative links to them.

The rule: a file under its digest is whole. Bytes are written and synced elsewhere in the directory, moved to their
place in one step, and the move is synced before `put` returns; then nothing changes them but `delete`. A file on its
way in is locked by whoever writes it, so that one without a lock is known to be nobody's.
"""

import errno
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import BinaryIO, TypeVar
from urllib.parse import quote, unquote, urlsplit

from tensorfleet.errors import AlreadyExists, CorruptArtifact, Unavailable
from tensorfleet.model import Ref
from tensorfleet.stores.blobs import (
    CHUNK,
    check_digest,
    check_file,
    check_offset,
    checked,
    exactly,
    no_blob,
    pieces,
)
from tensorfleet.stores.contract import Grant, Leftovers
from tensorfleet.stores.names import is_digest, name_parts
from tensorfleet.stores.threads import ahead, behind, in_thread

OPEN_AT_ONCE = 128
"""Files that one `put_many` holds open, at most."""
FORGOTTEN_SECONDS = 24 * 3600.0
"""A temporary file this old belongs to a put that died, also where the filesystem has no locks to tell."""
TICK_SECONDS = 0.01
"""By how much a file's time may be behind the clock."""

_T = TypeVar("_T")


def from_url(url: str) -> "DirectoryObjects":
    """The store of a URL such as `file:///var/lib/fleet/objects`."""
    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment or len(parts.path) < 2:
        raise ValueError(f"{url} names no directory; write file:// and then its absolute path, quoted as in any URL")
    return DirectoryObjects(Path(unquote(parts.path)))


class DirectoryObjects:
    """An `ObjectStore` in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = f"file://{quote(str(self.root))}"
        self._blobs = self.root / "cas" / "sha256"
        self._unfinished = self.root / "tmp"
        self._naming = Lock()
        self._syncing: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        await in_thread(self._prepare)
        await self.close()
        self._syncing = ThreadPoolExecutor(8, thread_name_prefix="objects-sync")

    async def close(self) -> None:
        if self._syncing is not None:
            self._syncing.shutdown(wait=False)
        self._syncing = None

    async def put(self, chunks: AsyncIterator[bytes], digest: str | None = None) -> Ref:
        incoming = await in_thread(_Incoming, self._unfinished)
        try:
            await behind(exactly(chunks), incoming.write)
            return await in_thread(self._finish, incoming, digest)
        finally:
            await in_thread(incoming.discard)

    async def put_file(self, path: Path, ref: Ref) -> None:
        """As the contract says. A file of the same filesystem is moved here: it is neither read nor copied."""
        try:
            await in_thread(self._take, path, ref)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            await self.put(pieces(path), ref.digest)

    async def put_many(self, blobs: Sequence[Sequence[bytes | memoryview]]) -> list[Ref]:
        refs = []
        for start in range(0, len(blobs), OPEN_AT_ONCE):
            refs += await in_thread(self._put_many, blobs[start : start + OPEN_AT_ONCE])
        return refs

    async def get(self, digest: str, offset: int = 0, *, check: bool = True) -> AsyncIterator[bytes]:
        """As the contract says. The last chunk is held back until the digest is known to be right."""
        check_offset(offset)
        file, left = await in_thread(self._open_blob, digest, offset)

        def damaged() -> CorruptArtifact:
            return CorruptArtifact(f"The blob in {file.name} is damaged: its bytes have another digest.")

        with file:
            read = checked(partial(_read, file), left, digest if check and not offset else None, damaged, damaged)
            async with aclosing(ahead(read)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def size(self, digest: str) -> int | None:
        return await in_thread(self._size, digest)

    async def delete(self, digest: str, idle: float = 0.0) -> bool:
        return await in_thread(self._delete, digest, idle)

    async def blobs(self) -> AsyncIterator[tuple[Ref, float]]:
        for directory in await in_thread(self._directories):
            for found in await in_thread(_listed, directory):
                yield found

    async def unfinished(self, *, remove: bool) -> Leftovers:
        return await in_thread(self._clear, remove=remove)

    def path(self, digest: str) -> Path | None:
        """Where a blob is; None where there is none."""
        path = self._place(digest)
        return path if path is not None and path.exists() else None

    async def grant_get(self, digest: str) -> Grant | None:
        return None

    async def grant_put(self, ref: Ref) -> Grant | None:
        return None

    async def name(self, name: str, digest: str | None) -> None:
        link = self.root.joinpath(*name_parts(name))
        if digest is None:
            await in_thread(self._unname, link)
        else:
            await in_thread(self._link, name, link, digest)

    def _prepare(self) -> None:
        with _disk(self.root):
            for directory in (self._blobs, self._unfinished):
                directory.mkdir(parents=True, exist_ok=True)
            if len(list(self._blobs.iterdir())) < 256:
                for number in range(256):
                    (self._blobs / f"{number:02x}").mkdir(exist_ok=True)
            for directory in (self._blobs, self._blobs.parent, self.root, self.root.parent):
                _sync(directory)
        self._clear(remove=True)

    def _clear(self, *, remove: bool) -> Leftovers:
        count = size = 0
        with _disk(self._unfinished):
            for path in self._unfinished.iterdir():
                left = _left_behind(path)
                if left is not None:
                    count, size = count + 1, size + left
                    if remove:
                        path.unlink(missing_ok=True)
        return Leftovers(count, size)

    def _place(self, digest: str) -> Path | None:
        return self._blobs / digest[:2] / digest if is_digest(digest) else None

    def _put_many(self, blobs: Sequence[Sequence[bytes | memoryview]]) -> list[Ref]:
        with ExitStack() as stack:
            incoming = []
            for buffers in blobs:
                incoming.append(_Incoming(self._unfinished))
                stack.callback(incoming[-1].discard)
                for buffer in buffers:
                    incoming[-1].write(buffer)
            return self._settle(incoming)

    def _finish(self, incoming: "_Incoming", digest: str | None) -> Ref:
        ref = incoming.ref()
        check_digest(ref, digest)
        return self._settle([incoming])[0]

    def _take(self, path: Path, ref: Ref) -> None:
        check_file(path, ref)
        if path.stat().st_dev != self._unfinished.stat().st_dev:
            raise OSError(errno.EXDEV, "on another filesystem")
        self._settle([_Given(path, ref)])

    def _settle(self, incoming: Sequence["_Incoming | _Given"]) -> list[Ref]:
        """Makes bytes durable and puts them into their places; syncs that go on at once share their cost."""
        refs = [item.ref() for item in incoming]
        items = {
            self._blobs / ref.digest[:2] / ref.digest: (item, ref) for item, ref in zip(incoming, refs, strict=True)
        }
        with _disk(self.root):
            new = {place: item for place, (item, ref) in items.items() if not _intact(place, ref)}
            self._at_once(lambda item: item.sync(), list(new.values()))
            with self._locked(fcntl.LOCK_SH):
                for place, (item, _) in items.items():
                    if place in new or not _renewed(place):
                        item.move(place)
            gone = [item for place, (item, _) in items.items() if place not in new and item.moved]
            self._at_once(lambda item: item.sync(), gone)  # deleted since it was found intact
            # Also where a blob was there already: who brought it may not have come to this yet.
            self._at_once(_sync, list({place.parent for place in items}))
        return refs

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Shared by those who move blobs in, alone for one who deletes: neither comes between what the other does."""
        descriptor = os.open(self._blobs, os.O_RDONLY)
        try:
            with suppress(OSError):  # a filesystem without locks has the race of a moment instead
                fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def _at_once(self, sync: Callable[[_T], None], things: Sequence[_T]) -> None:
        if len(things) == 1 or self._syncing is None:
            for thing in things:
                sync(thing)
        else:
            list(self._syncing.map(sync, things))

    def _open_blob(self, digest: str, offset: int) -> tuple[BinaryIO, int]:
        """The blob's file, at the offset, and how many bytes are left."""
        place = self._place(digest)
        if place is None:
            raise no_blob(digest)
        with _disk(place):
            try:
                file = place.open("rb", buffering=0)
            except FileNotFoundError:
                raise no_blob(digest) from None
            file.seek(offset)
            return file, max(os.fstat(file.fileno()).st_size - offset, 0)

    def _size(self, digest: str) -> int | None:
        place = self._place(digest)
        with _disk(self.root):
            try:
                return place.stat().st_size if place is not None else None
            except FileNotFoundError:
                return None

    def _delete(self, digest: str, idle: float) -> bool:
        place = self._place(digest)
        if place is None:
            return True
        with _disk(place), self._locked(fcntl.LOCK_EX):
            if idle > 0 and place.exists() and _age(place.stat().st_mtime, time.time()) < idle:
                return False
            place.unlink(missing_ok=True)
            return True

    def _directories(self) -> list[Path]:
        with _disk(self._blobs):
            return sorted(path for path in self._blobs.iterdir() if path.is_dir())

    def _link(self, name: str, link: Path, digest: str) -> None:
        place = self._place(digest)
        if place is None or not place.exists():
            raise no_blob(digest)
        draft = self._unfinished / f"name-{os.urandom(8).hex()}"
        with _disk(link), self._naming:
            draft.symlink_to(os.path.relpath(place, link.parent))
            try:
                link.parent.mkdir(parents=True, exist_ok=True)
                draft.replace(link)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise AlreadyExists(f"{name} is taken: one name cannot be the beginning of another.") from None
            finally:
                draft.unlink(missing_ok=True)
            for directory in self._above(link):
                _sync(directory)

    def _unname(self, link: Path) -> None:
        with _disk(link), self._naming:
            if link.is_symlink():
                link.unlink(missing_ok=True)
            with suppress(OSError):  # until one that holds other names
                for directory in self._above(link):
                    directory.rmdir()

    def _above(self, link: Path) -> list[Path]:
        """The directories of a name, innermost first."""
        return [directory for directory in link.parents if self.root in directory.parents]


class _Incoming:
    """Bytes on their way in: hashed while they are written."""

    def __init__(self, directory: Path) -> None:
        with _disk(directory):
            descriptor, self._path = _owned(directory)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self.moved = False
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        if not view.nbytes:
            return
        view = view.cast("B")
        self._hash.update(view)
        self._size += len(view)
        with _disk(self._path):
            while view:
                view = view[self._file.write(view) :]

    def ref(self) -> Ref:
        return Ref(self._hash.hexdigest(), self._size)

    def sync(self) -> None:
        os.fchmod(self._file.fileno(), 0o444)
        os.fsync(self._file.fileno())

    def move(self, place: Path) -> None:
        self._path.replace(place)
        self.moved = True

    def discard(self) -> None:
        self._file.close()
        if not self.moved:
            self._path.unlink(missing_ok=True)


class _Given:
    """A whole file that somebody wrote, and hashed meanwhile."""

    def __init__(self, path: Path, ref: Ref) -> None:
        self._path, self._ref = path, ref
        self.moved = False

    def ref(self) -> Ref:
        return self._ref

    def sync(self) -> None:
        self._path.chmod(0o444)
        _sync(self._path)

    def move(self, place: Path) -> None:
        self._path.replace(place)
        self._path, self.moved = place, True


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Disk full, no permission, a broken disk: said of the path, as Unavailable."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{path} cannot be used now: {error.strerror or error}.") from error


def _owned(directory: Path) -> tuple[int, Path]:
    """A new file that is locked as long as it is open."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=directory)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:  # else it was cleared away before it was locked
            return descriptor, Path(name)
        os.close(descriptor)


def _left_behind(path: Path) -> int | None:
    """Bytes of a file on its way in that nobody writes any more; None where somebody may."""
    try:
        status = path.lstat()
        if time.time() - status.st_mtime > FORGOTTEN_SECONDS:
            return status.st_size
        if not stat.S_ISREG(status.st_mode):
            return None
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return status.st_size if os.fstat(file.fileno()).st_nlink else None
    except OSError:
        return None  # locked, gone since, or no locks here


def _intact(place: Path, ref: Ref) -> bool:
    """Whether a blob is there already and whole; what is damaged is replaced."""
    try:
        with place.open("rb", buffering=0) as file:
            return (
                os.fstat(file.fileno()).st_size == ref.size
                and hashlib.file_digest(file, "sha256").hexdigest() == ref.digest
            )
    except FileNotFoundError:
        return False


def _renewed(place: Path) -> bool:
    """Renews a blob's age; False where there is none."""
    try:
        os.utime(place)
    except FileNotFoundError:
        return False
    return True


def _age(since: float, now: float) -> float:
    return max(now - since - TICK_SECONDS, 0.0)


def _read(file: BinaryIO) -> bytes:
    with _disk(Path(file.name)):
        return file.read(CHUNK)


def _listed(directory: Path) -> list[tuple[Ref, float]]:
    found, now = [], time.time()
    with _disk(directory), os.scandir(directory) as files:
        for file in files:
            try:
                status = file.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted since
            if is_digest(file.name):
                found.append((Ref(file.name, status.st_size), _age(status.st_mtime, now)))
    return found


def _sync(path: Path) -> None:
    """Of a file its bytes, of a directory its names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
