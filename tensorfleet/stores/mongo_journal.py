"""The journal in MongoDB: an inserted document an entry, whose unique `_id` is its number.

The rule: an insert is the one step that every server takes whole, so whatever two orchestrators could both want (a
number, a snapshot, the lease) is an insert of a document whose `_id` only one of them can have.
"""

import os
from datetime import UTC, datetime

from bson import Binary
from msgspec import Struct
from pymongo.errors import DuplicateKeyError

from tensorfleet.errors import Deposed, FailedPrecondition, Unavailable
from tensorfleet.stores.contract import Entry, Lease
from tensorfleet.stores.mongo_connection import Collection, Database, Document

SCHEMA = 1
"""The form of what is in this module, and of the store as a whole; the drawn documents have one of their own."""

COLLECTIONS = ENTRIES, SNAPSHOTS, PARTS, LEASES = "journal", "snapshots", "snapshot_parts", "leases"

PART = 8 * 1024 * 1024
"""Bytes of a snapshot in one document, at most."""
PAGE_BYTES = 64 * 1024 * 1024
"""Bytes of records after which a page of entries ends."""


class Tip(Struct, frozen=True):
    """The journal's last number, and the term of its entry. projected: up to which all documents are drawn."""

    number: int
    term: int
    projected: int


class Journal:
    """Entries by number."""

    def __init__(self, database: Database, snapshots: "Snapshots") -> None:
        self._entries: Collection = database[ENTRIES]
        self._snapshots = snapshots
        self._last: tuple[int, int] | None = None  # the number and term of the last entry seen here
        self._projected: int | None = None

    async def append(self, entry: Entry) -> None:
        """Inserts an entry, or finds it there. Deposed, Unavailable; ValueError for one that does not follow on."""
        last = self._last
        if last is None or entry.number != last[0] + 1:
            tip = await self.tip()
            last = (tip.number, tip.term)
        if not 1 <= entry.number <= last[0] + 1:
            raise ValueError(f"entry {entry.number} cannot follow entry {last[0]}")
        if entry.number <= last[0] or not await self._insert(entry, first=entry.term != last[1]):
            await self._check_own(entry)
        if self._last is None or self._last[0] < entry.number:
            self._last = (entry.number, entry.term)

    async def _insert(self, entry: Entry, first: bool) -> bool:
        """False where the number is taken. first: of its term, and so kept for good."""
        document = {
            "_id": entry.number,
            "schema": SCHEMA,
            "term": entry.term,
            "first": first,
            "writer": entry.writer,
            "at": datetime.now(UTC),
            # What this entry's writer knows of those before it: so it costs no write of its own.
            "projected": await self._drawn_up_to(),
            "records": Binary(entry.records),
        }
        try:
            await self._entries.insert_one(document)
        except DuplicateKeyError:
            return False
        return True

    async def _check_own(self, entry: Entry) -> None:
        there = await self._entries.find_one({"_id": entry.number})
        if there is not None and _entry(there) == entry:
            return
        if there is None and await self._snapshots.number() < entry.number:
            raise Unavailable(f"Entry {entry.number} is there, and a majority of the servers does not have it yet.")
        raise Deposed(f"Entry {entry.number} of the journal is taken: another orchestrator has gone on from here.")

    async def tip(self) -> Tip:
        """Read anew."""
        snapshot = await self._snapshots.number()
        last = await self._entries.find({}, {"records": 0}).sort("_id", -1).limit(1).to_list()
        if not last:
            return Tip(snapshot, 0, snapshot)
        _check_schema(last[0])
        # Where a snapshot holds the last entries, the last one that is left is the first of their term.
        return Tip(max(last[0]["_id"], snapshot), last[0]["term"], max(last[0]["projected"], snapshot))

    async def read(self, after: int, limit: int) -> list[Entry]:
        found: list[Entry] = []
        size = 0
        if limit <= 0:
            return found
        async for document in self._entries.find({"_id": {"$gt": after}}).sort("_id", 1).limit(limit):
            found.append(_entry(document))
            size += len(found[-1].records)
            if size >= PAGE_BYTES:
                break
        return found

    async def compact(self, number: int) -> None:
        """Lets go of the entries up to a number, but for the first of each term."""
        await self._entries.delete_many({"_id": {"$lte": number}, "first": False})

    async def projected(self) -> int:
        """Read anew, and what was drawn here since."""
        self._projected = max((await self.tip()).projected, self._projected or 0)
        return self._projected

    async def drawn(self, number: int) -> None:
        """Remembers that an entry's documents are there."""
        if await self._drawn_up_to() == number - 1:
            self._projected = number

    async def _drawn_up_to(self) -> int:
        return await self.projected() if self._projected is None else self._projected


