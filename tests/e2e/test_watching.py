"""A watcher that comes back with its cursor misses and repeats nothing, and metrics are complete."""

import random

from tensorfleet import AsyncClient
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.model import JobSpec, JobState
from tensorfleet.sdk.events import Ended, Event, StageOpened, TaskReported, TasksSucceeded

SPEC = {"algorithm": "random_forest", "hyperparameters": {"n_estimators": 30}}


async def all_events(client: AsyncClient, job_id: str) -> list[Event]:
    job = await client.job(job_id)
    return [event async for event in job.watch()]


async def test_cursors_miss_and_repeat_nothing(fleet: AsyncLocalFleet, client: AsyncClient) -> None:
    job = await client.train("digits", **SPEC)
    chance, cursor, seen = random.Random(7), None, []
    while not (seen and isinstance(seen[-1], Ended)):
        async with AsyncClient(fleet.address) as another:  # a connection of its own each time
            async for event in (await another.job(job.id)).watch(after=cursor):
                seen.append(event)
                cursor = event.cursor
                if chance.random() < 0.3:
                    break
    cursors = [event.cursor for event in seen]
    assert len(set(cursors)) == len(cursors)
    assert [event.cursor for event in await all_events(client, job.id)] == cursors


async def test_a_watch_goes_on_after_what_was_known(client: AsyncClient) -> None:
    await (await client.train("iris", **SPEC)).result()
    again = await client.train("iris", **SPEC)
    whole = [event async for event in again.watch()]
    middle = next(event for event in whole if isinstance(event, TasksSucceeded) and event.stage == "fit")
    assert middle.reused
    opened = next(event for event in whole if isinstance(event, StageOpened) and event.stage == "fit")
    assert sorted(middle.indexes) == list(range(opened.tasks))
    rest = [event async for event in (await client.job(again.id)).watch(after=middle.cursor)]
    assert rest == whole[whole.index(middle) + 1 :]


async def test_a_job_that_ended_has_all_its_reports(client: AsyncClient) -> None:
    job = await client.train("digits", **SPEC)
    await job.result()
    events = await all_events(client, job.id)
    numbers: dict[int, list[int]] = {}
    for event in events:
        if isinstance(event, TaskReported):
            numbers.setdefault(event.token, []).append(event.number)
    succeeded = [event for event in events if isinstance(event, TasksSucceeded)]
    assert sum(len(event.indexes) for event in succeeded) == job.tasks.total
    for event in succeeded:
        for token, last in zip(event.tokens, event.last_reports, strict=True):
            assert numbers.get(token, []) == list(range(1, last + 1)), event
    points = [point for event in events if isinstance(event, TaskReported) for point in event.points]
    assert {"accuracy", "loss"} <= {point.series for point in points}


async def test_many_jobs_are_run_at_once_and_come_as_they_end(client: AsyncClient) -> None:
    one, long = (JobSpec(algorithm="noop", hyperparameters={"tasks": 1, "seconds": each}) for each in (0.0, 60.0))
    jobs = await client.jobs.run_many([one] * 50, request_ids=[f"many-{number}" for number in range(50)])
    assert {job.state for job in jobs} == {JobState.SUCCEEDED}
    assert sum(job.tasks.run for job in jobs) == 50
    again = await client.jobs.submit_many([one] * 50, request_ids=[f"many-{number}" for number in range(50)])
    assert [job.id for job in again] == [job.id for job in jobs]
    (lasting,) = await client.jobs.submit_many([long])
    ended = []
    async for job in client.jobs.as_completed([lasting, *again]):
        ended.append(job)
        if len(ended) == 50:
            await client.jobs.cancel(lasting.id)
    assert (ended[-1], lasting.state) == (lasting, JobState.CANCELLED)
    assert {job.id for job in ended[:-1]} == {job.id for job in jobs}


async def test_a_job_that_is_run_has_ended(client: AsyncClient) -> None:
    job = await client.run(JobSpec(algorithm="decision_tree", dataset="iris"))
    assert job.state is JobState.SUCCEEDED
    assert (await client.job(job.id)).info == job.info
    long = JobSpec(algorithm="noop", hyperparameters={"seconds": 60.0}, deadline=0.1)
    failed = await client.run(long)
    assert failed.state is JobState.FAILED
