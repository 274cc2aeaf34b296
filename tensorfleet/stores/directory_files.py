"""Files of a directory store: bytes on their way in, whole files that are taken over, and reading what is there.

The rule: a file on its way in is locked by whoever writes it, so that one without a lock is known to be nobody's; and
what the disk refuses is said of the path, as Unavailable.
"""

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from tensorfleet.errors import Unavailable
from tensorfleet.model import Ref
from tensorfleet.stores.blobs import CHUNK
from tensorfleet.stores.names import is_digest

FORGOTTEN_SECONDS = 24 * 3600.0
"""A temporary file this old belongs to a put that died, also where the filesystem has no locks to tell."""
TICK_SECONDS = 0.01
"""By how much a file's time may be behind the clock."""


class Incoming:
    """Bytes on their way in: hashed while they are written."""

    def __init__(self, directory: Path) -> None:
        with disk(directory):
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
        with disk(self._path):
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


class Given:
    """A whole file that somebody wrote, and hashed meanwhile."""

    def __init__(self, path: Path, ref: Ref) -> None:
        self._path, self._ref = path, ref
        self.moved = False

    def ref(self) -> Ref:
        return self._ref

    def sync(self) -> None:
        self._path.chmod(0o444)
        sync_path(self._path)

    def move(self, place: Path) -> None:
        self._path.replace(place)
        self._path, self.moved = place, True


@contextmanager
def disk(path: Path) -> Iterator[None]:
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


def left_behind(path: Path) -> int | None:
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


def intact(place: Path, ref: Ref) -> bool:
    """Whether a blob is there already and whole; what is damaged is replaced."""
    try:
        with place.open("rb", buffering=0) as file:
            return (
                os.fstat(file.fileno()).st_size == ref.size
                and hashlib.file_digest(file, "sha256").hexdigest() == ref.digest
            )
    except FileNotFoundError:
        return False


def renewed(place: Path) -> bool:
    """Renews a blob's age; False where there is none."""
    try:
        os.utime(place)
    except FileNotFoundError:
        return False
    return True


def age_since(since: float, now: float) -> float:
    return max(now - since - TICK_SECONDS, 0.0)


def read_chunk(file: BinaryIO) -> bytes:
    with disk(Path(file.name)):
        return file.read(CHUNK)


def read_at_once(file: BinaryIO) -> bytes | None:
    """The next chunk, where reading it waits for no disk: a step that costs an event loop less than a thread's turn.

    None where it would wait, or where this system cannot tell.
    """
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    place, chunk = file.tell(), BytesIO(bytes(CHUNK))
    try:
        with chunk.getbuffer() as room:
            size = os.preadv(file.fileno(), [room], place, os.RWF_NOWAIT)
    except OSError:
        return None
    file.seek(place + size)
    whole = chunk.getvalue()  # not a copy
    return whole if size == CHUNK else whole[:size]


def listed(directory: Path) -> list[tuple[Ref, float]]:
    found, now = [], time.time()
    with disk(directory), os.scandir(directory) as files:
        for file in files:
            try:
                status = file.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted since
            if is_digest(file.name):
                found.append((Ref(file.name, status.st_size), age_since(status.st_mtime, now)))
    return found


def sync_path(path: Path) -> None:
    """Of a file its bytes, of a directory its names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
