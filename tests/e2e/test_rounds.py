"""Training by rounds on a fleet: one model whatever the workers and whoever is killed. Old states go, and their place
in a training is known."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tensorfleet import AsyncClient, catalog, direct
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.model import JobSpec
from tensorfleet.sdk.events import StateChanged, TasksAssigned, TasksSucceeded
from tests.e2e.stores import Stores
from tests.rounds import plugin

DATA = "synthetic:classification?rows=900&features=6&classes=3&seed=2"
GIVEN = {"way": "rounds", "replicas": 4, "local_steps": 2, "epochs": 3}


@pytest.fixture(autouse=True)
def toys(tmp_path: Path, found_from_anywhere: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy family is known here and to all that is started."""
    site = plugin.installed(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(site)]))
    with plugin.known():
        yield


async def alone(objects: Path, **given: Any) -> str:
    """The model's digest, trained in one process."""
    spec, wrong = catalog.validate(JobSpec(dataset=DATA, algorithm="toy", hyperparameters=given))
    assert not wrong
    result = (await asyncio.to_thread(direct.run, spec, objects=objects)).result
    assert result.model is not None
    return result.model.sha256


@pytest.mark.parametrize("workers", [1, 2, 4])
async def test_the_model_is_one_whatever_the_workers(tmp_path: Path, workers: int) -> None:
    expected = await alone(tmp_path / "direct", **GIVEN)
    async with AsyncLocalFleet(tmp_path / "home", workers=workers) as fleet, AsyncClient(fleet.address) as client:
        job = await client.train(DATA, algorithm="toy", hyperparameters=GIVEN)
        assert (await job.result()).sha256 == expected
        assert job.tasks.run == job.tasks.total
        (trained,) = (await client.job(job.id)).info.trained
        assert (trained.first, trained.last, sum(block.rows for block in trained.blocks)) == (0, 2, 720)


async def test_nobody_that_is_killed_in_a_round_changes_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: Stores
) -> None:
    expected = await alone(tmp_path / "direct", **GIVEN)
    monkeypatch.setenv("TOY_PACE", "0.1")
    async with AsyncLocalFleet(tmp_path / "home", workers=2) as fleet, AsyncClient(fleet.address) as client:
        job = await client.train(DATA, algorithm="toy", hyperparameters=GIVEN)
        struck, succeeded = set(), []
        async for event in job.watch():
            if isinstance(event, TasksSucceeded):
                succeeded += [(event.stage, index) for index in event.indexes]
            elif isinstance(event, TasksAssigned) and event.stage not in struck:
                if event.stage in ("round-1", "round-4"):
                    await fleet.kill_worker()
                elif event.stage in ("round-2", "reduce-3"):
                    await fleet.restart_orchestrator()
                struck.add(event.stage)
        assert {"round-1", "round-2", "reduce-3", "round-4"} <= struck
        assert (await job.result()).sha256 == expected
        assert len(succeeded) == len(set(succeeded)) == job.tasks.total


@pytest.mark.stores("local")  # It looks at the files.
async def test_old_states_are_collected_while_the_job_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_PACE", "0.2")
    given = {"way": "whole", "epochs": 30, "learning_rate": 3.0}
    home = tmp_path / "home"
    async with AsyncLocalFleet(home, workers=1) as fleet, AsyncClient(fleet.address) as client:
        job = await client.train(DATA, algorithm="toy", hyperparameters=given)
        made: list[Any] = []
        async for event in job.watch():
            if isinstance(event, TasksSucceeded) and event.stage.startswith("round"):
                made.append(event.stage)
                if len(made) == 12:
                    break
        tasks = {task.stage: task for task in await client.jobs.tasks(job.id)}
        freed = await collected(client, home)
        left = [stage for stage in made if {ref.digest for ref in tasks[stage].outputs} <= blobs(home).keys()]
        assert freed >= 2 * 6
        assert len(left) <= 4, "more than the last, the best, and what is in hand"
        await job.result()
        assert job.tasks.run == 34


