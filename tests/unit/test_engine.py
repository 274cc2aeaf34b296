"""The engine over a real store: what it keeps while it is busy, and what another finds after it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator import engine as engines
from orchestrator.core import commands as c
from orchestrator.core import events as e
from orchestrator.core.state import Settings
from orchestrator.engine import Engine
from orchestrator.watch import Happening
from tensorfleet.model import JobSpec, Resolved, TaskResult
from tensorfleet.stores.sqlite import SqliteDocuments
from tests.simulation.fleet import info

TASKS = 600


class Busy:
    """A worker that ends each task as soon as it hears of it, so that something always waits to be committed."""

    def __init__(self, engine: Engine, ends: int) -> None:
        self.engine, self.ends = engine, ends
        engine.to_worker = self.hear
        engine.feed(e.OpenSession(1, info("w", slots=8, credit=8), 1, 1, {}, (), ()))

    def hear(self, command: c.ToWorker) -> None:
        if isinstance(command, c.Assign):
            tokens = range(command.token, command.token + min(len(command.tasks), self.ends))
            self.ends -= len(tokens)
            self.engine.feed(*(self._ended(token) for token in tokens))

    def _ended(self, token: int) -> e.Finished:
        return e.Finished(
            worker="w",
            session=1,
            token=token,
            result=TaskResult(),
            cause=None,
            reason="",
            message="",
            log_tail=(),
            duration=0.001,
            last_report=0,
            started=True,
        )


@asynccontextmanager
async def running(documents: SqliteDocuments) -> AsyncIterator[Engine]:
    engine = Engine(documents, "test", Settings())
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def submit(engine: Engine, tasks: int) -> None:
    spec = JobSpec(algorithm="noop", hyperparameters={"tasks": tasks})
    await engine.ask(lambda ticket: e.SubmitJobs(ticket, (e.Submission("j", "", spec, Resolved()),)))


async def ran(engine: Engine, tasks: int) -> None:
    """Waits until so many tasks are known to have run, and that is durable."""
    ends = 0
    async for happenings in engine.watch("j"):
        ends += len(succeeded(happenings))
        if ends == tasks:
            return


def succeeded(happenings: list[Happening]) -> list[int]:
    """The indexes of the tasks that they tell the results of."""
    runs = [happening.event for happening in happenings if happening.event["type"] == "TasksSucceeded"]
    return [index for run in runs for index in run["indexes"]]


@pytest.fixture
async def documents(tmp_path: Path) -> AsyncIterator[SqliteDocuments]:
    store = SqliteDocuments(tmp_path / "documents.db")
    await store.open()
    yield store
    await store.close()


async def test_a_snapshot_is_taken_while_there_is_work(
    documents: SqliteDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "SNAPSHOT_BYTES", 20_000)
    async with running(documents) as engine:
        Busy(engine, TASKS // 2)
        await submit(engine, TASKS)
        await ran(engine, TASKS // 2)
    kept = await documents.snapshot()
    assert kept is not None
    assert len(await documents.read(kept[0])) < 100, "a restart has little to read beside it"
    async with running(documents) as engine:
        assert engine.state.jobs["j"].run == TASKS // 2
        Busy(engine, TASKS)
        ends = [index async for happenings in engine.watch("j") for index in succeeded(happenings)]
        assert sorted(ends) == list(range(TASKS))
    assert (await documents.get("jobs", ["j"]))["j"]["run"] == TASKS


async def test_a_large_state_is_not_written_again_and_again(
    documents: SqliteDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "SNAPSHOT_BYTES", 1_000)
    written: list[int] = []

    async def save(number: int, state: bytes) -> None:
        written.append(len(state))

    monkeypatch.setattr(documents, "save_snapshot", save)
    async with running(documents) as engine:
        Busy(engine, TASKS)
        await submit(engine, 100_000)
        await ran(engine, TASKS)
    journaled = sum(len(entry.records) for entry in await documents.read(0))
    entries = await documents.last_number()
    assert sum(written) <= 2 * (journaled + entries * engines.ENTRY_BYTES) + max(written)


async def test_what_leaves_nothing_to_commit_holds_up_nobody(
    documents: SqliteDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle fleet's heartbeats, however many, are no backlog."""
    monkeypatch.setattr(engines, "BACKLOG", 10)
    async with running(documents) as engine:
        Busy(engine, 0)
        await submit(engine, 1)
        for _ in range(30):
            engine.feed(e.Heartbeat("w", 1, {}, 0.0, 0, ()))
            await asyncio.sleep(0)
        await asyncio.wait_for(engine.room(), 5.0)
