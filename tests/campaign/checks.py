"""What must hold of a job and its fleet after everything that was done to them.

The rule: a check that fails raises AssertionError with what was found; nothing here changes the fleet.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Collection

from tensorfleet.client import AsyncClient, AsyncJob
from tensorfleet.model import Cause, JobState, KeptFor
from tensorfleet.sdk.events import AttemptFailed, Event, StageOpened, TaskReported, TasksAssigned, TasksSucceeded
from tensorfleet.testing.faults import Setting
from tests.campaign.cluster import POLL, Cluster

GONE_SECONDS = 20.0
"""In which what was told to end has to be gone."""


def task_events(event: Event) -> int:
    """Of how many tasks an event tells that they were assigned, had succeeded or had failed."""
    if isinstance(event, TasksAssigned | TasksSucceeded):
        return len(event.indexes)
    return int(isinstance(event, AttemptFailed))


def outcome(job: AsyncJob, damaged: Collection[str], undisturbed: str) -> bool:
    """Whether it trained, which then is the undisturbed model. Only a damaged blob may fail a job, by its name.

    damaged: digests of the blobs that were damaged in the store.
    """
    failure = job.info.failure
    if failure is not None and failure.cause is Cause.LOST_INPUT:
        assert any(digest in failure.message for digest in damaged), failure
        return False
    assert job.state is JobState.SUCCEEDED, failure
    assert job.model is not None
    assert job.model.sha256 == undisturbed, f"{job.model.sha256}, and undisturbed {undisturbed}"
    return True


async def all_there(client: AsyncClient, job: AsyncJob) -> None:
    """Every part of the model can be had, with the bytes of its digest."""
    for part in (await job.result()).info.parts:
        assert hashlib.sha256(await client.fetch(part)).hexdigest() == part.digest


def counted_once(job: AsyncJob, events: list[Event]) -> None:
    """Each task succeeded once, by an attempt that was assigned once and had not failed; its reports are complete.

    A job that lost a blob begins again, and each task is counted anew.
    """
    succeeded = [event for event in events if isinstance(event, TasksSucceeded)]
    lives = _lives(events)
    for life in lives:
        tasks = Counter((event.stage, index) for event in life for index in event.indexes)
        assert not [task for task, times in tasks.items() if times > 1], tasks
    if job.state is JobState.SUCCEEDED:
        done = sum(len(event.indexes) for event in lives[-1])
        assert done == job.tasks.total == job.tasks.run + job.tasks.reused, job.tasks
        assert job.tasks.run == sum(len(event.indexes) for event in lives[-1] if not event.reused)
    assigned = Counter(token for event in events if isinstance(event, TasksAssigned) for token in event.tokens)
    assert all(times == 1 for times in assigned.values()), assigned
    failed = {event.attempt.token for event in events if isinstance(event, AttemptFailed)}
    numbers: dict[int, list[int]] = {}
    for event in events:
        if isinstance(event, TaskReported):
            numbers.setdefault(event.token, []).append(event.number)
    for event in succeeded:
        if event.reused:
            continue
        for token, last in zip(event.tokens, event.last_reports, strict=True):
            assert token in assigned, event
            assert token not in failed, event
            assert numbers.get(token, []) == list(range(1, last + 1)), event


def _lives(events: list[Event]) -> list[list[TasksSucceeded]]:
    """What succeeded, from one beginning of the job to the next: then a stage is opened that was open already."""
    lives: list[list[TasksSucceeded]] = [[]]
    opened: set[str] = set()
    for event in events:
        if isinstance(event, StageOpened):
            if event.stage in opened:
                lives.append([])
                opened.clear()
            opened.add(event.stage)
        elif isinstance(event, TasksSucceeded):
            lives[-1].append(event)
    return lives


async def seen_once(client: AsyncClient, job: AsyncJob, seen: list[Event]) -> None:
    """A watcher that hung up, and whose server died, has seen what one sees who asks when all is over."""
    cursors = [event.cursor for event in seen]
    assert len(set(cursors)) == len(cursors), "an event was repeated"
    whole = [event async for event in (await client.job(job.id)).watch()]
    assert [event.cursor for event in whole] == cursors
    assert whole == seen


async def nothing_left(cluster: Cluster) -> None:
    """No process of a program that died, and no file of a task that ended, once all that was stopped has gone."""
    deadline = time.monotonic() + GONE_SECONDS
    while left := [*map(str, cluster.strays()), *map(str, cluster.scraps())]:
        assert time.monotonic() < deadline, left
        await asyncio.sleep(POLL)


async def nothing_stored(client: AsyncClient, cluster: Cluster, job: AsyncJob) -> None:
    """When the job's model is deleted and garbage collected, no blob is left, and nothing of a put that died."""
    if cluster.setting is Setting.GRIDFS:
        return  # a put is believed for a minute there, and each deletion has FerretDB read every chunk
    if job.model is not None:
        await client.models.delete(job.model.reference)
    left = await client.collect_garbage(older_than=0)
    if cluster.setting is Setting.CLUSTER:  # what was granted may yet be put, for a quarter of an hour
        assert set(left.kept) <= {KeptFor.AGE}, left
        return
    while KeptFor.AGE in left.kept:  # a blob that is younger than the collection may yet be named
        await asyncio.sleep(POLL)
        left = await client.collect_garbage(older_than=0)
    assert not left.kept, left
    assert not await asyncio.to_thread(cluster.stored.since, 0.0)
    assert not (await client.collect_garbage(older_than=0, dry_run=True)).unfinished.count
