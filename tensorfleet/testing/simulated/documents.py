"""Documents in memory: a database that can lose what it had not synced, and stores that reach it over a way that fails.

The rule: what was acknowledged, or was read by anyone, survives everything; what was neither may be lost from its end.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from tensorfleet.errors import AlreadyExists, Deposed, Unavailable
from tensorfleet.stores import queries
from tensorfleet.stores.collections import COLLECTIONS, collection_named
from tensorfleet.stores.contract import MAX_RECORDS, Entry, Lease, Write

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


_Row = tuple[str, dict[str, Any]]
"""A document as its text, which readers are given anew, and as its fields, which are looked at alone."""
_Rows = Mapping[tuple[str, str], _Row | None]


class _Kept(Struct, frozen=True):
    """A document as it is kept; text None: it was deleted. number: of the entry that wrote it."""

    id: str
    number: int
    text: str | None
    fields: dict[str, Any]


class Database:
    """What a server has on its disk and in its buffers, whoever is connected to it."""

    def __init__(self) -> None:
        self.journal: dict[int, Entry] = {}
        self.snapshot: tuple[int, bytes] | None = None
        self.lease: Lease | None = None
        self.projected = 0
        self.on_durable: Callable[[Entry], None] = lambda entry: None
        """Is told each entry once it can be lost no more."""
        self._collections: dict[str, dict[str, _Kept]] = {name: {} for name in COLLECTIONS}
        self._by_field: dict[tuple[str, str, Any], dict[str, None]] = {}
        self._undo: list[Callable[[], None]] = []
        self._fresh: list[Entry] = []
        self.crashes = 0

    @property
    def last(self) -> int:
        newest = next(reversed(self.journal), 0)
        return max(newest, self.snapshot[0] if self.snapshot else 0)

    # --- durability

    def sync(self) -> None:
        """What was written until now can be lost no more."""
        if self._undo:
            self._undo.clear()
            fresh, self._fresh = self._fresh, []
            for entry in fresh:
                self.on_durable(entry)

    @property
    def unsynced(self) -> int:
        """Writes that a crash may lose."""
        return len(self._undo)

    def crash(self, kept: int) -> None:
        """Loses all but the first `kept` of the writes that were not synced."""
        self.crashes += 1
        while len(self._undo) > kept:
            self._undo.pop()()
        self.sync()

    # --- writing

    def check_unique(self, rows: "_Rows") -> None:
        """AlreadyExists where another document has what is to be unique."""
        for (collection, document_id), row in rows.items():
            for fields in COLLECTIONS[collection].unique if row is not None else ():
                mine = [row[1].get(field) for field in fields] if row is not None else []
                for kept in self.all(collection):
                    other = (collection, kept.id)
                    if kept.id != document_id and other not in rows and [kept.fields.get(f) for f in fields] == mine:
                        raise AlreadyExists(f"{kept.id!r} of {collection} has the same {' and '.join(fields)}")

    def append(self, entry: Entry) -> None:
        """ValueError where it leaves a gap; Deposed where its number is another's."""
        last = self.last
        if entry.number > last + 1 or entry.number < 1:
            raise ValueError(f"entry {entry.number} cannot follow entry {last}")
        if entry.number <= last:
            if self.journal.get(entry.number) != entry:
                raise Deposed(
                    f"Entry {entry.number} of the journal is taken: another orchestrator has gone on from here."
                )
            return
        self.journal[entry.number] = entry
        self._fresh.append(entry)

        def undo() -> None:
            del self.journal[entry.number]
            self._fresh.remove(entry)

        self._undo.append(undo)

    def apply(self, number: int, collection: str, document_id: str, row: "_Row | None") -> None:
        """Writes one document, unless a later entry wrote it, or a snapshot holds what this entry did."""
        if self.snapshot is not None and number <= self.snapshot[0]:
            return
        before = self._collections[collection].get(document_id)
        if before is None or before.number <= number:
            text, fields = row or (None, {})
            self._put(collection, document_id, _Kept(document_id, number, text, fields))
            self._undo.append(lambda: self._put(collection, document_id, before))

    def mark(self, number: int) -> None:
        """Every write of the entries up to a number was applied."""
        before = self.projected
        if number > before:
            self.projected = number
            self._undo.append(lambda: setattr(self, "projected", before))

    def keep_snapshot(self, number: int, state: bytes) -> None:
        if not 1 <= number <= self.last:
            raise ValueError(f"there is no entry {number} to keep a snapshot of")
        if self.snapshot is not None and self.snapshot[0] >= number:
            return
        self.snapshot = (number, state)
        self._forget(number)
        self._undo.append(lambda: None)
        self.sync()  # its entries are gone: it is there

    def take_lease(self, lease: Lease, previous: Lease | None) -> bool:
        if self.lease != previous:
            return False
        self.lease = lease
        self._undo.append(lambda: setattr(self, "lease", previous))
        return True

    # --- reading

    def get(self, collection: str, document_id: str) -> _Kept | None:
        kept = self._collections[collection_named(collection).name].get(document_id)
        return kept if kept is not None and kept.text is not None else None

    def all(self, collection: str, where: Mapping[str, Any] | None = None) -> Iterator[_Kept]:
        """Documents that may satisfy a condition, in no order."""
        documents = self._collections[collection_named(collection).name]
        for field in _looked_up_by(collection):
            if where and isinstance(where.get(field), str):
                ids = self._by_field.get((collection, field, where[field]), {})
                return (documents[document_id] for document_id in ids)
        return (kept for kept in documents.values() if kept.text is not None)

    # --- within

    def _put(self, collection: str, document_id: str, kept: _Kept | None) -> None:
        documents = self._collections[collection]
        before = documents.pop(document_id, None)
        for field in _looked_up_by(collection):
            if before is not None and before.text is not None:
                self._by_field[collection, field, before.fields.get(field)].pop(document_id, None)
            if kept is not None and kept.text is not None:
                self._by_field.setdefault((collection, field, kept.fields.get(field)), {})[document_id] = None
        if kept is not None:
            documents[document_id] = kept

    def _forget(self, number: int) -> None:
        firsts: dict[int, int] = {}
        for entry in self.journal.values():
            firsts.setdefault(entry.term, entry.number)
        stay = set(firsts.values())
        self.journal = {n: entry for n, entry in self.journal.items() if n > number or n in stay}
        for documents in self._collections.values():
            for kept in [kept for kept in documents.values() if kept.text is None and kept.number <= number]:
                del documents[kept.id]