class Snapshots:
    """States in parts. The newest counts: it is there once the document that tells of its parts is."""

    def __init__(self, database: Database) -> None:
        self._heads: Collection = database[SNAPSHOTS]
        self._parts: Collection = database[PARTS]

    async def number(self) -> int:
        """The entry of the newest; 0 where there is none."""
        head = await self._newest()
        return 0 if head is None else int(head["_id"])

    async def save(self, number: int, state: bytes) -> None:
        """Keeps one that is newer than what is there, and removes those before it, also halves that a crash left."""
        if number > await self.number():
            key = os.urandom(8).hex()  # another orchestrator may be writing one of the same number
            starts = range(0, len(state), PART)
            for index, start in enumerate(starts):
                part = {"number": number, "key": key, "index": index, "data": Binary(state[start : start + PART])}
                await self._parts.insert_one({"_id": f"{number}-{key}-{index}", "schema": SCHEMA, **part})
            head = {"_id": number, "schema": SCHEMA, "key": key, "parts": len(starts), "bytes": len(state)}
            try:
                await self._heads.insert_one({**head, "at": datetime.now(UTC)})
            except DuplicateKeyError:
                await self._parts.delete_many({"key": key})
        newest = await self.number()
        # Whatever is older than the newest is of no use to anyone, also to whoever is still writing it.
        await self._heads.delete_many({"_id": {"$lt": newest}})
        await self._parts.delete_many({"number": {"$lt": newest}})

    async def read(self) -> tuple[int, bytes] | None:
        seen = 0
        while (head := await self._newest()) is not None:
            if head["_id"] == seen:
                raise FailedPrecondition(f"The snapshot of entry {seen} is damaged: parts of it are missing.")
            seen = int(head["_id"])
            parts = await self._parts.find({"number": seen, "key": head["key"]}).sort("index", 1).to_list()
            state = b"".join(bytes(part["data"]) for part in parts)
            if len(parts) == head["parts"] and len(state) == head["bytes"]:
                return seen, state
            # A newer one has come, and its writer removed these parts.
        return None

    async def _newest(self) -> Document | None:
        heads = await self._heads.find({}).sort("_id", -1).limit(1).to_list()
        return _check_schema(heads[0]) if heads else None


class Leases:
    """The lease: a document a beat, of which the newest counts."""

    def __init__(self, database: Database) -> None:
        self._beats: Collection = database[LEASES]

    async def held(self) -> Lease | None:
        newest = await self._beats.find({}).sort("_id", -1).limit(1).to_list()
        if not newest:
            return None
        document = _check_schema(newest[0])
        return Lease(document["holder"], document["address"], int(document["_id"]), document["seconds"])

    async def take(self, lease: Lease, previous: Lease | None) -> bool:
        if await self.held() != previous:
            return False
        said = {"holder": lease.holder, "address": lease.address, "seconds": lease.seconds}
        try:
            await self._beats.insert_one({"_id": lease.beat, "schema": SCHEMA, **said, "at": datetime.now(UTC)})
        except DuplicateKeyError:
            return False
        # One that comes so late that others took and removed its beat has gained nothing.
        taken = await self.held() == lease
        await self._beats.delete_many({"_id": {"$lt": lease.beat}})
        return taken


def _entry(document: Document) -> Entry:
    _check_schema(document)
    return Entry(int(document["_id"]), int(document["term"]), document["writer"], bytes(document["records"]))


def _check_schema(document: Document) -> Document:
    if document["schema"] > SCHEMA:
        raise FailedPrecondition(
            f"The journal was written by a newer release of TensorFleet: its schema is {document['schema']}, and this "
            f"release knows up to {SCHEMA}. Use the newer release, or another database."
        )
    return document
