"""The journal and its documents in one SQLite file: the default, with nothing to install.

The rule: an entry and its writes are one transaction, and it has reached the disk (WAL, synchronous=FULL) before
`commit` returns. One thread writes; another reads over its own connection, so no reader waits for a commit.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

from tensorfleet.errors import Deposed, FailedPrecondition, Unavailable
from tensorfleet.stores import sqlite_tables as tables
from tensorfleet.stores.contract import MAX_RECORDS, Entry, Lease, Write

SCHEMA = 1
BUSY_SECONDS = 5.0
LOG_BYTES = 64 * 1024 * 1024
"""What the write-ahead log's file shrinks to once a burst is over."""

_T = TypeVar("_T")

_LEASE = """
CREATE TABLE IF NOT EXISTS lease (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    holder TEXT NOT NULL, address TEXT NOT NULL, beat INTEGER NOT NULL, seconds REAL NOT NULL
)
"""

_JOURNAL = """
CREATE TABLE journal (number INTEGER PRIMARY KEY, term INTEGER NOT NULL, writer TEXT NOT NULL, records BLOB NOT NULL)
"""
_SNAPSHOT = """
CREATE TABLE snapshot (only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL, state BLOB NOT NULL)
"""


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
        self._last = -1  # the number of the last entry committed here

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
        lanes, self._reading, self._writing = (self._reading, self._writing), None, None
        for lane in lanes:  # the writer last: whoever closes last folds the log into the file
            if lane is not None:
                await lane.stop()

    async def commit(self, entry: Entry, writes: Sequence[Write]) -> None:
        if len(entry.records) > MAX_RECORDS:
            raise ValueError(f"an entry holds at most {MAX_RECORDS} bytes of records, not {len(entry.records)}")
        rows, follows = tables.batch(writes), entry.number == self._last + 1
        await self._write(lambda connection: _commit(connection, entry, rows, follows))
        self._last = entry.number

    async def projected(self) -> int:
        return await self.last_number()  # an entry and its writes are one transaction

    async def project(self, number: int, writes: Sequence[Write]) -> None:
        rows = tables.batch(writes)
        await self._write(lambda connection: _project(connection, number, rows))

    async def last_number(self) -> int:
        return await self._read(_last_number)

    async def read(self, after: int, limit: int = 1000) -> list[Entry]:
        return await self._read(lambda connection: _entries(connection, after, limit))

    async def save_snapshot(self, number: int, state: bytes) -> None:
        await self._write(lambda connection: _save_snapshot(connection, number, state))

    async def snapshot(self) -> tuple[int, bytes] | None:
        return await self._read(_snapshot)

    async def lease(self) -> Lease | None:
        return await self._read(_lease)

    async def take_lease(self, lease: Lease, previous: Lease | None) -> bool:
        return await self._write(lambda connection: _take_lease(connection, lease, previous))

    async def get(self, collection: str, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        wanted = list(ids)
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
        return await self._read(
            lambda connection: tables.find(connection, collection, where or {}, above, order, skip, limit)
        )

    async def count(self, collection: str, where: Mapping[str, Any] | None = None) -> int:
        return await self._read(lambda connection: tables.count(connection, collection, where or {}))

    async def _write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await self._lane(self._writing).run(work)

    async def _read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await self._lane(self._reading).run(work)

    def _lane(self, lane: "_Lane | None") -> "_Lane":
        if lane is None:
            raise Unavailable(f"The documents in {self.path} are not open.")
        return lane


class _Lane:
    """A connection and the one thread that uses it."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._connection: sqlite3.Connection | None = None

    async def start(self, connect: Callable[[Path], sqlite3.Connection]) -> None:
        self._connection = await self._in_thread(lambda: connect(self._path))

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        connection = self._connection
        assert connection is not None
        return await self._in_thread(lambda: work(connection))

    async def stop(self) -> None:
        if self._connection is not None:
            await self._in_thread(self._connection.close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.OperationalError, OSError) as error:
            raise Unavailable(f"The documents in {self._path} cannot be used now: {error}.") from error
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise  # a subclass tells of a mistake of ours
            raise FailedPrecondition(f"{self._path} is damaged, or is no SQLite database: {error}.") from error


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
        with _transaction(connection):
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
    if _refuse_newer(connection, path) < SCHEMA:
        connection.execute(_JOURNAL)
        connection.execute(_SNAPSHOT)
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
    connection.execute(_LEASE)
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


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _commit(connection: sqlite3.Connection, entry: Entry, rows: tables.Batch, follows: bool) -> None:
    """follows: the entry before it was committed over this connection, so that this one cannot leave a gap."""
    with _transaction(connection):
        last = entry.number - 1 if follows else _last_number(connection)
        if entry.number > last + 1 or entry.number < 1:
            raise ValueError(f"entry {entry.number} cannot follow entry {last}")
        if entry.number <= last:
            _check_own(connection, entry)
            return
        try:
            connection.execute(
                "INSERT INTO journal (number, term, writer, records) VALUES (?, ?, ?, ?)",
                (entry.number, entry.term, entry.writer, entry.records),
            )
        except sqlite3.IntegrityError:  # another has gone on from here since
            _check_own(connection, entry)
            return
        tables.apply(connection, entry.number, rows)


def _check_own(connection: sqlite3.Connection, entry: Entry) -> None:
    """Accepts an entry that is there already, with its writes; refuses any other of its number."""
    if _entries(connection, entry.number - 1, 1) == [entry]:
        return
    raise Deposed(f"Entry {entry.number} of the journal is taken: another orchestrator has gone on from here.")


def _project(connection: sqlite3.Connection, number: int, rows: tables.Batch) -> None:
    with _transaction(connection):
        kept = connection.execute("SELECT number FROM snapshot").fetchone()
        if kept is None or number > kept[0]:  # what a snapshot holds was applied, and its deletions are forgotten
            tables.apply(connection, number, rows)


def _last_number(connection: sqlite3.Connection) -> int:
    row = connection.execute(
        "SELECT max(coalesce((SELECT max(number) FROM journal), 0), coalesce((SELECT number FROM snapshot), 0))"
    ).fetchone()
    return int(row[0])


def _entries(connection: sqlite3.Connection, after: int, limit: int) -> list[Entry]:
    rows = connection.execute(
        "SELECT number, term, writer, records FROM journal WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
    )
    return [Entry(*row) for row in rows]


def _save_snapshot(connection: sqlite3.Connection, number: int, state: bytes) -> None:
    with _transaction(connection):
        if not 1 <= number <= _last_number(connection):
            raise ValueError(f"there is no entry {number} to keep a snapshot of")
        there = connection.execute("SELECT number FROM snapshot").fetchone()
        if there is not None and there[0] >= number:
            return
        connection.execute("INSERT OR REPLACE INTO snapshot (only, number, state) VALUES (1, ?, ?)", (number, state))
        # The first entry of each term stays for good: a deposed leader's next number is then always taken.
        connection.execute(
            "DELETE FROM journal WHERE number <= ? AND number NOT IN (SELECT min(number) FROM journal GROUP BY term)",
            (number,),
        )
        tables.forget_deletions(connection, number)


def _snapshot(connection: sqlite3.Connection) -> tuple[int, bytes] | None:
    row = connection.execute("SELECT number, state FROM snapshot").fetchone()
    return None if row is None else (int(row[0]), bytes(row[1]))


def _lease(connection: sqlite3.Connection) -> Lease | None:
    row = connection.execute("SELECT holder, address, beat, seconds FROM lease").fetchone()
    return None if row is None else Lease(*row)


def _take_lease(connection: sqlite3.Connection, lease: Lease, previous: Lease | None) -> bool:
    with _transaction(connection):
        if _lease(connection) != previous:
            return False
        connection.execute(
            "INSERT OR REPLACE INTO lease (only, holder, address, beat, seconds) VALUES (1, ?, ?, ?, ?)",
            (lease.holder, lease.address, lease.beat, lease.seconds),
        )
        return True
