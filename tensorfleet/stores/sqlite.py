"""The journal and its documents in one SQLite file: the default, with nothing to install.

The rule: an entry has reached the disk (WAL, synchronous=FULL) before `commit` returns. Its documents follow, those of
many entries in one transaction: within a moment, or before whoever asks for something that one of them could change.
One thread writes; another reads over its own connection, so no reader waits for a commit.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

from tensorfleet.errors import FailedPrecondition, TensorFleetError, Unavailable
from tensorfleet.logs import Logger
from tensorfleet.stores import sqlite_journal as journal
from tensorfleet.stores import sqlite_tables as tables
from tensorfleet.stores.behind import Behind
from tensorfleet.stores.contract import MAX_RECORDS, Entry, Lease, Write

log = Logger(__name__)

SCHEMA = 2
"""2: entries may be in the journal whose documents are not in the tables yet."""
BUSY_SECONDS = 5.0
BEHIND_SECONDS = 0.05
"""How long a document may wait for others. Most are of jobs, and of those the last form alone is written."""
BEHIND = 2_000
"""Documents that may wait, past which they go with the next entry: so they do not pile up where they cannot be
written."""
LOG_BYTES = 64 * 1024 * 1024
"""What the write-ahead log's file shrinks to once a burst is over."""

_T = TypeVar("_T")


def from_url(url: str) -> "SqliteDocuments":
    """The store of a URL such as `sqlite:////var/lib/fleet/documents.db` (three slashes, then the path)."""
    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment or len(parts.path) < 2:
        raise ValueError(f"{url} names no file; write sqlite:/// and then its path, quoted as in any URL")
    return SqliteDocuments(Path(unquote(parts.path[1:])))


