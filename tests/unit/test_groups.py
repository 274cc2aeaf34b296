"""A group of records that takes several journal entries: each entry draws what is its own."""

import asyncio
from collections.abc import Sequence

import pytest

from orchestrator import groups
from orchestrator.core import records as r
from orchestrator.core.entries import decode
from orchestrator.core.events import Submission, SubmitJobs
from orchestrator.core.state import Settings
from orchestrator.engine import Engine
from tensorfleet.model import JobSpec, Resolved
from tensorfleet.stores.contract import Entry, Write
from tensorfleet.testing.simulated.documents import Database, MemoryDocuments

JOBS = ("j0", "j1", "j2")


class Dying(MemoryDocuments):
    """Takes entries up to one, and then never answers."""

    last = 3

    async def commit(self, entry: Entry, writes: Sequence[Write]) -> None:
        if entry.number > self.last:
            await asyncio.Event().wait()
        await super().commit(entry, writes)


async def started(documents: MemoryDocuments) -> Engine:
    await documents.open()
    engine = Engine(documents, "a", Settings())
    await engine.start()
    return engine


async def submit(engine: Engine) -> None:
    spec = JobSpec(algorithm="noop", hyperparameters={"tasks": 1, "rounds": 1})
    submissions = tuple(Submission(job, "", spec, Resolved()) for job in JOBS)
    await engine.ask(lambda ticket: SubmitJobs(ticket, submissions))


@pytest.fixture(autouse=True)
def each_record_fills_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "FULL", 1)


async def test_each_entry_has_its_own_events() -> None:
    engine = await started(MemoryDocuments(database := Database()))
    await submit(engine)
    await engine.stop()
    accepted = {
        record.job: number
        for number, entry in database.journal.items()
        for record in decode(entry.records)
        if isinstance(record, r.JobAccepted)
    }
    assert sorted(accepted.values()) == [2, 3, 4]
    assert {kept.id for kept in database.all("events")} == {f"{job}:{n:012d}" for job, n in accepted.items()}


async def test_what_is_durable_is_drawn_also_where_the_rest_of_its_group_is_lost() -> None:
    engine = await started(Dying(database := Database()))
    asking = asyncio.create_task(submit(engine))
    reader = MemoryDocuments(database)
    await reader.open()
    while await reader.last_number() < Dying.last:
        await asyncio.sleep(0)
    asking.cancel()
    another = await started(MemoryDocuments(database))
    assert set(another.state.jobs) == {"j0", "j1"}
    assert set(await reader.get("jobs", JOBS)) == {"j0", "j1"}
    await another.stop()
    engine.abandon()
    await engine.stop()
