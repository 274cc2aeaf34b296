"""Documents as those of MongoDB, and the commands that write and query them.

The rule: a document carries the number of its entry, and a write says up to which number it replaces; so none goes
back, whoever writes late. A deletion is written like a document, and its trace is removed a day later.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import encode
from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo import IndexModel, ReplaceOne
from pymongo.errors import BulkWriteError

from tensorfleet.errors import AlreadyExists, Unavailable
from tensorfleet.stores import collections
from tensorfleet.stores.collections import COLLECTIONS, collection_named
from tensorfleet.stores.contract import Write
from tensorfleet.stores.mongo_connection import Database, Document
from tensorfleet.stores.mongo_encoding import DELETED, ENTRY, decoded, encoded, path
from tensorfleet.stores.queries import (
    check_field,
    check_page,
    check_schema,
    check_term,
    check_value,
    last_writes,
    ordering,
)

UPDATES = 64
"""Updates in one command: FerretDB hangs at about 90."""
INSERTS = 1000
IDS = 1000
"""Documents asked for by id in one command."""
REMEMBERED = 50_000
"""Ids that are known to be there, at most: a guess that saves a command, and never changes what is written."""
TURNS = 5
DUPLICATE = 11000
OWN = "tensorfleet:"
"""How the names of our indexes begin; others are left alone."""
DELETIONS = "deletions"
DELETIONS_KEPT = timedelta(days=1)
"""Longer than any orchestrator can be held up between an entry and its documents."""


class Batch(Struct, frozen=True):
    """An entry's documents by collection and id. deleted: those that say of one that it is gone."""

    documents: dict[str, dict[str, RawBSONDocument]]
    deleted: list[tuple[str, str]]


def batch(number: int, writes: Sequence[Write]) -> Batch:
    """Checks and encodes an entry's writes. ValueError for an unknown collection and for what is not plain data."""
    rows = Batch({}, [])
    for collection, documents in last_writes(writes).items():
        rows.documents[collection] = {
            document_id: _deletion(collection, document_id, number)
            if document is None
            else encoded(collection, document_id, number, document)
            for document_id, document in documents.items()
        }
        rows.deleted.extend(
            (collection, document_id) for document_id, document in documents.items() if document is None
        )
    return rows


def _deletion(collection: str, document_id: str, number: int) -> RawBSONDocument:
    # What is unique stays so among deleted ones.
    unique = {path(field): document_id for fields in collection_named(collection).unique for field in fields}
    return RawBSONDocument(encode({"_id": document_id, ENTRY: number, DELETED: datetime.now(UTC), **unique}))


