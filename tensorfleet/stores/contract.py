"""What the orchestrator asks of a store of documents and of a store of objects.

One contract each, kept by every backend and shown by the suites in `tensorfleet/testing`. Errors are those of
`tensorfleet.errors`: Unavailable where the store cannot be reached, Deposed where the journal has moved on.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from tensorfleet.model import Ref

MAX_RECORDS = 8 * 1024 * 1024
"""Bytes of records in one journal entry, at most."""


class Entry(Struct, frozen=True):
    """One commit: the next number, the orchestrator's term, who wrote it, and the records as opaque bytes."""

    number: int
    term: int
    writer: str
    records: bytes


class Write(Struct, frozen=True):
    """One document of what people read and query, drawn from the journal.

    document: plain data, which is that of JSON and reals that are not finite; None deletes.
    """

    collection: str
    id: str
    document: dict[str, Any] | None


class Lease(Struct, frozen=True):
    """Who leads: the orchestrator that renews this, and where it serves.

    holder: names the orchestrator over restarts; empty where it let go of the lease. beat: one more each time it is
    taken or renewed. seconds: how long it holds from then on; times of other machines say nothing here, so whoever
    waits watches the beat with a clock of its own.
    """

    holder: str
    address: str
    beat: int
    seconds: float


class DocumentStore(Protocol):
    """The journal, and the documents drawn from it. Collections are those of `stores/collections.py`."""

    url: str

    async def open(self) -> None:
        """Connects and makes what is missing. A schema newer than this release knows is refused."""
        ...

    async def close(self) -> None: ...

    async def commit(self, entry: Entry, writes: Sequence[Write]) -> None:
        """Appends one entry, atomically and durably, then applies its writes: whoever reads through this store sees
        them from then on.

        Deposed where the number is taken by another writer; an entry that is already there, byte for byte and by this
        writer, is accepted again. A document never goes back to an entry's number below the one it carries. When this
        raises Unavailable, the entry may or may not be there: commit it again.
        """
        ...

    async def projected(self) -> int:
        """The number up to which every entry's writes are there, for whoever reads the database; 0 where there is
        none."""
        ...

    async def project(self, number: int, writes: Sequence[Write]) -> None:
        """Applies an entry's writes again, after a crash between the entry and its writes."""
        ...

    async def last_number(self) -> int:
        """The journal's last number; 0 where it is empty."""
        ...

    async def read(self, after: int, limit: int = 1000) -> list[Entry]:
        """Entries after a number, in order: at most `limit`, and fewer where they are large."""
        ...

    async def save_snapshot(self, number: int, state: bytes) -> None:
        """Keeps the state as it was after an entry, and lets go of the entries up to it."""
        ...

    async def snapshot(self) -> tuple[int, bytes] | None:
        """The last snapshot: its entry's number and the state."""
        ...

    async def lease(self) -> Lease | None:
        """Who leads; None before anyone has."""
        ...

    async def take_lease(self, lease: Lease, previous: Lease | None) -> bool:
        """Takes or renews the lease where it is still `previous`, in one step; False where it is another.

        When this raises Unavailable it may have been taken: `lease` tells.
        """
        ...

    async def get(self, collection: str, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The documents there are, by id."""
        ...

    async def find(
        self,
        collection: str,
        where: Mapping[str, Any] | None = None,
        *,
        above: tuple[str, Any] | None = None,
        order: Sequence[str] = (),
        skip: int = 0,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Documents whose fields equal all of `where`; a dot reaches into one, a tuple of texts means any of them.

        above: only those whose field is greater than a value. order: fields, with a `-` before one that descends.
        """
        ...

    async def count(self, collection: str, where: Mapping[str, Any] | None = None) -> int: ...


class Leftovers(Struct, frozen=True):
    """Parts of blobs that will never be whole: how many, and their bytes."""

    count: int
    size: int


class Grant(Struct, frozen=True):
    """One HTTP request that whoever holds it may make without keys.

    headers: to be sent as they are; a PUT is bound by them to its digest. seconds: how long it holds.
    """

    method: str
    url: str
    headers: dict[str, str]
    seconds: float


class ObjectStore(Protocol):
    """Blobs by digest, and names on them."""

    url: str

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def put(self, chunks: AsyncIterator[bytes], digest: str | None = None) -> Ref:
        """Stores a blob durably; one that is there already has its age renewed, and is mended where it was damaged.

        CorruptArtifact where a digest is given and the bytes have another. Nothing of a failed put is left.
        """
        ...

    async def put_file(self, path: Path, ref: Ref) -> None:
        """Stores a file of this machine, which may be gone afterwards.

        Whoever wrote it vouches for its digest, taken while it was written; where the bytes have to be read anyway,
        it is checked: CorruptArtifact. So is the size, always.
        """
        ...

    async def put_many(self, blobs: Sequence[Sequence[bytes | memoryview]]) -> list[Ref]:
        """Stores small blobs, each given as its buffers, in one go."""
        ...

    def get(self, digest: str, offset: int = 0, *, check: bool = True) -> AsyncIterator[bytes]:
        """A blob's bytes, in chunks of at most 1 MiB. NotFound; CorruptArtifact where the bytes are not its own.

        From an offset on they cannot be checked, and without `check` they need not be: whoever reads them does.
        """
        ...

    async def size(self, digest: str) -> int | None:
        """Bytes of a blob; None where there is none."""
        ...

    async def delete(self, digest: str, idle: float = 0.0) -> bool:
        """Deletes a blob, unless it was put or renewed within the last `idle` seconds. Whether there is none now.

        Looking at the age and deleting are one step: a put that has returned, or is renewing the age just then, keeps
        the blob.
        """
        ...

    def blobs(self) -> AsyncIterator[tuple[Ref, float]]:
        """Every blob with its age: the seconds since it was put or renewed by the store's own clock, rounded down."""
        ...

    async def unfinished(self, *, remove: bool) -> Leftovers:
        """What puts that died have left behind; removed where that is asked for. A put that goes on loses nothing."""
        ...

    def path(self, digest: str) -> Path | None:
        """Where a blob can be mapped on this machine; None where the store is elsewhere."""
        ...

    async def name(self, name: str, digest: str | None) -> None:
        """Puts a name such as `models/iris/v1/manifest` on a blob; None takes it away."""
        ...

    async def grant_get(self, digest: str) -> Grant | None:
        """Leave to read a blob from the store directly; None where the store gives none."""
        ...

    async def grant_put(self, ref: Ref) -> Grant | None:
        """Leave to store a blob directly: the store refuses other bytes. None where the store gives none."""
        ...