_LOOKED_UP_BY = {
    name: tuple({fields[0]: None for fields in collection.indexes if len(fields) > 1 and fields[0].endswith("_id")})
    for name, collection in COLLECTIONS.items()
}


def _looked_up_by(collection: str) -> tuple[str, ...]:
    """Fields that a collection is mostly searched by; each is a text that never changes in a document."""
    return _LOOKED_UP_BY[collection]


async def _at_once() -> None:
    """A way without delay."""


class MemoryDocuments:
    """A `DocumentStore` over a database in memory.

    hop: one way to the database or back; may take its time and may raise Unavailable. torn: asked before each of a
    commit's writes, whether it takes another hop: all are applied with the entry, as in a transaction, where it never
    does.
    """

    def __init__(
        self,
        database: Database,
        hop: Callable[[], Awaitable[None]] = _at_once,
        torn: Callable[[], bool] = lambda: False,
    ) -> None:
        self.url = "memory://documents"
        self._database = database
        self._hop = hop
        self._torn = torn
        self._open = False

    async def open(self) -> None:
        await self._hop()
        self._open = True

    async def close(self) -> None:
        self._open = False

    async def commit(self, entry: Entry, writes: Sequence[Write]) -> None:
        if len(entry.records) > MAX_RECORDS:
            raise ValueError(f"an entry holds at most {MAX_RECORDS} bytes of records, not {len(entry.records)}")
        rows = _rows(writes)
        life = await self._there()
        self._database.check_unique(rows)
        self._database.append(entry)
        await self._apply(entry.number, rows, life)
        await self._back(life)

    async def project(self, number: int, writes: Sequence[Write]) -> None:
        rows = _rows(writes)
        life = await self._there()
        await self._apply(number, rows, life)
        await self._back(life)

    async def _apply(self, number: int, rows: _Rows, life: int) -> None:
        for (collection, document_id), row in rows.items():
            if self._torn():
                await self._within(life)
            self._database.apply(number, collection, document_id, row)
        if self._torn():
            await self._within(life)
        self._database.mark(number)

    async def projected(self) -> int:
        await self._read()
        return self._database.projected

    async def last_number(self) -> int:
        await self._read()
        return self._database.last

    async def read(self, after: int, limit: int = 1000) -> list[Entry]:
        await self._read()
        return [entry for number, entry in self._database.journal.items() if number > after][:limit]

    async def save_snapshot(self, number: int, state: bytes) -> None:
        life = await self._there()
        self._database.keep_snapshot(number, state)
        await self._back(life)

    async def snapshot(self) -> tuple[int, bytes] | None:
        await self._read()
        return self._database.snapshot

    async def lease(self) -> Lease | None:
        await self._read()
        return self._database.lease

    async def take_lease(self, lease: Lease, previous: Lease | None) -> bool:
        life = await self._there()
        taken = self._database.take_lease(lease, previous)
        await self._back(life)
        return taken

    async def get(self, collection: str, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        await self._read()
        found = (self._database.get(collection, document_id) for document_id in ids)
        return {kept.id: _plain(collection, kept) for kept in found if kept is not None}

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
        queries.check_page(skip, limit)
        queries.ordering(order)
        _found(self._database, collection, where, above)
        await self._read()
        found = _ordered(_found(self._database, collection, where, above), order)
        return [_plain(collection, kept) for kept in found[skip : skip + limit]]

    async def count(self, collection: str, where: Mapping[str, Any] | None = None) -> int:
        await self._read()
        return len(_found(self._database, collection, where, None))

    async def _there(self) -> int:
        """At the database; which of its lives it is."""
        if not self._open:
            raise Unavailable("The documents in memory are not open.")
        await self._hop()
        return self._database.crashes

    async def _within(self, life: int) -> None:
        """Another way, of something that was begun in a life of the database and ends with it."""
        await self._hop()
        if self._database.crashes != life:
            raise Unavailable("The database was started again meanwhile.")

    async def _back(self, life: int) -> None:
        await self._within(life)
        self._database.sync()

    async def _read(self) -> None:
        """On the way back nothing is lost that could not be read again."""
        await self._there()
        self._database.sync()


def _rows(writes: Sequence[Write]) -> _Rows:
    return {
        (collection, document_id): None if document is None else (_encoded(collection, document_id, document), document)
        for collection, documents in queries.last_writes(writes).items()
        for document_id, document in documents.items()
    }


def _encoded(collection: str, document_id: str, document: dict[str, Any]) -> str:
    try:
        return _encode(document)
    except (TypeError, ValueError) as error:
        raise ValueError(f"document {document_id!r} of {collection} is not plain JSON data: {error}") from error


def _plain(collection: str, kept: _Kept) -> dict[str, Any]:
    """A document as its reader's own."""
    return queries.check_schema(collection, kept.id, json.loads(kept.text or ""))


def _found(
    database: Database, collection: str, where: Mapping[str, Any] | None, above: tuple[str, Any] | None
) -> list[_Kept]:
    wanted = list((where or {}).items())
    for field, value in wanted:
        queries.check_term(field, value)
    if above is not None:
        queries.check_value(queries.check_field(above[0]), above[1])
    return [
        kept
        for kept in database.all(collection, where)
        if all(_same(_value(kept, field), value) for field, value in wanted)
        and (above is None or _is_above(_value(kept, above[0]), above[1]))
    ]


def _value(kept: _Kept, field: str) -> Any:
    if field == "id":
        return kept.id
    value: Any = kept.fields
    for name in field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _same(one: Any, other: Any) -> bool:
    if isinstance(other, tuple):
        return one in other
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _is_above(one: Any, other: Any) -> bool:
    alike = isinstance(one, str) == isinstance(other, str)
    return alike and isinstance(one, str | int | float) and bool(one > other)


def _ordered(found: list[_Kept], order: Sequence[str]) -> list[_Kept]:
    """What is missing is least."""
    for field, descends in reversed(queries.ordering(order)):
        found.sort(key=lambda kept: _rank(_value(kept, field)), reverse=descends)
    return found


def _rank(value: Any) -> tuple[int, Any]:
    if value is None:
        return 0, 0
    return (2, value) if isinstance(value, str) else (1, value)
