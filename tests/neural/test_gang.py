"""Gangs of TensorFlow on a fleet of real processes: they train as one process does, and go on when one of them dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tensorfleet import Client, catalog
from tensorfleet.client import Job
from tensorfleet.local import LocalFleet
from tensorfleet.model import JobState
from tensorfleet.neural.gang import FIRST
from tensorfleet.sdk.events import StageOpened, TasksAssigned, TaskSaved

GIVEN: dict[str, Any] = {"epochs": 2, "units": 32, "batch_size": 32, "replicas": 2, "batch_normalization": False}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with LocalFleet(tmp_path_factory.mktemp("fleet"), workers=2) as fleet, Client(fleet.address) as client:
        fleet.workers_ready(2)
        yield client


def losses(job: Job) -> dict[int, float]:
    told = [point for event in job.watch() for point in getattr(event, "points", ())]
    return {point.step: point.value for point in told if point.series == "loss"}


def test_a_gang_follows_the_loss_of_one_process(client: Client) -> None:
    alone, together = (
        client.train("digits", algorithm="dnn", hyperparameters={**GIVEN, "way": way}).wait()
        for way in ("whole", "gang")
    )
    assert together.state == JobState.SUCCEEDED, together.info.failure
    one, two = losses(alone), losses(together)
    assert len(one) == len(two) == 90
    assert max(abs(one[step] - two[step]) for step in range(50)) < 1e-3
    assert together.result().metrics["accuracy"] == pytest.approx(alone.result().metrics["accuracy"], abs=0.01)


def test_a_gang_pauses_as_one_and_goes_on(client: Client) -> None:
    job = client.train("digits", algorithm="dnn", hyperparameters={**GIVEN, "way": "gang", "epochs": 60})
    steps: list[int] = []
    for event in job.watch():
        steps += [point.step for point in getattr(event, "points", ()) if point.series == "loss"]
        if job.state == JobState.RUNNING and steps and steps[-1] < 2000:
            assert job.pause().state == JobState.PAUSED
            assert job.checkpoint() == 1  # of a gang the first saves
            job.resume()
            break
    job.wait()
    assert job.state == JobState.SUCCEEDED, job.info.failure
    assert sorted(losses(job)) == list(range(45 * 60))
    (trained,) = job.info.trained
    assert (trained.first, trained.last, sum(block.rows for block in trained.blocks)) == (0, 59, 1437)


def test_one_that_dies_has_all_go_on_from_what_the_first_saved(client: Client) -> None:
    job = client.train("digits", algorithm="dnn", hyperparameters={**GIVEN, "way": "gang", "epochs": 60})
    struck = False
    steps: list[int] = []
    for event in job.watch():
        steps += [point.step for point in getattr(event, "points", ()) if point.series == "loss"]
        if not struck and steps and steps[-1] > 45 * 12:
            (pid, *_) = [
                each.pid for worker in client.workers.list() for each in worker.running if each.task == "gang/1"
            ]
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            struck = True
    assert struck
    assert job.state == JobState.SUCCEEDED, job.info.failure
    assert sorted(set(steps)) == list(range(45 * 60))


def test_a_gang_that_is_stopped_ends_at_once_with_what_its_steps_have_made(client: Client) -> None:
    job = client.train("digits", algorithm="dnn", hyperparameters={**GIVEN, "way": "gang", "epochs": 10_000})
    asked = ended = 0.0
    for event in job.watch():
        if not asked and any(point.step > 45 * 3 for point in getattr(event, "points", ())):
            job.stop()
            asked = time.monotonic()
        if isinstance(event, StageOpened) and event.stage == "finish":
            ended = time.monotonic()
    assert job.state == JobState.SUCCEEDED, job.info.failure
    assert ended - asked < 5
    told = losses(job)
    assert sorted(told) == list(range(len(told))), "no step was taken after the last that counts"
    whole, more = divmod(len(told), 45)
    assert trained(job) == [1437] * whole + ([32 * more] if more else [])
    assert job.result().metrics["accuracy"] > 0.8


def test_a_gang_that_the_fleet_has_no_slots_for_says_what_to_do(client: Client) -> None:
    job = client.train("digits", algorithm="dnn", hyperparameters={**GIVEN, "way": "gang", "replicas": 4})
    for event in job.watch():
        if isinstance(event, StageOpened) and event.stage == "gang":
            break
    why = job.explain()
    assert "its 4 members begin at once" in why.summary
    assert "`tensorfleet worker join ADDRESS` adds some" in why.summary
    for name in ("replicas", "min_members"):
        _, wrong = catalog.validate(replace(job.info.spec, hyperparameters={**GIVEN, "way": "gang", name: 2}))
        assert f"`-p {name}=2`" in why.summary
        assert not wrong
    job.cancel()


def test_a_gang_goes_on_with_fewer_where_a_worker_does_not_come_back(client: Client, tmp_path: Path) -> None:
    epochs = 20
    given = {**GIVEN, "way": "gang", "epochs": epochs, "replicas": 3, "min_members": 2}
    job = client.train("digits", algorithm="dnn", hyperparameters=given)
    formed: list[dict[int, str]] = []
    asked = saved = False
    with joined(client.address, "brief", tmp_path) as brief:
        for event in job.watch():
            if isinstance(event, TasksAssigned) and event.stage == "gang":
                if FIRST in event.indexes:
                    formed.append({})
                formed[-1].update(dict.fromkeys(event.indexes, event.worker))
            if not asked and any(point.step > 45 for point in getattr(event, "points", ())):
                asked = job.checkpoint() == 1
            if asked and not saved and isinstance(event, TaskSaved):
                saved = True
                brief.kill()
    assert job.state == JobState.SUCCEEDED, job.info.failure
    assert saved
    assert [sorted(each) for each in formed] == [[0, 1, 2], [0, 1]]
    assert ["brief" in each.values() for each in formed] == [True, False]
    assert sorted(losses(job)) == list(range(45 * epochs))
    assert trained(job) == [1437] * epochs


@contextmanager
def joined(address: str, name: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that nobody starts again."""
    flags = ["--server", address, "--id", name, "--slots", "1", "--home", str(folder / name), "--parent-death"]
    with subprocess.Popen([sys.executable, "-m", "worker", *flags]) as worker:
        try:
            yield worker
        finally:
            worker.kill()


def trained(job: Job) -> list[int]:
    """How many rows each epoch trained on."""
    found: list[int] = []
    for line in job.info.trained:
        assert line.first == len(found)
        found += [sum(block.rows for block in line.blocks)] * (line.last - line.first + 1)
    return found
