"""Recovery: how soon work goes on after its worker or its orchestrator has died, on processes that are really killed.

The limit of each is what it cannot do without: the time in which what is away may come back, the lease of what says
nothing, the start of a program. A standby takes over on MongoDB, where `MONGODB_URL` names one.
"""

import argparse
import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.figures import finish, show
from clients.cli.measures import noop, percentile
from tensorfleet import AsyncClient
from tensorfleet.client import AsyncJob
from tensorfleet.errors import TensorFleetError
from tensorfleet.sdk.events import TasksAssigned
from tensorfleet.sdk.processes import Child
from tensorfleet.sdk.seat import reserved, serves

POLL = 0.002
GRACE = 0.8
"""The orchestrator's default: seconds in which a worker whose stream broke may come back."""
LONG = 600.0
"""Seconds of a task that does not end by itself."""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.recovery", description=__doc__)
    parser.add_argument("--repeat", type=int, default=20, help="of each")
    parser.add_argument("--tasks", type=int, default=10_000, help="queued when the orchestrator is killed")
    parser.add_argument("--lease", type=float, default=2.0, help="of workers, and of the orchestrator that leads")
    parser.add_argument("--mongodb", default=os.environ.get("MONGODB_URL", ""), metavar="URL")
    return parser.parse_args(given)


class Fleet:
    """Programs over a folder, started and ended one by one. store: what tells orchestrators where to keep things."""

    def __init__(self, folder: Path, lease: float, store: dict[str, str], orchestrators: int = 1) -> None:
        self._folder, self._lease = folder, lease
        hidden = ("MONGODB_URL", "MONGODB_DB", "OBJECTS_URL", "S3_BUCKET", "S3_ENDPOINT_URL")
        unset = [f"--unset={name}" for name in hidden if name not in store]
        self._within = ["env", *unset, *(f"{name}={value}" for name, value in store.items())]
        self._standby = ["--standby"] if orchestrators > 1 else []
        self._listen = [reserved("127.0.0.1:0") for _ in range(orchestrators)]
        self.address = ",".join(self._listen)
        self.orchestrators: list[Child] = []
        self.workers: dict[str, Child] = {}

    async def start(self, workers: int) -> None:
        self.orchestrators = [self.orchestrator(number) for number in range(len(self._listen))]
        for number in range(workers):
            self.worker(f"worker-{number}")
        await self.ready(workers)

    def orchestrator(self, number: int) -> Child:
        home = ["--home", str(self._folder / f"home-{number}"), "--listen", self._listen[number]]
        leases = ["--lease", str(self._lease), "--leader-lease", str(self._lease), "--grace", str(GRACE)]
        flags = [*home, *leases, *self._standby]
        logs = self._folder / "logs"
        return Child(f"orchestrator-{number}", "orchestrator", flags, logs, within=self._within)

    def worker(self, name: str) -> None:
        flags = ["--server", self.address, "--id", name, "--slots", "1", "--home", str(self._folder / name)]
        self.workers[name] = Child(name, "worker", flags, self._folder / "logs")

    async def ready(self, workers: int) -> None:
        """Waits until so many workers are in session and have a slot that has loaded the numerics."""
        async with AsyncClient(self.address) as client:
            while True:
                with suppress(TensorFleetError):
                    there = {worker.pid for worker in await client.workers.list() if worker.state == "ready"}
                    ours = {child.pid for child in self.workers.values() if warm(child.pid)}
                    if len(there & ours) == workers:
                        return
                await asyncio.sleep(POLL)

    def stop(self) -> None:
        for child in (*self.workers.values(), *self.orchestrators):
            child.signal(signal.SIGCONT)
            child.kill()


def warm(worker: int) -> bool:
    """Whether the process that a worker's slots are forked from has loaded the numerics."""
    with suppress(OSError):
        return any("sklearn/ensemble" in Path(f"/proc/{zygote}/maps").read_text() for zygote in children(worker))
    return False


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


async def running(client: AsyncClient, job: AsyncJob, *, but: str = "") -> str:
    """The worker on which a process runs the job's task, once there is one that is not `but`."""
    while True:
        for worker in await client.workers.list():
            at_work = any(attempt.job == job.id and attempt.pid for attempt in worker.running)
            if at_work and worker.state == "ready" and worker.id != but:
                return worker.id
        await asyncio.sleep(POLL)


async def elsewhere(fleet: Fleet, number: signal.Signals) -> float:
    """Seconds from a signal to the worker that runs a task until the task runs on another."""
    async with AsyncClient(fleet.address) as client:
        job = await client.submit(noop(1, seconds=LONG))
        name = await running(client, job)
        struck = fleet.workers[name]
        begun = time.perf_counter()
        struck.signal(number)
        await running(client, job, but=name)
        seconds = time.perf_counter() - begun
        await job.cancel()
        struck.kill()
        fleet.worker(name)
        await fleet.ready(len(fleet.workers))
    return seconds


