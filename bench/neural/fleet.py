"""The same training on a fleet, as a person would start it.

The rule: what is counted begins once an epoch is over, in which slots load TensorFlow and trace the network; the
fleet's own work between epochs and rounds is in it.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

from msgspec import Struct

from bench.budget import spent
from bench.neural.plain import CLASSES, FEATURES, UNITS
from tensorfleet import AsyncClient
from tensorfleet.client import AsyncJob
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.model import Resources
from tensorfleet.sdk.events import TaskReported, TasksSucceeded

QUIET = 0.4
"""Seconds without a word from a job, after which it stands still."""
NUMBERS = count()
BETWEEN = 0.3
"""Seconds that a job runs between two pauses."""


class Trained(Struct, frozen=True):
    """samples_per_second: after the first epoch. first_step: seconds from the submission to it. beside: the share of
    the slots' processor time that the fleet's other processes took."""

    samples_per_second: float
    first_step: float
    beside: float


@asynccontextmanager
async def fleet(workers: int, rows: int) -> AsyncIterator[AsyncClient]:
    """A fleet of workers of one slot, which has the rows."""
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as home:
        async with AsyncLocalFleet(home, workers=workers) as running, AsyncClient(running.address) as client:
            source = f"synthetic:classification?rows={rows}&features={FEATURES}&classes={CLASSES}&seed=0"
            await client.datasets.add(source, name="rows")
            yield client


async def submit(client: AsyncClient, way: str, batch: int, epochs: int, threads: int, **given: object) -> AsyncJob:
    """Starts a training of the network. threads: of each task.

    Its learning rate is like no other's, so that nothing is known of it but the prepared rows.
    """
    rate = 1e-3 + 1e-9 * next(NUMBERS)
    network = {"units": list(UNITS), "batch_size": batch, "epochs": epochs, "way": way, "learning_rate": rate}
    return await client.train(
        "rows",
        "dnn",
        network | given,
        validation_split=0.0,
        resources=Resources(cpus=threads),
    )


async def train(
    client: AsyncClient, way: str, *, rows: int, batch: int, epochs: int, threads: int = 1, **given: object
) -> Trained:
    """Trains for so many epochs after the first."""
    begun, ends, steps, first = time.monotonic(), {}, {}, 0.0
    costs: Counter[str] = Counter()
    with spent(costs):
        job = await submit(client, way, batch, epochs + 1, threads, **given)
        async for event in job.watch():
            if isinstance(event, TaskReported) and "loss" in event.points.names:
                first = first or time.monotonic() - begun
                steps[max(point.step for point in event.points)] = event.time
            elif isinstance(event, TasksSucceeded) and event.stage.startswith(("round-", "reduce-")):
                ends[event.stage] = event.time
    job.require_success()
    seconds = lasted(way, epochs, ends, steps, -(-rows // batch))
    # Slots that came up meanwhile are not counted; those that were there before are.
    others = costs.total() - costs["slot"] - costs["client"]
    return Trained(rows * epochs / seconds, first, others / costs["slot"] if costs["slot"] else 0.0)


def lasted(way: str, epochs: int, ends: Mapping[str, float], steps: Mapping[int, float], epoch_steps: int) -> float:
    """Seconds of all epochs but the first. ends: of the stages; steps: when each was told."""
    if way == "gang":
        return max(steps.values()) - max(at for step, at in steps.items() if step < epoch_steps)
    of_epochs = "reduce" if way == "rounds" else "round"
    at = sorted(time for stage, time in ends.items() if stage.startswith(of_epochs))
    return at[-1] - at[len(at) // (epochs + 1) - 1]


async def pauses(client: AsyncClient, times: int, batch: int) -> list[float]:
    """Seconds from a pause's command to the last step that was told after it, and 0 where none was."""
    job = await submit(client, "whole", batch, 10_000, 1)
    told: list[float] = []
    tells = asyncio.Event()

    async def listen() -> None:
        async for event in job.watch():
            if isinstance(event, TaskReported):
                told.append(event.time)
                tells.set()

    listening = asyncio.create_task(listen())
    found = []
    try:
        for _ in range(times):
            tells.clear()
            await asyncio.wait_for(tells.wait(), 120)
            await asyncio.sleep(BETWEEN)
            commanded = time.time()
            await job.pause()
            await _silence(tells)
            found.append(max(0.0, told[-1] - commanded))
            await job.resume()
    finally:
        await job.cancel()
        await listening
    return found


async def _silence(tells: asyncio.Event) -> None:
    """Returns once nothing was told for a while."""
    with suppress(TimeoutError):
        while True:
            tells.clear()
            await asyncio.wait_for(tells.wait(), QUIET)


async def first_steps(client: AsyncClient, times: int) -> list[float]:
    """Seconds from the submission of a small training to its first step, on slots that have trained."""
    found = []
    for _ in range(times + 1):
        begun = time.monotonic()
        job: Any = await client.train("digits", "dnn", {"epochs": 1, "way": "whole"}, ignore_known_results=True)
        first = None
        async for event in job.watch():
            if isinstance(event, TaskReported) and first is None:
                first = time.monotonic() - begun
        job.require_success()
        assert first is not None, "a training tells its steps"
        found.append(first)
    return found[1:]
