"""What the measurements of dispatching share: a fleet with warm slots, jobs of no-ops, and the machine's own limits.

The rule: a fleet is measured over a fresh home, once its slots are warm.
"""

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc

from bench.peers.with_grpc import STREAM, TASK
from clients.cli import measures
from clients.cli.measures import noop, request
from tensorfleet import AsyncClient
from tensorfleet.local import AsyncLocalFleet

WARM = 50
"""Messages before those that are measured."""


async def results(stub: Any, tasks: int) -> None:
    """Runs one job of no-ops in one call, until each task's result has come. stub: that of `JobService`."""
    came = await measures.run(stub, request(noop(tasks)))
    assert came.tasks == tasks, "each task's result has come"


@asynccontextmanager
async def warm_fleet(slots: int) -> AsyncIterator[tuple[AsyncLocalFleet, AsyncClient]]:
    """One worker of some slots that has its numerics, which would else load meanwhile; each slot has run a task."""
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as home:
        async with AsyncLocalFleet(home, slots=slots) as fleet, AsyncClient(fleet.address) as client:
            await (await client.train("iris", hyperparameters={"n_estimators": 1})).result()
            job = await (await client.submit(noop(10 * slots, rounds=3))).wait()
            job.require_success()
            yield fleet, client


@contextmanager
def bare_server() -> Iterator[int]:
    """The port of a program that sends back by gRPC alone what comes."""
    command = (sys.executable, "-m", "bench.peers.with_grpc", "serve")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()


@asynccontextmanager
async def bare_channel() -> AsyncIterator[Any]:
    """A channel to such a program."""
    with bare_server() as port:
        connection: Any = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        async with connection as channel:
            yield channel


async def bare_trips(count: int) -> list[float]:
    """Seconds of each of some messages of one task, to another process and back by a stream of gRPC alone: a limit for
    whatever goes to a worker and back."""
    times = []
    async with bare_channel() as channel:
        stream = channel.stream_stream(STREAM)()
        for _ in range(WARM + count):
            begun = perf_counter()
            await stream.write(TASK)
            await stream.read()
            times.append(perf_counter() - begun)
        await stream.done_writing()
    return times[WARM:]


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