class Tables:
    """The collections of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def prepare(self) -> None:
        """Makes what is missing of the indexes, and drops those of ours that are declared no more."""
        await _at_once(self._index(collection) for collection in COLLECTIONS.values())

    async def _index(self, declared: collections.Collection) -> None:
        wanted = {}
        for fields in declared.indexes:
            name = f"{OWN}{'+'.join(fields)}"
            wanted[name] = IndexModel([(path(field), 1) for field in (*fields, "id")], name=name)
        for fields in declared.unique:
            name = f"{OWN}{'+'.join(fields)}:unique"
            wanted[name] = IndexModel([(path(field), 1) for field in fields], name=name, unique=True)
        table = self._database[declared.name]
        there = {index["name"] async for index in await table.list_indexes()}
        for name in there - wanted.keys():
            if name.startswith(OWN):
                await table.drop_index(name)
        missing = [index for name, index in wanted.items() if name not in there]
        if missing:
            await table.create_indexes(missing)

    async def apply(self, number: int, rows: Batch) -> None:
        """Writes an entry's documents; one that carries a later entry's number stays as it is."""
        await _at_once(self._write(collection, number, documents) for collection, documents in rows.documents.items())
        if rows.deleted:
            deletion = {"schema": collections.SCHEMA, "entry": number, "at": datetime.now(UTC)}
            traces = [{"collection": name, "id": document_id, **deletion} for name, document_id in rows.deleted]
            await self._database[DELETIONS].insert_many(traces, ordered=False)

    async def _write(self, collection: str, number: int, documents: Mapping[str, RawBSONDocument]) -> None:
        """Inserts what is new and replaces what is older; which is which is guessed, and looked up where it is not so.

        No upserts: one that finds a newer document is an error, at which some servers leave the rest undone.
        """
        left = dict(documents)
        new = {document_id for document_id in left if (collection, document_id) not in self._known}
        for _ in range(TURNS):
            refused = await self._insert(collection, {each: left[each] for each in left if each in new})
            replaced = {each: left[each] for each in left if each not in new or each in refused}
            if await self._replace(collection, number, replaced):
                left = {}
            else:
                left, new = await self._left(collection, number, replaced)
            if not left:
                self._remember(collection, documents)
                return
            if new & refused:
                shared = " or ".join(" and ".join(fields) for fields in collection_named(collection).unique)
                raise AlreadyExists(f"{collection} has another document of the same {shared}")
        raise Unavailable(f"Others keep writing the same documents of {collection}.")

    async def _insert(self, collection: str, documents: Mapping[str, RawBSONDocument]) -> set[str]:
        """The ids of those that could not be inserted, since there is one."""
        refused: set[str] = set()
        ids = list(documents)
        for some in (ids[start : start + INSERTS] for start in range(0, len(ids), INSERTS)):
            try:
                await self._database[collection].insert_many([documents[each] for each in some], ordered=False)
            except BulkWriteError as error:
                faults = error.details["writeErrors"]
                if error.details["writeConcernErrors"] or any(fault["code"] != DUPLICATE for fault in faults):
                    raise
                refused.update(some[fault["index"]] for fault in faults)
        return refused

    async def _replace(self, collection: str, number: int, documents: Mapping[str, RawBSONDocument]) -> bool:
        """Whether all of them were there and not newer."""
        matched = 0
        updates: list[ReplaceOne[Document]] = [
            ReplaceOne({"_id": each, ENTRY: {"$lte": number}}, document) for each, document in documents.items()
        ]
        for start in range(0, len(updates), UPDATES):
            some = updates[start : start + UPDATES]
            matched += (await self._database[collection].bulk_write(some, ordered=False)).matched_count
        return matched == len(updates)

    async def _left(
        self, collection: str, number: int, documents: dict[str, RawBSONDocument]
    ) -> tuple[dict[str, RawBSONDocument], set[str]]:
        """Those that are still older than the entry, and those that are not there; and the ids of the latter."""
        there = {one["_id"]: one[ENTRY] for one in await self._some(collection, list(documents), {ENTRY: 1})}
        left = {each: document for each, document in documents.items() if there.get(each, 0) < number}
        return left, left.keys() - there.keys()

    def _remember(self, collection: str, ids: Iterable[str]) -> None:
        for document_id in ids:
            self._known[(collection, document_id)] = None
            self._known.move_to_end((collection, document_id))
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def forget_deletions(self, number: int) -> None:
        """Removes the traces of old deletions up to an entry."""
        old = {"entry": {"$lte": number}, "at": {"$lt": datetime.now(UTC) - DELETIONS_KEPT}}
        while found := await self._database[DELETIONS].find(old).limit(IDS).to_list():
            by_collection: dict[str, list[str]] = {}
            for deletion in found:
                by_collection.setdefault(deletion["collection"], []).append(deletion["id"])
            for collection, ids in by_collection.items():
                # One that came back meanwhile carries a deletion no more.
                gone = {"_id": {"$in": ids}, DELETED: {"$lt": datetime.now(UTC) - DELETIONS_KEPT}}
                await self._database[collection].delete_many(gone)
                for document_id in ids:
                    self._known.pop((collection, document_id), None)
            await self._database[DELETIONS].delete_many({"_id": {"$in": [deletion["_id"] for deletion in found]}})

    async def get(self, collection: str, ids: Sequence[str]) -> dict[str, Document]:
        name = collection_named(collection).name
        found = await self._some(name, ids)
        return {document["_id"]: _read(name, document) for document in found if DELETED not in document}

    async def _some(
        self, collection: str, ids: Sequence[str], fields: Mapping[str, int] | None = None
    ) -> list[Document]:
        found: list[Document] = []
        for start in range(0, len(ids), IDS):
            some = ids[start : start + IDS]
            wanted = {"_id": some[0] if len(some) == 1 else {"$in": some}}  # by equality FerretDB finds it at once
            found += await self._database[collection].find(wanted, fields, batch_size=IDS).to_list()
        return found

    async def find(
        self,
        collection: str,
        where: Mapping[str, Any],
        above: tuple[str, Any] | None,
        order: Sequence[str],
        skip: int,
        limit: int,
    ) -> list[Document]:
        check_page(skip, limit)
        name = collection_named(collection).name
        condition = _condition(where, above)
        sort = [(path(field), -1 if descends else 1) for field, descends in ordering(order)]
        if limit == 0:
            return []  # to MongoDB it would mean all
        reading = self._database[name].find(condition).sort(sort).skip(skip).limit(limit).batch_size(limit)
        return [_read(name, document) for document in await reading.to_list()]

    async def count(self, collection: str, where: Mapping[str, Any]) -> int:
        return await self._database[collection_named(collection).name].count_documents(_condition(where, None))


async def _at_once(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Does all of it, and raises the first error once nothing of it runs any more."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _read(collection: str, document: Document) -> Document:
    return check_schema(collection, document["_id"], decoded(document))


def _condition(where: Mapping[str, Any], above: tuple[str, Any] | None) -> Document:
    terms: list[Document] = [{DELETED: {"$exists": False}}]
    for field, value in where.items():
        check_term(field, value)
        terms.append({path(field): {"$in": list(value)} if isinstance(value, tuple) else value})
    if above is not None:
        field, value = above
        check_value(check_field(field), value)
        terms.append({path(field): {"$gt": value}})
    return {"$and": terms}
