"""What the measurements of dispatching share: a fleet with warm slots, jobs of no-ops, and the machine's own limits.

The rule: a fleet is measured over a fresh home, once its slots are warm.
"""

import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from tensorfleet import AsyncClient, wire
from tensorfleet.api.v1 import jobs_pb2
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.model import JobSpec


def noop(tasks: int, rounds: int = 1, seconds: float = 0.0) -> JobSpec:
    """seconds: of each task."""
    return JobSpec(algorithm="noop", hyperparameters={"tasks": tasks, "rounds": rounds, "seconds": seconds})


async def results(stub: Any, tasks: int) -> None:
    """Runs one job of no-ops in one call, until each task's result has come. stub: that of `JobService`."""
    done = 0
    async for response in stub.RunJob(jobs_pb2.RunJobRequest(spec=wire.spec_to_proto(noop(tasks)))):
        done += sum(len(event.tasks_succeeded.indexes) for event in response.events)
    assert done == tasks, "each task's result has come"


@asynccontextmanager
async def warm_fleet(slots: int) -> AsyncIterator[tuple[AsyncLocalFleet, AsyncClient]]:
    """One worker of some slots, each of which has run a task."""
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as home:
        async with AsyncLocalFleet(home, slots=slots) as fleet, AsyncClient(fleet.address) as client:
            job = await (await client.submit(noop(10 * slots, rounds=3))).wait()
            job.require_success()
            yield fleet, client


def durable_commits(count: int) -> list[float]:
    """Seconds of each of some commits of one small row by SQLite alone, on the disk that homes are on: a limit for
    whatever must be durable."""
    times = []
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as folder:
        connection = sqlite3.connect(Path(folder) / "limit.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE journal (number INTEGER PRIMARY KEY, records BLOB NOT NULL)")
        for number in range(count):
            begun = perf_counter()
            connection.execute("INSERT INTO journal VALUES (?, ?)", (number, b"x" * 200))
            times.append(perf_counter() - begun)
        connection.close()
    return times
