"""The journal as rows of SQLite: entries, how far their documents are drawn, the snapshot and the lease.

The rule: each function that writes is one transaction, and an entry that is there is never replaced.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from tensorfleet.errors import Deposed
from tensorfleet.stores import sqlite_tables as tables
from tensorfleet.stores.behind import Behind
from tensorfleet.stores.contract import Entry, Lease

LEASE = """
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
_DRAWN = """
CREATE TABLE drawn (only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL)
"""


def make_tables(connection: sqlite3.Connection, schema: int) -> None:
    """Makes what a file of an older schema lacks; 0 is an empty one."""
    if schema < 1:
        connection.execute(_JOURNAL)
        connection.execute(_SNAPSHOT)
    if schema < 2:
        connection.execute(_DRAWN)
        connection.execute("INSERT INTO drawn (only, number) VALUES (1, ?)", (last_number(connection),))


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def commit(connection: sqlite3.Connection, entry: Entry, behind: Behind, follows: bool) -> None:
    """follows: the entry before it was committed over this connection, so that this one cannot leave a gap."""
    if follows and not behind:
        _append(connection, entry)  # one statement is a transaction of its own
        return
    with transaction(connection):
        last = last_number(connection)
        if entry.number > last + 1 or entry.number < 1:
            raise ValueError(f"entry {entry.number} cannot follow entry {last}")
        if entry.number <= last:
            _check_own(connection, entry)
        else:
            _append(connection, entry)
        _draw(connection, behind)


def _append(connection: sqlite3.Connection, entry: Entry) -> None:
    try:
        connection.execute(
            "INSERT INTO journal (number, term, writer, records) VALUES (?, ?, ?, ?)",
            (entry.number, entry.term, entry.writer, entry.records),
        )
    except sqlite3.IntegrityError:  # another has gone on from here since
        _check_own(connection, entry)


def _check_own(connection: sqlite3.Connection, entry: Entry) -> None:
    """Accepts an entry that is there already, with its writes; refuses any other of its number."""
    if entries(connection, entry.number - 1, 1) == [entry]:
        return
    raise Deposed(f"Entry {entry.number} of the journal is taken: another orchestrator has gone on from here.")


def draw_alone(connection: sqlite3.Connection, behind: Behind) -> None:
    with transaction(connection):
        _draw(connection, behind)


def _draw(connection: sqlite3.Connection, behind: Behind) -> None:
    """Writes documents, and notes up to where all are there."""
    if not behind:
        return
    # What a snapshot holds was drawn, and its deletions are forgotten.
    (kept,) = connection.execute("SELECT coalesce(max(number), 0) FROM snapshot").fetchone()
    tables.apply(connection, behind.rows, kept)
    connection.execute(
        "UPDATE drawn SET number = ?2 WHERE number >= ?1 - 1 AND number < ?2", (behind.first, behind.last)
    )


def projected(connection: sqlite3.Connection) -> int:
    row = connection.execute(
        "SELECT max((SELECT number FROM drawn), coalesce((SELECT number FROM snapshot), 0))"
    ).fetchone()
    return int(row[0])


def last_number(connection: sqlite3.Connection) -> int:
    row = connection.execute(
        "SELECT max(coalesce((SELECT max(number) FROM journal), 0), coalesce((SELECT number FROM snapshot), 0))"
    ).fetchone()
    return int(row[0])


def entries(connection: sqlite3.Connection, after: int, limit: int) -> list[Entry]:
    rows = connection.execute(
        "SELECT number, term, writer, records FROM journal WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
    )
    return [Entry(*row) for row in rows]


def save_snapshot(connection: sqlite3.Connection, number: int, state: bytes, behind: Behind) -> None:
    with transaction(connection):
        _draw(connection, behind)
        if not 1 <= number <= last_number(connection):
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


def snapshot(connection: sqlite3.Connection) -> tuple[int, bytes] | None:
    row = connection.execute("SELECT number, state FROM snapshot").fetchone()
    return None if row is None else (int(row[0]), bytes(row[1]))


def held_lease(connection: sqlite3.Connection) -> Lease | None:
    row = connection.execute("SELECT holder, address, beat, seconds FROM lease").fetchone()
    return None if row is None else Lease(*row)


def take_lease(connection: sqlite3.Connection, lease: Lease, previous: Lease | None) -> bool:
    with transaction(connection):
        if held_lease(connection) != previous:
            return False
        connection.execute(
            "INSERT OR REPLACE INTO lease (only, holder, address, beat, seconds) VALUES (1, ?, ?, ?, ?)",
            (lease.holder, lease.address, lease.beat, lease.seconds),
        )
        return True
