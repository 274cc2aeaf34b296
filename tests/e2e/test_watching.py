"""A watcher that comes back with its cursor misses and repeats nothing, and metrics are complete."""

import random

from tensorfleet import AsyncClient
from tensorfleet.local import AsyncLocalFleet
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
