"""A way to a MongoDB server: a client, and its errors in the words of ours.

The rule: a password is in the URL that the client was given, and in nothing that is shown, logged or raised.
"""

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from pymongo import AsyncMongoClient, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern

from tensorfleet.errors import FailedPrecondition, Unavailable
from tensorfleet.stores.mongo_url import Place

Document: TypeAlias = dict[str, Any]
Collection: TypeAlias = AsyncCollection[Document]
Database: TypeAlias = AsyncDatabase[Document]

PATIENCE = {"serverSelectionTimeoutMS": 3000, "connectTimeoutMS": 3000, "socketTimeoutMS": 20_000}
"""Milliseconds until a server that does not answer is said to be away, where the URL does not say otherwise."""

PREPARATIONS, PAUSE = 5, 0.2
"""How often it is tried again to make what is missing, and the seconds before."""

_REFUSED = {2, 9, 11, 13, 14, 18, 20, 59, 67, 72, 73, 85, 86, 238, 8000}
"""Answers that trying again does not change: no such user, no right, no such command or option, another index."""

_EXISTS = 48
_WITH_A_MAJORITY = ("ReplicaSetWithPrimary", "ReplicaSetNoPrimary", "Sharded", "LoadBalanced")


class Connection:
    """An open client, and the one database of it that is used."""

    def __init__(self, where: Place, client: "AsyncMongoClient[Document]", database: Database) -> None:
        self.where = where
        self.database = database
        self._client = client

    async def close(self) -> None:
        await self._client.close()

    async def prepare(self, work: Callable[[], Awaitable[None]]) -> None:
        """Has work done that makes what is missing, which another may be doing too; and closes where it fails.

        FerretDB breaks the connection of one of two who do so at once.
        """
        try:
            for again in range(PREPARATIONS, -1, -1):
                try:
                    with told(self.where):
                        return await work()
                except Unavailable:
                    if not again:
                        raise
                    await asyncio.sleep(PAUSE)
        except BaseException:
            await self.close()
            raise

    async def make(self, collections: Iterable[str]) -> None:
        """Makes what is missing of some collections.

        MongoDB would make each with its first document; FerretDB does that in steps, and where it dies between them it
        takes no document of that collection any more. Here nothing is lost by that yet.
        """
        there = await self.database.list_collection_names()
        for name in collections:
            if name not in there:
                await self._make(name)

    async def _make(self, name: str) -> None:
        try:
            await self.database.create_collection(name, check_exists=False)
        except OperationFailure as error:
            if error.code != _EXISTS:  # another has made it meanwhile
                raise


async def connect(where: Place) -> Connection:
    """Connects, and has the server answer. FailedPrecondition where it never will; Unavailable where it is away.

    Reads and writes are those of a majority where the server is one of several.
    """
    client: AsyncMongoClient[Document] | None = None
    try:
        with told(where):
            client = _client(where)
            database = client.get_database(where.database)
            await database.command("ping")
            several = client.topology_description.topology_type_name in _WITH_A_MAJORITY
            return Connection(
                where,
                client,
                database.with_options(
                    write_concern=WriteConcern("majority", j=True),
                    read_concern=ReadConcern("majority" if several else None),
                ),
            )
    except BaseException:
        if client is not None:
            await client.close()
        raise


def _client(where: Place) -> "AsyncMongoClient[Document]":
    given = {option.partition("=")[0].lower() for option in urlsplit(where.client_url).query.split("&")}
    patience: Mapping[str, Any] = {name: value for name, value in PATIENCE.items() if name.lower() not in given}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # the driver warns of an option that it does not know, and goes on
            return AsyncMongoClient(where.client_url, appname="tensorfleet", **patience)
    except (PyMongoError, ValueError, TypeError, UserWarning) as error:
        # What is wrong with a URL may be told by quoting it, and then a password with it.
        why = "see its user, password and options" if "@" in where.client_url else str(error)
        raise FailedPrecondition(f"The URL of the {where} cannot be used: {why}.") from None


@contextmanager
def told(where: Place) -> Iterator[None]:
    """Errors of the driver as ours: Unavailable where trying again may help, FailedPrecondition where it will not."""
    try:
        yield
    except (ConnectionFailure, WTimeoutError, ExecutionTimeout, InvalidOperation) as error:
        raise Unavailable(f"The {where} cannot be reached now: {_short(error)}.") from error
    except ConfigurationError as error:
        raise FailedPrecondition(f"The {where} cannot be used: {_short(error)}.") from error
    except OperationFailure as error:
        if error.code in _REFUSED:
            raise FailedPrecondition(f"The {where} refuses: {_short(error)}.") from error
        raise Unavailable(f"The {where} failed: {_short(error)}.") from error


def _short(error: PyMongoError) -> str:
    """The driver's message without what it appends: its settings and all it knows of the servers."""
    text = str(error)
    if isinstance(error, BulkWriteError):
        faults = [*error.details["writeErrors"], *error.details["writeConcernErrors"]]
        text = next((fault["errmsg"] for fault in faults), text)
    for tail in (", full error:", ", Timeout:", " (configured timeouts:"):
        text = text.partition(tail)[0]
    return text.rstrip(".") or type(error).__name__