class SqliteDocuments:
    """A `DocumentStore` in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.url = f"sqlite:///{quote(str(self.path))}"
        self._writing: _Lane | None = None
        self._reading: _Lane | None = None
        self._last: int | None = None  # the number of the last entry committed here
        self._behind, self._taken = Behind(), Behind()  # what waits to be drawn, and what is being drawn
        self._drawing = asyncio.Lock()
        self._alarm: asyncio.TimerHandle | None = None
        self._rung: asyncio.Task[None] | None = None

    async def open(self) -> None:
        writing, reading = _Lane(self.path, "documents-write"), _Lane(self.path, "documents-read")
        try:
            await writing.start(_connect_to_write)
            await reading.start(_connect_to_read)
        except BaseException:
            await reading.stop()
            await writing.stop()
            raise
        self._writing, self._reading = writing, reading

    async def close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._writing is not None:
            await self._draw_if_possible()
        lanes, self._reading, self._writing = (self._reading, self._writing), None, None
        for lane in lanes:  # the writer last: whoever closes last folds the log into the file
            if lane is not None:
                await lane.stop()

    async def commit(self, entry: Entry, writes: Sequence[Write]) -> None:
        if len(entry.records) > MAX_RECORDS:
            raise ValueError(f"an entry holds at most {MAX_RECORDS} bytes of records, not {len(entry.records)}")
        own, follows = tables.batch(entry.number, writes), self._last == entry.number - 1
        if own.checked or len(self._behind) > BEHIND:
            async with self._to_draw() as behind:
                drawn = behind + own
                await self._write(lambda connection: journal.commit(connection, entry, drawn, follows))
        else:
            await self._write(lambda connection: journal.commit(connection, entry, Behind(), follows))
            self._draw_soon(own)
        self._last = entry.number

    async def projected(self) -> int:
        await self._draw()
        return await self._read(journal.projected)

    async def project(self, number: int, writes: Sequence[Write]) -> None:
        self._behind.take(tables.batch(number, writes))
        await self._draw()

    async def last_number(self) -> int:
        return await self._read(journal.last_number)

    async def read(self, after: int, limit: int = 1000) -> list[Entry]:
        return await self._read(lambda connection: journal.entries(connection, after, limit))

    async def save_snapshot(self, number: int, state: bytes) -> None:
        async with self._to_draw() as behind:
            await self._write(lambda connection: journal.save_snapshot(connection, number, state, behind))

    async def snapshot(self) -> tuple[int, bytes] | None:
        return await self._read(journal.snapshot)

    async def lease(self) -> Lease | None:
        return await self._read(journal.held_lease)

    async def take_lease(self, lease: Lease, previous: Lease | None) -> bool:
        return await self._write(lambda connection: journal.take_lease(connection, lease, previous))

    async def get(self, collection: str, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        wanted = list(ids)
        if any(behind.has(collection, wanted) for behind in self._waiting):
            await self._draw()
        return await self._read(lambda connection: tables.get(connection, collection, wanted))

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
        def look(connection: sqlite3.Connection) -> dict[str, dict[str, Any]]:
            return tables.find(connection, collection, where or {}, above, order, skip, limit)

        waiting = self._waiting
        if skip or any(behind.may_meet(collection, where or {}) for behind in waiting):
            await self._draw()
            waiting = ()
        found = await self._read(look)
        if any(behind.has(collection, found) for behind in waiting):  # one that was found has a later form
            await self._draw()
            found = await self._read(look)
        return list(found.values())

    async def count(self, collection: str, where: Mapping[str, Any] | None = None) -> int:
        if any(collection in behind.rows for behind in self._waiting):
            await self._draw()
        return await self._read(lambda connection: tables.count(connection, collection, where or {}))

    @property
    def _waiting(self) -> tuple[Behind, ...]:
        """What is not in the tables yet."""
        return self._taken, self._behind

    def _draw_soon(self, own: Behind) -> None:
        self._behind.take(own)
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(BEHIND_SECONDS, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._rung = asyncio.get_running_loop().create_task(self._draw_if_possible())

    async def _draw_if_possible(self) -> None:
        try:
            await self._draw()
        except TensorFleetError as error:  # the journal has it all, and they go with a later entry
            log.warning("documents were not written yet", documents=len(self._behind), error=error.message)

    async def _draw(self) -> None:
        """Writes all documents that wait."""
        async with self._to_draw() as behind:
            if behind:
                await self._write(lambda connection: journal.draw_alone(connection, behind))

    @asynccontextmanager
    async def _to_draw(self) -> AsyncIterator[Behind]:
        """What waits, for a transaction that writes it; where that fails, it waits on."""
        async with self._drawing:
            self._taken, self._behind = self._behind, Behind()
            try:
                yield self._taken
            except BaseException:
                self._behind = self._taken + self._behind
                raise
            finally:
                self._taken = Behind()

    async def _write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await self._lane(self._writing).run(work)

    async def _read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await self._lane(self._reading).run(work)

    def _lane(self, lane: "_Lane | None") -> "_Lane":
        if lane is None:
            raise Unavailable(f"The documents in {self.path} are not open.")
        return lane


class _Lane:
    """A connection and the one thread that uses it.

    What is done goes there by a queue and comes back as a callback: a commit waits for both ways, and the futures of an
    executor would cost it as much again.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._work: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def start(self, connect: Callable[[Path], sqlite3.Connection]) -> None:
        self._connection = await self._in_thread(lambda: connect(self._path))

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        connection = self._connection
        assert connection is not None
        return await self._in_thread(lambda: work(connection))

    async def stop(self) -> None:
        """Once all that was begun is done."""
        if self._connection is not None:
            await self._in_thread(self._connection.close)
        self._work.put(None)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        done: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._work.put((work, done))
        try:
            return await done
        except (sqlite3.OperationalError, OSError) as error:
            raise Unavailable(f"The documents in {self._path} cannot be used now: {error}.") from error
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise  # a subclass tells of a mistake of ours
            raise FailedPrecondition(f"{self._path} is damaged, or is no SQLite database: {error}.") from error

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, done = item
            try:
                tell = partial(_succeed, done, work())
            except Exception as error:
                tell = partial(_fail, done, error)
            with suppress(RuntimeError):  # nobody waits any more: the loop is closed
                done.get_loop().call_soon_threadsafe(tell)


def _succeed(done: asyncio.Future[_T], result: _T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)


def _connect_to_write(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        # Before anything is changed: a file of a newer release stays as it is.
        _refuse_newer(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        with journal.transaction(connection):
            _make_schema(connection, path)
    except BaseException:
        connection.close()
        raise
    _sync_directory(path.parent)
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA query_only = ON")
    return connection


def _make_schema(connection: sqlite3.Connection, path: Path) -> None:
    version = _refuse_newer(connection, path)
    if version < SCHEMA:
        journal.make_tables(connection, version)
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
    connection.execute(journal.LEASE)
    tables.make_tables(connection)


def _refuse_newer(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA:
        raise FailedPrecondition(
            f"{path} was written by a newer release of TensorFleet: its schema is {version}, and this release knows "
            f"up to {SCHEMA}. Use the newer release, or another home."
        )
    return version


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
