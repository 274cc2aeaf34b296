"""A training that runs is paused, goes on, saves and ends early; its model is the same, whatever happens meanwhile."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tensorfleet import AsyncClient, catalog, direct
from tensorfleet.client import AsyncJob
from tensorfleet.errors import FailedPrecondition, NotFound
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.model import JobSpec, JobState
from tensorfleet.sdk.events import Event, StateChanged, TaskReported, TaskSaved, TasksSucceeded
from tests.rounds import plugin

DATA = "synthetic:classification?rows=900&features=6&classes=3&seed=2"
GIVEN: dict[str, Any] = {"way": "rounds", "replicas": 2, "local_steps": 6, "epochs": 2, "keep": "last"}


@pytest.fixture(autouse=True)
def toys(tmp_path: Path, found_from_anywhere: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy family is known here and to all that is started; there it takes its time."""
    site = plugin.installed(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(site)]))
    monkeypatch.setenv("TOY_STEP", "0.1")
    with plugin.known():
        yield


@pytest.fixture
async def fleet(tmp_path: Path, toys: None) -> AsyncIterator[AsyncLocalFleet]:
    """Two workers, where what is paused holds its place for half a second."""
    home = tmp_path / "home"
    async with AsyncLocalFleet(home, workers=2, worker_options=["--hold", "0.5"]) as fleet:
        yield fleet


def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **given: Any) -> str:
    """The model's digest, trained in one process, of which nobody reaches into any task."""
    spec, wrong = catalog.validate(JobSpec(dataset=DATA, algorithm="toy", hyperparameters={**GIVEN, **given}))
    assert not wrong
    with monkeypatch.context() as patch:
        patch.delenv("TOY_STEP")
        result = direct.run(spec, objects=tmp_path / "direct").result
    assert result.model is not None
    return result.model.sha256


class Watch:
    """A job's events, one after another, as far as somebody waits for them."""

    def __init__(self, job: AsyncJob) -> None:
        self.seen: list[Event] = []
        self._events = job.watch()

    async def until(self, what: Callable[[Event], bool]) -> Event:
        async for event in self._events:
            self.seen.append(event)
            if what(event):
                return event
        raise AssertionError("the job has ended before")

    async def steps(self, count: int, stage: str = "round-") -> None:
        """Waits for so many steps."""
        for _ in range(count):
            await self.until(lambda event: isinstance(event, TaskReported) and event.stage.startswith(stage))

    async def rest(self) -> list[Event]:
        """All there is, to the end."""
        async for event in self._events:
            self.seen.append(event)
        return self.seen


def gone_on(events: list[Event]) -> set[tuple[str, int]]:
    """The tasks of which an attempt went on from what another had saved."""
    told = [event for event in events if isinstance(event, TaskReported)]
    return {(event.stage, event.index) for event in told for point in event.points if point.series == "gone on from"}


async def begun(client: AsyncClient) -> AsyncJob:
    return await client.train(DATA, algorithm="toy", hyperparameters=GIVEN)


async def test_what_holds_its_place_goes_on_in_it(
    client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(tmp_path, monkeypatch)
    job = await begun(client)
    watch = Watch(job)
    await watch.steps(2)
    await job.pause("lunch")
    assert job.state is JobState.PAUSED
    assert job.info.paused_at is not None
    assert "jobs resume" in job.info.pending_reason
    assert (await client.jobs.explain(job.id)).summary == job.info.pending_reason
    assert (await job.pause()).state is JobState.PAUSED
    await job.resume()
    assert job.state is JobState.RUNNING
    assert (await job.resume()).info.paused_at is None
    events = await watch.rest()
    states = [(event.state, event.reason) for event in events if isinstance(event, StateChanged)]
    assert (JobState.PAUSED, "lunch") in states
    assert (JobState.RUNNING, "it was resumed") in states
    assert (await job.result()).sha256 == expected
    for steer in (job.pause, job.resume, job.checkpoint, job.stop):
        with pytest.raises(FailedPrecondition, match="has ended"):
            await steer()
    with pytest.raises(NotFound):
        await client.jobs.pause("none")


async def test_what_is_paused_for_long_gives_up_its_place_and_goes_on_from_what_it_saved(
    client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(tmp_path, monkeypatch)
    job = await begun(client)
    watch = Watch(job)
    await watch.steps(2)
    await job.pause()
    saved = [await watch.until(lambda event: isinstance(event, TaskSaved)) for _ in range(2)]
    while any(worker.running for worker in await client.workers.list()):
        await asyncio.sleep(0.05)
    await job.refresh()
    assert (job.state, job.tasks.running) == (JobState.PAUSED, 0)
    other = await client.jobs.run(JobSpec(dataset="iris", algorithm="decision_tree"))
    assert other.state is JobState.SUCCEEDED, "the slots are free"
    await job.resume()
    events = await watch.rest()
    assert gone_on(events) == {(each.stage, each.index) for each in saved if isinstance(each, TaskSaved)}
    assert (await job.result()).sha256 == expected


async def test_after_a_checkpoint_a_death_costs_what_came_since(
    client: AsyncClient, fleet: AsyncLocalFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(tmp_path, monkeypatch)
    job = await begun(client)
    watch = Watch(job)
    await watch.steps(2)
    assert await job.checkpoint() >= 1
    saved = await watch.until(lambda event: isinstance(event, TaskSaved))
    assert isinstance(saved, TaskSaved)
    await fleet.kill_worker(list(fleet.worker_pids).index(saved.worker))
    assert (saved.stage, saved.index) in gone_on(await watch.rest())
    assert (await job.result()).sha256 == expected


async def test_a_pause_outlives_the_orchestrator(
    client: AsyncClient, fleet: AsyncLocalFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(tmp_path, monkeypatch)
    job = await begun(client)
    watch = Watch(job)
    await watch.steps(2)
    await job.pause()
    await fleet.restart_orchestrator()
    await job.refresh()
    assert job.state is JobState.PAUSED
    await job.resume()
    await watch.rest()
    assert (await job.result()).sha256 == expected


async def test_a_training_that_is_stopped_keeps_what_its_finished_rounds_made(
    client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(tmp_path, monkeypatch, epochs=1)
    job = await begun(client)
    watch = Watch(job)
    await watch.until(lambda event: isinstance(event, TasksSucceeded) and event.stage == "reduce-1")
    await watch.steps(2, "round-2")
    await job.stop("good enough")
    events = await watch.rest()
    assert any(isinstance(event, StateChanged) and "good enough" in event.reason for event in events)
    assert (await job.result()).sha256 == expected
    assert not [worker.running for worker in await client.workers.list() if worker.running]


async def test_what_has_no_rounds_is_cancelled_instead(client: AsyncClient) -> None:
    job = await client.train("synthetic:classification?rows=20000&features=50&classes=7&seed=1", algorithm="svm")
    with pytest.raises(FailedPrecondition, match="a training of svm has no rounds to stop after; cancel it instead"):
        await job.stop()
    await job.pause()
    await job.cancel()
    assert job.state is JobState.CANCELLED
