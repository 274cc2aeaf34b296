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

from clients.cli import measures
from clients.cli.measures import noop, request
from tensorfleet import AsyncClient
from tensorfleet.local import AsyncLocalFleet


async def results(stub: Any, tasks: int) -> None:
    """Runs one job of no-ops in one call, until each task's result has come. stub: that of `JobService`."""
    came = await measures.run(stub, request(noop(tasks)))
    assert came.tasks == tasks, "each task's result has come"


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
