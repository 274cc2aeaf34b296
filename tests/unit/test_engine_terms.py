"""Two engines on one journal: the one whose term is over can change nothing, and the other misses nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest
import pytest_asyncio

from orchestrator.core import events as e
from orchestrator.core.snapshot import capture
from orchestrator.core.state import Settings
from orchestrator.engine import Engine
from tensorfleet.errors import Deposed, Unavailable
from tensorfleet.model import JobSpec, Resolved
from tensorfleet.stores.contract import Entry, Write
from tensorfleet.stores.sqlite import SqliteDocuments

Hook: TypeAlias = Callable[[], Awaitable[object]]


async def nothing() -> None:
    pass


class Documents(SqliteDocuments):
    """before_commit, after_snapshot: what happens once, then."""

    before_commit: Hook = staticmethod(nothing)
    after_snapshot: Hook = staticmethod(nothing)

    async def commit(self, entry: Entry, writes: Sequence[Write]) -> None:
        hook, self.before_commit = self.before_commit, nothing
        await hook()
        await super().commit(entry, writes)

    async def snapshot(self) -> tuple[int, bytes] | None:
        found = await super().snapshot()
        hook, self.after_snapshot = self.after_snapshot, nothing
        await hook()
        return found


@pytest_asyncio.fixture
async def documents(tmp_path: Path) -> AsyncIterator[Documents]:
    store = Documents(tmp_path / "documents.db")
    await store.open()
    yield store
    await store.close()


@pytest_asyncio.fixture
async def old(documents: Documents) -> AsyncIterator[Engine]:
    engine = Engine(documents, "old", Settings())
    await engine.start()
    yield engine
    await engine.stop()


@pytest_asyncio.fixture
async def new(documents: Documents) -> AsyncIterator[Engine]:
    """Not started."""
    engine = Engine(documents, "new", Settings())
    yield engine
    await engine.stop()


async def submit(engine: Engine, job: str) -> None:
    spec = JobSpec(algorithm="noop", hyperparameters={"tasks": 1})
    await engine.ask(lambda ticket: e.SubmitJobs(ticket, (e.Submission(job, "", spec, Resolved()),)))


def ending(engine: Engine) -> asyncio.Future[None]:
    assert engine.failed is not None
    return engine.failed


async def terms(documents: Documents) -> list[int]:
    return [entry.term for entry in await documents.read(0)]


async def test_who_is_deposed_commits_nothing_more(documents: Documents, old: Engine, new: Engine) -> None:
    await new.start()
    with pytest.raises(Unavailable):
        await submit(old, "late")
    with pytest.raises(Deposed):
        await ending(old)
    await submit(new, "j")
    assert await terms(documents) == [1, 2, 2]
    assert await documents.get("jobs", ["late"]) == {}


async def test_a_commit_on_its_way_is_refused_when_another_began_meanwhile(
    documents: Documents, old: Engine, new: Engine
) -> None:
    documents.before_commit = new.start
    with pytest.raises(Unavailable):
        await submit(old, "late")
    with pytest.raises(Deposed):
        await ending(old)
    assert "late" not in new.state.jobs
    assert await documents.get("jobs", ["late"]) == {}


async def test_what_was_written_just_before_the_first_entry_of_a_term_belongs_to_it(
    documents: Documents, old: Engine, new: Engine
) -> None:
    documents.before_commit = lambda: submit(old, "j")
    await new.start()
    assert "j" in new.state.jobs
    assert new.state.term == 2
    assert await terms(documents) == [1, 1, 2]


async def test_a_journal_that_is_compacted_while_it_is_read_is_read_again(
    documents: Documents, old: Engine, new: Engine
) -> None:
    await submit(old, "a")
    await documents.save_snapshot(old.number, capture(old.state))

    async def compact() -> None:
        await submit(old, "b")
        await submit(old, "c")
        await documents.save_snapshot(old.number, capture(old.state))
        await submit(old, "d")

    documents.after_snapshot = compact
    await new.start()
    assert sorted(new.state.jobs) == ["a", "b", "c", "d"]


async def test_an_engine_whose_store_is_away_can_be_stopped(documents: Documents, old: Engine) -> None:
    refused = asyncio.Event()

    async def away() -> None:
        refused.set()
        raise Unavailable("the store is away")

    documents.before_commit = away
    asking = asyncio.create_task(submit(old, "j"))
    await refused.wait()
    await old.stop()
    with pytest.raises(Unavailable):
        await asking
