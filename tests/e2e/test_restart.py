"""Kill the orchestrator at any moment: the job goes on, its running attempts with it."""

from pathlib import Path

import pytest

from tensorfleet import AsyncClient
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.sdk.events import AttemptFailed, Event, TasksAssigned, TasksSucceeded
from tests.e2e.stores import Stores

SPEC = {"algorithm": "random_forest", "hyperparameters": {"n_estimators": 40}}
LONG = "synthetic:classification?rows=12000&features=20&classes=3&seed=1"


async def calm(folder: Path, name: str) -> str:
    async with AsyncLocalFleet(folder / "calm", workers=2) as fleet, AsyncClient(fleet.address) as client:
        return (await (await client.train(name, **SPEC)).result()).sha256


async def test_the_orchestrator_is_killed_and_running_attempts_go_on(tmp_path: Path, stores: Stores) -> None:
    expected = await calm(tmp_path, LONG)
    stores.anew()
    async with AsyncLocalFleet(tmp_path / "home", workers=2) as fleet, AsyncClient(fleet.address) as client:
        job = await client.train(LONG, **SPEC)
        events: list[Event] = []
        running: list[tuple[str, int]] = []
        async for event in job.watch():
            events.append(event)
            fits = sum(len(e.indexes) for e in events if isinstance(e, TasksSucceeded) and e.stage == "fit")
            if not running and fits >= 2:
                given = [e for e in events if isinstance(e, TasksAssigned) and reached(e, event)]
                reachable = [task for e in given for task in tasks(e)]
                if len(reachable) > 4:
                    running = reachable
                    await fleet.restart_orchestrator()
        assert running
        assert (await job.result()).sha256 == expected
    assigned = [task for event in events if isinstance(event, TasksAssigned) for task in tasks(event)]
    assert [assigned.count(task) for task in running] == [1] * len(running), "an attempt that ran was started anew"
    assert not [event for event in events if isinstance(event, AttemptFailed)]
    assert len({event.cursor for event in events}) == len(events)


def tasks(event: TasksAssigned | TasksSucceeded) -> list[tuple[str, int]]:
    return [(event.stage, index) for index in event.indexes]


def reached(assigned: TasksAssigned, last: Event) -> bool:
    """Whether its worker has heard of it. Of an assignment in the journal's newest entry it may not have."""
    return int(assigned.cursor.partition(".")[0]) < int(last.cursor.partition(".")[0])


@pytest.mark.parametrize("kills", [3])
async def test_it_is_killed_again_and_again(tmp_path: Path, stores: Stores, kills: int) -> None:
    expected = await calm(tmp_path, "digits")
    stores.anew()
    async with AsyncLocalFleet(tmp_path / "home", workers=2) as fleet, AsyncClient(fleet.address) as client:
        job = await client.train("digits", **SPEC)
        succeeded: list[tuple[str, int]] = []
        due = 3
        async for event in job.watch():
            if isinstance(event, TasksSucceeded):
                succeeded += tasks(event)
                if len(succeeded) >= due and kills:
                    due = len(succeeded) + 3
                    kills -= 1
                    await fleet.restart_orchestrator()
        assert kills == 0
        assert (await job.result()).sha256 == expected
        assert len(succeeded) == len(set(succeeded)) == job.tasks.total


async def test_a_submission_is_durable_and_its_request_is_known(tmp_path: Path, stores: Stores) -> None:
    async with AsyncLocalFleet(tmp_path / "home", workers=1) as fleet, AsyncClient(fleet.address) as client:
        from tensorfleet.model import JobSpec

        spec = JobSpec(dataset="iris", algorithm="decision_tree")
        first = await client.jobs.submit(spec, request_id="once")
        await fleet.restart_orchestrator()
        again = await client.jobs.submit(spec, request_id="once")
        assert again.id == first.id
        await again.result()
        late = await client.jobs.submit(spec, request_id="once")
        assert late.id == first.id
