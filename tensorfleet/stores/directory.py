"""Objects as files in a directory: `cas/sha256/ab/<digest>`, and names as relative links to them.

The rule: a file under its digest is whole. Bytes are written and synced elsewhere in the directory, moved to their
place in one step, and the move is synced before `put` returns; then nothing changes them but `delete`. A file on its
way in is locked by whoever writes it, so that one without a lock is known to be nobody's.
"""

import errno
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import BinaryIO, TypeVar
from urllib.parse import quote, unquote, urlsplit

from tensorfleet.errors import AlreadyExists, CorruptArtifact
from tensorfleet.model import Ref
from tensorfleet.stores.blobs import (
    check_digest,
    check_file,
    check_offset,
    checked,
    exactly,
    no_blob,
    pieces,
)
from tensorfleet.stores.contract import Grant, Leftovers
from tensorfleet.stores.directory_files import (
    Given,
    Incoming,
    age_since,
    disk,
    intact,
    left_behind,
    listed,
    read_at_once,
    read_chunk,
    renewed,
    sync_path,
)
from tensorfleet.stores.names import is_digest, name_parts
from tensorfleet.stores.threads import ahead, behind, in_thread

OPEN_AT_ONCE = 128
"""Files that one `put_many` holds open, at most."""

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
        incoming = await in_thread(Incoming, self._unfinished)
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
            checking = check and not offset
            while left > 0 and not checking and (chunk := read_at_once(file)):
                left -= len(chunk)
                yield chunk
            read = checked(partial(read_chunk, file), left, digest if checking else None, damaged, damaged)
            async with aclosing(ahead(read)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def size(self, digest: str) -> int | None:
        return await in_thread(self._size, digest)

    async def delete(self, digest: str, idle: float = 0.0) -> bool:
        return await in_thread(self._delete, digest, idle)

    async def blobs(self) -> AsyncIterator[tuple[Ref, float]]:
        for directory in await in_thread(self._directories):
            for found in await in_thread(listed, directory):
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
        with disk(self.root):
            for directory in (self._blobs, self._unfinished):
                directory.mkdir(parents=True, exist_ok=True)
            if len(list(self._blobs.iterdir())) < 256:
                for number in range(256):
                    (self._blobs / f"{number:02x}").mkdir(exist_ok=True)
            for directory in (self._blobs, self._blobs.parent, self.root, self.root.parent):
                sync_path(directory)
        self._clear(remove=True)

    def _clear(self, *, remove: bool) -> Leftovers:
        count = size = 0
        with disk(self._unfinished):
            for path in self._unfinished.iterdir():
                left = left_behind(path)
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
                incoming.append(Incoming(self._unfinished))
                stack.callback(incoming[-1].discard)
                for buffer in buffers:
                    incoming[-1].write(buffer)
            return self._settle(incoming)

    def _finish(self, incoming: "Incoming", digest: str | None) -> Ref:
        ref = incoming.ref()
        check_digest(ref, digest)
        return self._settle([incoming])[0]

    def _take(self, path: Path, ref: Ref) -> None:
        check_file(path, ref)
        if path.stat().st_dev != self._unfinished.stat().st_dev:
            raise OSError(errno.EXDEV, "on another filesystem")
        self._settle([Given(path, ref)])

    def _settle(self, incoming: Sequence["Incoming | Given"]) -> list[Ref]:
        """Makes bytes durable and puts them into their places; syncs that go on at once share their cost."""
        refs = [item.ref() for item in incoming]
        items = {
            self._blobs / ref.digest[:2] / ref.digest: (item, ref) for item, ref in zip(incoming, refs, strict=True)
        }
        with disk(self.root):
            new = {place: item for place, (item, ref) in items.items() if not intact(place, ref)}
            self._at_once(lambda item: item.sync(), list(new.values()))
            with self._locked(fcntl.LOCK_SH):
                for place, (item, _) in items.items():
                    if place in new or not renewed(place):
                        item.move(place)
            gone = [item for place, (item, _) in items.items() if place not in new and item.moved]
            self._at_once(lambda item: item.sync(), gone)  # deleted since it was found intact
            # Also where a blob was there already: who brought it may not have come to this yet.
            self._at_once(sync_path, list({place.parent for place in items}))
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
        with disk(place):
            try:
                file = place.open("rb", buffering=0)
            except FileNotFoundError:
                raise no_blob(digest) from None
            file.seek(offset)
            return file, max(os.fstat(file.fileno()).st_size - offset, 0)

    def _size(self, digest: str) -> int | None:
        place = self._place(digest)
        with disk(self.root):
            try:
                return place.stat().st_size if place is not None else None
            except FileNotFoundError:
                return None

    def _delete(self, digest: str, idle: float) -> bool:
        place = self._place(digest)
        if place is None:
            return True
        with disk(place), self._locked(fcntl.LOCK_EX):
            if idle > 0 and place.exists() and age_since(place.stat().st_mtime, time.time()) < idle:
                return False
            place.unlink(missing_ok=True)
            return True

    def _directories(self) -> list[Path]:
        with disk(self._blobs):
            return sorted(path for path in self._blobs.iterdir() if path.is_dir())

    def _link(self, name: str, link: Path, digest: str) -> None:
        place = self._place(digest)
        if place is None or not place.exists():
            raise no_blob(digest)
        draft = self._unfinished / f"name-{os.urandom(8).hex()}"
        with disk(link), self._naming:
            draft.symlink_to(os.path.relpath(place, link.parent))
            try:
                link.parent.mkdir(parents=True, exist_ok=True)
                draft.replace(link)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise AlreadyExists(f"{name} is taken: one name cannot be the beginning of another.") from None
            finally:
                draft.unlink(missing_ok=True)
            for directory in self._above(link):
                sync_path(directory)

    def _unname(self, link: Path) -> None:
        with disk(link), self._naming:
            if link.is_symlink():
                link.unlink(missing_ok=True)
            with suppress(OSError):  # until one that holds other names
                for directory in self._above(link):
                    directory.rmdir()

    def _above(self, link: Path) -> list[Path]:
        """The directories of a name, innermost first."""
        return [directory for directory in link.parents if self.root in directory.parents]