@pytest.mark.stores("local")  # Who stops is no matter of stores.
async def test_a_training_that_is_stopped_keeps_what_its_rounds_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_PACE", "0.1")
    given = {**GIVEN, "local_steps": 0, "epochs": 1000}
    async with AsyncLocalFleet(tmp_path / "home", workers=2) as fleet, AsyncClient(fleet.address) as client:
        job = await client.train(DATA, algorithm="toy", hyperparameters=given)
        async for event in job.watch():
            if isinstance(event, TasksAssigned) and event.stage == "round-3":
                await job.stop()
        model = await job.result()
        tasks = {task.stage for task in await client.jobs.tasks(job.id)}
        made = sum(stage.startswith("reduce") for stage in tasks)
        assert 3 <= made <= 5
        assert model.sha256 == await alone(tmp_path / "direct", **{**given, "epochs": made})
        assert job.tasks.run == job.tasks.total
        (trained,) = (await client.job(job.id)).info.trained
        assert (trained.first, trained.last) == (0, made - 1)


@pytest.mark.stores("local")  # It looks at the files.
async def test_a_cancelled_training_is_retried_from_its_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await alone(tmp_path / "direct", **GIVEN)
    monkeypatch.setenv("TOY_PACE", "0.1")
    home = tmp_path / "home"
    async with AsyncLocalFleet(home, workers=2) as fleet, AsyncClient(fleet.address) as client:
        job = await client.train(DATA, algorithm="toy", hyperparameters=GIVEN)
        async for event in job.watch():
            if isinstance(event, TasksAssigned) and event.stage == "round-5":
                await job.cancel()
    async with AsyncLocalFleet(home, workers=2) as fleet, AsyncClient(fleet.address) as client:
        assert await collected(client, home) > 0
        job = await client.job(job.id)
        await job.retry()
        assert (await job.result()).sha256 == expected
        ran = {task.stage for task in await client.jobs.tasks(job.id) if not task.reused}
        known = {f"{name}-{number}" for number in range(5) for name in ("round", "reduce")}
        assert "finish" in ran
        assert not ran & {"ingest", "prepare", "start", *known}


@pytest.mark.stores("local")  # It looks at the files.
async def test_what_went_is_known_and_trained_again_where_it_is_needed(tmp_path: Path) -> None:
    given = {**GIVEN, "epochs": 2}
    longer, last = {**given, "epochs": 3}, {**given, "keep": "last"}
    expected = [await alone(tmp_path / str(number), **each) for number, each in enumerate((given, longer, last))]
    home = tmp_path / "home"
    async with AsyncLocalFleet(home, workers=2) as fleet, AsyncClient(fleet.address) as client:
        sha256, run, _ = await train(client, given)
        rounds = run - 4
        assert sha256 == expected[0]
        assert await collected(client, home) > rounds
        assert await train(client, given) == (expected[0], 0, 0)
        assert await train(client, longer) == (expected[1], rounds // 2 + 1, 0)
        assert await collected(client, home) > 0
    async with AsyncLocalFleet(home, workers=2) as fleet, AsyncClient(fleet.address) as client:
        # It takes the state after the second epoch, which nobody has any more: neither are those before.
        assert await train(client, last) == (expected[2], rounds + 2, 1)


async def train(client: AsyncClient, given: dict[str, Any]) -> tuple[str, int, int]:
    """The model's digest, how many tasks ran, and how often something was made again."""
    job = await client.train(DATA, algorithm="toy", hyperparameters=given)
    said = [event.reason async for event in job.watch() if isinstance(event, StateChanged)]
    return (await job.result()).sha256, job.tasks.run, sum("made again" in reason for reason in said)


def blobs(home: Path) -> dict[str, Path]:
    return {path.name: path for path in (home / "objects" / "cas").glob("sha256/*/*")}


async def collected(client: AsyncClient, home: Path) -> int:
    """How many blobs go once all are old."""
    for path in blobs(home).values():
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 7200.0))
    return (await client.collect_garbage()).blobs.count
