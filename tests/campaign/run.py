"""Runs a plan: a job on a cluster, its strikes by its own progress, and the checks when it has ended.

The rule: a strike comes with an event of the job, never after some time.
"""

import asyncio
import io
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import redirect_stderr
from pathlib import Path

from msgspec import Struct

from tensorfleet import AsyncClient
from tensorfleet.model import JobSpec
from tensorfleet.sdk.events import Ended, Event
from tensorfleet.testing.faults import Plan
from tests.campaign import checks
from tests.campaign.cluster import AWAY, Cluster
from tests.campaign.slow_forest import NAME
from tests.campaign.strikes import strike

TREES, TASKS = 60, 15
STUCK = 180.0
"""Seconds after which a job is taken to hang."""


class Story(Struct, frozen=True):
    """What became of a plan. done: what its strikes did. events: of its job."""

    plan: Plan
    seconds: float
    trained: bool
    done: tuple[str, ...]
    events: tuple[Event, ...]


def spec(plan: Plan) -> JobSpec:
    return JobSpec(
        dataset="digits",
        algorithm=NAME,
        hyperparameters={"n_estimators": TREES, "random_state": plan.random_state},
        seed=plan.random_state,
    )


def undisturbed(plan: Plan, folder: Path) -> str:
    """The digest of the model that the plan's job makes in one process, with no fleet."""
    from tensorfleet import catalog, direct

    whole, violations = catalog.validate(spec(plan))
    assert not violations, violations
    with redirect_stderr(io.StringIO()):  # what it says of the dataset stands in the fleet's logs too
        result = direct.run(whole, objects=folder / f"direct-{plan.seed}").result
    assert result.model is not None
    return result.model.sha256


async def run(plan: Plan, cluster: Cluster, pool: Executor, folder: Path) -> Story:
    """Raises AssertionError where a promise is broken, TimeoutError where the job hangs."""
    began = time.monotonic()
    cluster.began = time.time()
    expected = asyncio.get_running_loop().run_in_executor(pool, undisturbed, plan, folder)
    async with AsyncClient(cluster.address, timeout=AWAY) as client, asyncio.timeout(STUCK):
        job = await client.submit(spec(plan))
        seen, done = await _struck(job.id, plan, cluster)
        await job.refresh()
        trained = checks.outcome(job, cluster.stored.damaged, await expected)
        await asyncio.to_thread(cluster.stored.restore)
        if trained:
            await checks.all_there(client, job)
        checks.counted_once(job, seen)
        await checks.seen_once(client, job, seen)
        await cluster.whole()
        await checks.nothing_left(cluster)
        await checks.nothing_stored(client, cluster, job)
    return Story(plan, time.monotonic() - began, trained, tuple(done), tuple(seen))


async def _struck(job_id: str, plan: Plan, cluster: Cluster) -> tuple[list[Event], list[str]]:
    """The job's events as a watcher saw them that hung up at times, and what was done meanwhile."""
    seen: list[Event] = []
    strikes: list[asyncio.Task[str]] = []
    waiting = list(plan.strikes)
    progress = 0
    async for event in _watched(job_id, plan, cluster.address):
        seen.append(event)
        progress += checks.task_events(event)
        while waiting and waiting[0].after <= progress:
            strikes.append(asyncio.create_task(strike(cluster, waiting.pop(0))))
    return seen, await asyncio.gather(*strikes)


async def _watched(job_id: str, plan: Plan, address: str) -> AsyncIterator[Event]:
    cursor: str | None = None
    count = 0
    while True:
        async with AsyncClient(address, timeout=AWAY) as client:  # a connection of its own each time
            async for event in (await client.job(job_id)).watch(after=cursor):
                cursor, count = event.cursor, count + 1
                yield event
                if isinstance(event, Ended):
                    return
                if count in plan.drops:
                    break
