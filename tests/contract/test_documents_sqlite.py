"""SQLite keeps the contract of documents, and what SQLite alone promises."""

import asyncio
import sqlite3
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from tensorfleet.errors import FailedPrecondition, Unavailable
from tensorfleet.stores import sqlite, sqlite_tables
from tensorfleet.stores import sqlite_journal as journal
from tensorfleet.stores.collections import COLLECTIONS
from tensorfleet.stores.contract import DocumentStore, Entry, Write
from tensorfleet.stores.sqlite import SqliteDocuments
from tensorfleet.testing.documents import *  # noqa: F403
from tensorfleet.testing.documents_steps import entry, fill, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a home, 100% mine" / "documents.db"


@pytest.fixture
def documents_url(path: Path) -> str:
    return SqliteDocuments(path).url


@pytest.fixture
def store(documents: DocumentStore) -> SqliteDocuments:
    return cast(SqliteDocuments, documents)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents wait until they are asked for."""
    monkeypatch.setattr(sqlite, "BEHIND_SECONDS", 1000.0)


async def test_the_file_is_where_it_was_asked_for(store: SqliteDocuments, path: Path) -> None:
    assert store.path == path
    assert path.exists()


async def test_each_commit_is_synced(store: SqliteDocuments) -> None:
    def pragma(name: str) -> object:
        return store._write(lambda connection: connection.execute(f"PRAGMA {name}").fetchone()[0])

    assert await pragma("journal_mode") == "wal"  # type: ignore[misc]
    assert await pragma("synchronous") == 2  # type: ignore[misc]


async def test_documents_follow_their_entries_by_themselves(store: SqliteDocuments, path: Path) -> None:
    """Another process never sees half of them, nor one whose entry is not there."""
    other = sqlite3.connect(path)
    for number in range(1, 20):
        await store.commit(entry(number), [Write("jobs", str(index), {"turn": number}) for index in range(20)])
        turns = other.execute("SELECT DISTINCT json_extract(document, '$.turn') FROM jobs").fetchall()
        assert len(turns) <= 1
        assert max(turns, default=(0,)) <= other.execute("SELECT max(number) FROM journal").fetchone()
    while other.execute("SELECT max(number), count(*) FROM jobs").fetchone() != (19, 20):
        await asyncio.sleep(0.001)
    assert other.execute("SELECT number FROM drawn").fetchone() == (19,)
    other.close()


@pytest.mark.usefixtures("patient")
async def test_a_document_that_changes_again_at_once_is_written_once(store: SqliteDocuments, path: Path) -> None:
    written: list[str] = []
    await store._write(lambda connection: connection.set_trace_callback(written.append))
    for number, state in enumerate(("queued", "running", "succeeded"), 1):
        await store.commit(entry(number), [Write("jobs", "j", {"state": state})])
    assert await read(store, "j") == {"state": "succeeded"}
    assert len([statement for statement in written if 'INTO "jobs"' in statement]) == 1


@pytest.mark.usefixtures("patient")
async def test_what_was_not_drawn_when_a_process_died_is_to_be_projected(store: SqliteDocuments, path: Path) -> None:
    await store.commit(entry(1), [Write("jobs", "a", {"turn": 1})])
    assert await store.projected() == 1
    await store.commit(entry(2), [Write("jobs", "a", {"turn": 2})])
    await store.commit(entry(3), [Write("jobs", "b", {"turn": 3})])
    next_life = SqliteDocuments(path)
    await next_life.open()
    assert (await next_life.projected(), await next_life.last_number()) == (1, 3)
    await next_life.project(2, [Write("jobs", "a", {"turn": 2})])
    await next_life.project(3, [Write("jobs", "b", {"turn": 3})])
    assert await next_life.projected() == 3
    await next_life.commit(entry(4), [Write("jobs", "a", {"turn": 4})])
    assert await next_life.projected() == 4
    await store.close()  # what it still has is older
    assert await next_life.get("jobs", ["a", "b"]) == {"a": {"turn": 4}, "b": {"turn": 3}}
    await next_life.close()


@pytest.mark.usefixtures("patient")
async def test_a_gap_in_what_was_projected_is_not_passed_over(store: SqliteDocuments, path: Path) -> None:
    await store.commit(entry(1), [Write("jobs", "a", {"turn": 1})])
    next_life = SqliteDocuments(path)
    await next_life.open()
    await next_life.commit(entry(2), [Write("jobs", "a", {"turn": 2})])
    assert await next_life.projected() == 0
    await next_life.close()


@pytest.mark.usefixtures("patient")
async def test_documents_that_cannot_be_written_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(sqlite, "BEHIND", 3)
    store = SqliteDocuments(path)
    await store.open()
    await store.commit(entry(1), [Write("jobs", f"{index}", {"turn": 1}) for index in range(4)])
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match=r"documents\.db"):
        await read(store, "1")
    with pytest.raises(Unavailable, match=r"documents\.db"):
        await store.commit(entry(2), [Write("jobs", "1", {"turn": 2})])
    blocker.close()
    await store.commit(entry(2), [Write("jobs", "1", {"turn": 2})])
    assert await store._read(journal.projected) == 2, "those that were too many went with the entry"
    assert await store.get("jobs", ["0", "1"]) == {"0": {"turn": 1}, "1": {"turn": 2}}
    await store.close()


async def test_a_file_of_an_older_schema_goes_on(store: SqliteDocuments, path: Path) -> None:
    await fill(store, 3)
    await store.close()
    older = sqlite3.connect(path)
    older.executescript("DROP TABLE drawn; PRAGMA user_version = 1")
    older.close()
    await store.open()
    assert await store.projected() == 3
    await store.commit(entry(4), [Write("jobs", "j", {"turn": 4})])
    assert await store.projected() == 4


async def test_reads_do_not_wait_for_a_commit(store: SqliteDocuments, path: Path) -> None:
    await fill(store, 1)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    committing = asyncio.create_task(store.commit(entry(2), []))
    await asyncio.sleep(0)
    assert await store.last_number() == 1
    blocker.execute("ROLLBACK")
    blocker.close()
    await committing
    assert await store.last_number() == 2


async def test_a_locked_file_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.01)
    store = SqliteDocuments(path)
    await store.open()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match=r"documents\.db"):
        await store.commit(entry(1), [])
    blocker.close()
    await store.commit(entry(1), [])
    await store.close()


async def test_a_full_disk_is_unavailable_and_loses_nothing(store: SqliteDocuments, path: Path) -> None:
    await fill(store, 1)
    await store._write(lambda connection: connection.execute("PRAGMA max_page_count = 1"))
    big = Entry(2, 1, "a", bytes(100_000))
    with pytest.raises(Unavailable, match=r"documents\.db") as caught:
        await store.commit(big, [Write("jobs", "j", {})])
    assert "full" in caught.value.message
    assert await store.last_number() == 1
    await store._write(lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
    await store.commit(big, [Write("jobs", "j", {})])
    assert await read(store, "j") == {}


async def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    later = sqlite3.connect(path)
    later.execute("CREATE TABLE journal (what, only, a, later, release, knows)")
    later.execute("PRAGMA user_version = 7")
    later.close()
    before = path.read_bytes()
    with pytest.raises(FailedPrecondition, match=r"newer release.*7"):
        await SqliteDocuments(path).open()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"This is a diary, and no database. " * 100)
    with pytest.raises(FailedPrecondition, match=r"documents\.db"):
        await SqliteDocuments(path).open()
    assert path.read_bytes().startswith(b"This is a diary")


async def test_a_place_that_cannot_be_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"documents\.db"):
        await SqliteDocuments(tmp_path / "file" / "documents.db").open()


async def test_traces_of_deletions_go_with_the_snapshot(store: SqliteDocuments) -> None:
    await store.commit(entry(1), [Write("jobs", "a", None), Write("jobs", "b", None)])
    await store.commit(entry(2), [Write("jobs", "c", None)])
    assert await store.projected() == 2

    def traces() -> object:
        return store._read(lambda connection: connection.execute("SELECT id FROM tombstones").fetchall())

    assert await traces() == [("a",), ("b",), ("c",)]  # type: ignore[misc]
    await store.save_snapshot(1, b"")
    assert await traces() == [("c",)]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("collection", "fields"),
    [(one.name, fields) for one in COLLECTIONS.values() for fields in one.indexes],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
async def test_declared_fields_are_looked_up_by_index(
    store: SqliteDocuments, collection: str, fields: tuple[str, ...]
) -> None:
    """Found by all of the fields, and found by those before the last, newest first: without a sort."""
    queries: tuple[tuple[dict[str, str], list[str]], ...] = (
        (dict.fromkeys(fields, "x"), []),
        (dict.fromkeys(fields[:-1], "x"), [f"-{fields[-1]}"]),
    )
    for where, order in queries:
        statement, values = sqlite_tables.find_statement(collection, where, None, order)
        rows = await store._read(partial(_plan, statement, [*values, 50, 0]))
        way = "SEARCH" if where else "SCAN"
        assert [row.partition(" (")[0] for row in rows] == [
            f"{way} {collection} USING INDEX {collection}:{'+'.join(fields)}"
        ]


def _plan(statement: str, values: list[object], connection: sqlite3.Connection) -> list[str]:
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


async def test_indexes_follow_their_declaration(store: SqliteDocuments) -> None:
    await store._write(lambda connection: connection.execute('CREATE INDEX "jobs:forgotten" ON jobs (number)'))
    await store._write(lambda connection: connection.execute('DROP INDEX "tasks:job_id+stage+first"'))
    await store.close()
    await store.open()
    rows = await store._read(
        lambda connection: connection.execute(
            "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE % ON %' AND type = 'index'"
        ).fetchall()
    )
    expected = {f"{one.name}:{'+'.join(fields)}" for one in COLLECTIONS.values() for fields in one.indexes}
    expected |= {f"{one.name}:{'+'.join(fields)}:unique" for one in COLLECTIONS.values() for fields in one.unique}
    assert {name for (name,) in rows} == expected
