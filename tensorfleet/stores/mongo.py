"""The journal and its documents in a database of MongoDB: for a cluster, and for two orchestrators.

The rule: an entry is one inserted document, in place with a majority before anything else is written; what is drawn
from it follows in a second step, and is drawn again by whoever takes over in between.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from pymongo.errors import DuplicateKeyError

from tensorfleet.errors import FailedPrecondition, Unavailable
from tensorfleet.stores import mongo_connection as connection
from tensorfleet.stores import mongo_journal as journal
from tensorfleet.stores import mongo_tables as tables
from tensorfleet.stores.collections import COLLECTIONS
from tensorfleet.stores.contract import MAX_RECORDS, Entry, Lease, Write
from tensorfleet.stores.mongo_connection import Connection
from tensorfleet.stores.mongo_url import Place, place


def from_url(url: str) -> "MongoDocuments":
    """The store of a URL such as `mongodb://host:27017/tensorfleet`."""
    return MongoDocuments(place(url))


class _Open:
    """What there is of an open store."""

    def __init__(self, connected: Connection) -> None:
        database = connected.database
        self.connected = connected
        self.snapshots = journal.Snapshots(database)
        self.journal = journal.Journal(database, self.snapshots)
        self.leases = journal.Leases(database)
        self.tables = tables.Tables(database)


class MongoDocuments:
    """A `DocumentStore` in one database."""

    def __init__(self, where: Place) -> None:
        self.where = where
        self.url = where.url
        self._opened: _Open | None = None

    async def open(self) -> None:
        await self.close()
        opened = _Open(await connection.connect(self.where))
        await opened.connected.prepare(partial(self._prepare, opened))
        self._opened = opened

    async def _prepare(self, opened: _Open) -> None:
        await self._refuse_newer(opened)
        await opened.connected.make((*COLLECTIONS, *journal.COLLECTIONS, tables.DELETIONS))
        await opened.tables.prepare()

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.connected.close()

    async def commit(self, entry: Entry, writes: Sequence[Write]) -> None:
        if len(entry.records) > MAX_RECORDS:
            raise ValueError(f"an entry holds at most {MAX_RECORDS} bytes of records, not {len(entry.records)}")
        rows = tables.batch(entry.number, writes)
        async with self._use() as store:
            await store.journal.append(entry)
            await store.tables.apply(entry.number, rows)
            await store.journal.drawn(entry.number)

    async def projected(self) -> int:
        async with self._use() as store:
            return await store.journal.projected()

    async def project(self, number: int, writes: Sequence[Write]) -> None:
        rows = tables.batch(number, writes)
        async with self._use() as store:
            await store.tables.apply(number, rows)
            await store.journal.drawn(number)

    async def last_number(self) -> int:
        async with self._use() as store:
            return (await store.journal.tip()).number

    async def read(self, after: int, limit: int = 1000) -> list[Entry]:
        async with self._use() as store:
            return await store.journal.read(after, limit)

    async def save_snapshot(self, number: int, state: bytes) -> None:
        async with self._use() as store:
            if not 1 <= number <= (await store.journal.tip()).number:
                raise ValueError(f"there is no entry {number} to keep a snapshot of")
            await store.snapshots.save(number, state)
            kept = await store.snapshots.number()
            await store.journal.compact(kept)
            await store.tables.forget_deletions(kept)

    async def snapshot(self) -> tuple[int, bytes] | None:
        async with self._use() as store:
            return await store.snapshots.read()

    async def lease(self) -> Lease | None:
        async with self._use() as store:
            return await store.leases.held()

    async def take_lease(self, lease: Lease, previous: Lease | None) -> bool:
        async with self._use() as store:
            return await store.leases.take(lease, previous)

    async def get(self, collection: str, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        async with self._use() as store:
            return await store.tables.get(collection, list(ids))

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
        async with self._use() as store:
            return await store.tables.find(collection, where or {}, above, order, skip, limit)

    async def count(self, collection: str, where: Mapping[str, Any] | None = None) -> int:
        async with self._use() as store:
            return await store.tables.count(collection, where or {})

    @asynccontextmanager
    async def _use(self) -> AsyncIterator[_Open]:
        if self._opened is None:
            raise Unavailable(f"The {self.where} is not open.")
        with connection.told(self.where):
            yield self._opened

    async def _refuse_newer(self, opened: _Open) -> None:
        """Before anything is changed: a database of a newer release stays as it is."""
        about = opened.connected.database["about"]
        found = await about.find_one({"_id": "schema"})
        if found is None:
            try:
                await about.insert_one({"_id": "schema", "schema": journal.SCHEMA})
            except DuplicateKeyError:
                found = await about.find_one({"_id": "schema"})
        if found is not None and found["schema"] > journal.SCHEMA:
            raise FailedPrecondition(
                f"The {self.where} was written by a newer release of TensorFleet: its schema is {found['schema']}, and "
                f"this release knows up to {journal.SCHEMA}. Use the newer release, or another database."
            )