async def first_dispatch(fleet: Fleet, tasks: int, again: Callable[[int], None]) -> float:
    """Seconds from the leader's death until the next term has handed out a task of a job with many.

    again: is told the number of the orchestrator that was killed, before anything is waited for.
    """
    async with AsyncClient(fleet.address) as client:
        job = await client.submit(noop(tasks))
        leader = await leading(fleet)
        killed, term = 0.0, (await client.status()).term
        async for event in job.watch():
            if not isinstance(event, TasksAssigned):
                continue
            if not killed:
                killed = time.time()
                fleet.orchestrators[leader].kill()
                again(leader)
            elif event.tokens[0] >> 32 > term:
                break
        await job.cancel()
        return event.time - killed


async def leading(fleet: Fleet) -> int:
    """The number of the orchestrator that leads; a standby says that it does not serve."""
    while True:
        for number, address in enumerate(fleet.address.split(",")):
            if await serves(address):
                return number
        await asyncio.sleep(POLL)


def program() -> float:
    """Seconds of starting the orchestrator's program and doing nothing with it."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import orchestrator.app"], check=True)
    return time.perf_counter() - begun


async def workers(options: argparse.Namespace, number: signal.Signals) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as folder:
        fleet = Fleet(Path(folder), options.lease, {})
        try:
            await fleet.start(2)
            return [await elsewhere(fleet, number) for _ in range(options.repeat)]
        finally:
            fleet.stop()


async def restarts(options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Of an orchestrator that is started again at once, and by turns of a bare program."""
    times, bare = [], []
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as folder:
        fleet = Fleet(Path(folder), options.lease, {})

        def again(number: int) -> None:
            fleet.orchestrators[number] = fleet.orchestrator(number)

        try:
            await fleet.start(2)
            for _ in range(options.repeat):
                times.append(await first_dispatch(fleet, options.tasks, again))
                await fleet.ready(2)
                bare.append(await asyncio.to_thread(program))
        finally:
            fleet.stop()
    return times, bare


async def takeovers(options: argparse.Namespace) -> list[float]:
    from pymongo import MongoClient

    database = f"bench_{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as folder:
        objects = f"file://{folder}/objects"
        store = {"MONGODB_URL": options.mongodb, "MONGODB_DB": database, "OBJECTS_URL": objects}
        fleet = Fleet(Path(folder), options.lease, store, orchestrators=2)
        try:
            await fleet.start(2)
            times = []
            for _ in range(options.repeat):
                killed: list[int] = []
                times.append(await first_dispatch(fleet, options.tasks, killed.append))
                fleet.orchestrators[killed[0]] = fleet.orchestrator(killed[0])
                await fleet.ready(2)
            return times
        finally:
            fleet.stop()
            with MongoClient[dict[str, object]](options.mongodb) as mongo:
                mongo.drop_database(database)


async def measure(options: argparse.Namespace) -> dict[str, tuple[list[float], float, float]]:
    """Seconds of each, the limit, and what is aimed at."""
    broken = await workers(options, signal.SIGKILL)
    hung = await workers(options, signal.SIGSTOP)
    restarted, bare = await restarts(options)
    measured = {
        "a worker is killed: its task runs elsewhere": (broken, GRACE, 1.0),
        "a worker hangs: its task runs elsewhere": (hung, options.lease + GRACE, options.lease + 1.0),
        f"the orchestrator is killed, {options.tasks:,} tasks: next dispatch": (restarted, percentile(bare, 0.5), 3.0),
    }
    if options.mongodb:
        times = await takeovers(options)
        measured[f"it is not started again, {options.tasks:,} tasks: a standby's dispatch"] = (
            *(times, options.lease),
            options.lease + 2.0,
        )
    return measured


def main() -> None:
    options = arguments()
    measured = asyncio.run(measure(options))
    rows, figures = [], {}
    for name, (times, limit, aim) in measured.items():
        p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
        rows.append((name, *(f"{value:.2f}" for value in (p50, p99, limit, p50 / limit, aim))))
        figures[name] = {"p50": p50, "p99": p99, "limit": limit, "aim": aim}
    notes = ["limits: the grace time; lease and grace time; importing the orchestrator; the leader's lease"]
    if not options.mongodb:
        notes.append("a standby needs MongoDB: --mongodb URL, or MONGODB_URL")
    columns = ["", "p50", "p99", "limit", "p50 / limit", "aim"]
    show(f"Recovery, {options.repeat} times each, lease {options.lease:g} s, seconds", columns, rows, notes)
    finish("recovery", repeat=options.repeat, tasks=options.tasks, lease=options.lease, seconds=figures)


if __name__ == "__main__":
    main()
