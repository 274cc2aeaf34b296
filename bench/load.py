"""Load: one job of very many tasks, and thousands of workers that only heartbeat beside the one that works.

`tasks`: a job of no-ops; what a task costs the orchestrator, in processor time, in each tenth of the job, beside what a
fixed computation costs in this process at the same time, since a machine's pace changes. `workers`: simulated workers,
with real streams and messages, from a few processes; what they cost an idle orchestrator, and the rate of a job on real
slots beside them, by turns with the same job on a fleet without them.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from bench.figures import Spread, finish, show
from clients.cli.measures import noop
from tensorfleet import AsyncClient
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.model import JobSpec, Resources

TICKS = os.sysconf("SC_CLK_TCK")
TENTHS = 10
POLL = 0.25
REAL = {"bench": "real"}


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.load", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["tasks", "workers"], help="tasks, workers; default: both")
    parser.add_argument("--tasks", type=int, default=1_000_000, help="of the one large job")
    parser.add_argument("--workers", type=int, default=5_000, help="simulated ones")
    parser.add_argument("--processes", type=int, default=4, help="that simulate them")
    parser.add_argument("--beside", type=int, default=10_000, help="tasks of each job beside them")
    parser.add_argument("--seconds", type=float, default=30.0, help="that the fleet idles while it is measured")
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args(given)


def processor_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> float:
    """Resident memory of a process, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def yardstick() -> float:
    """Processor seconds of a fixed computation: the machine's pace now."""
    begun = process_time()
    sum(number * number for number in range(200_000))
    return process_time() - begun


@asynccontextmanager
async def real_fleet() -> AsyncIterator[tuple[AsyncClient, int]]:
    """One worker of two slots that carries the label, and the orchestrator's process id."""
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as home:
        async with AsyncLocalFleet(home, slots=2, labels=REAL) as fleet, AsyncClient(fleet.address) as client:
            (await (await client.submit(labelled(60))).wait()).require_success()
            assert fleet.orchestrator_pid is not None
            yield client, fleet.orchestrator_pid


def labelled(tasks: int) -> JobSpec:
    """No-ops that only the real worker can run."""
    return JobSpec(algorithm="noop", hyperparameters=noop(tasks).hyperparameters, resources=Resources(labels=REAL))


async def many_tasks(count: int) -> dict[str, Any]:
    """What a task costs in each tenth of a job, in microseconds and in parts of the yardstick; and memory."""
    async with real_fleet() as (client, pid):
        begun = perf_counter()
        job = await client.submit(labelled(count))
        submit = perf_counter() - begun
        marks, paces, most = [(0, processor_seconds(pid))], [yardstick()], memory(pid)
        costs, relative = [], []
        while not job.state.ended:
            await asyncio.sleep(POLL)
            await job.refresh()
            paces.append(yardstick())
            most = max(most, memory(pid))
            if job.tasks.run - marks[-1][0] >= count // TENTHS or job.state.ended:
                marks.append((job.tasks.run, processor_seconds(pid)))
                costs.append(median(paces))
                paces = [yardstick()]
        job.require_success()
        steps = [(later[1] - sooner[1]) / max(later[0] - sooner[0], 1) for sooner, later in pairwise(marks)]
        sizes = [later[0] - sooner[0] for sooner, later in pairwise(marks)]
        whole = [number for number, size in enumerate(sizes) if size >= count // (2 * TENTHS)]
        relative = [steps[number] / costs[number] for number in whole]
        return {
            "submit_seconds": submit,
            "microseconds": [steps[number] * 1e6 for number in whole],
            "end_to_start": relative[-1] / relative[0],
            "memory_mib": most,
            "seconds": job.info.seconds,
        }


@contextmanager
def simulated(address: str, workers: int, processes: int, *, work: bool = False) -> Iterator[None]:
    """So many workers in session, from a few processes. work: they take tasks, which succeed at once."""
    command, how = [sys.executable, "-m", "bench.crowd", address, str(workers // processes)], ["work"] if work else []
    with ExitStack() as stack:
        crowds = [
            stack.enter_context(subprocess.Popen([*command, str(number), *how], stdout=subprocess.PIPE))
            for number in range(processes)
        ]
        try:
            for crowd in crowds:
                assert crowd.stdout is not None
                assert crowd.stdout.readline(), "all of it are in"
            yield
        finally:
            for crowd in crowds:
                crowd.kill()


async def rate(client: AsyncClient, tasks: int) -> float:
    """Tasks a second of one job on the real slots."""
    job = await (await client.submit(labelled(tasks))).wait()
    job.require_success()
    assert job.info.seconds is not None
    return tasks / job.info.seconds


async def many_workers(options: argparse.Namespace) -> dict[str, Any]:
    """What a crowd costs an idle orchestrator, and rates with it and without, by turns."""
    async with real_fleet() as (alone, _), real_fleet() as (client, pid):
        before = memory(pid)
        with simulated(client.address, options.workers, options.processes):
            joined = len([worker for worker in await client.workers.list() if worker.state == "ready"]) - 1
            begun, used = perf_counter(), processor_seconds(pid)
            await asyncio.sleep(options.seconds)
            share = (processor_seconds(pid) - used) / (perf_counter() - begun)
            rates: dict[str, list[float]] = {"with": [], "without": []}
            for _ in range(options.repeat):
                rates["with"].append(await rate(client, options.beside))
                rates["without"].append(await rate(alone, options.beside))
            kept = len([worker for worker in await client.workers.list() if worker.state == "ready"]) - 1
            grown = memory(pid)
    ratio = median(rates["with"]) / median(rates["without"])
    return {
        "joined": joined,
        "kept": kept,
        "processor_share": share,
        "memory_mib": [before, grown],
        "rates": {name: Spread.of(values) for name, values in rates.items()},
        "with_to_without": ratio,
    }


def main() -> None:
    options = arguments()
    figures: dict[str, Any] = {}
    rows: list[tuple[str, str]] = []
    if "tasks" in options.parts:
        tasks = figures["tasks"] = asyncio.run(many_tasks(options.tasks))
        rows += [
            (f"{options.tasks:,} tasks: submit, seconds", f"{tasks['submit_seconds']:.3f}"),
            ("  orchestrator's cost of a task at the start, microseconds", f"{tasks['microseconds'][0]:.0f}"),
            ("  and at the end", f"{tasks['microseconds'][-1]:.0f}"),
            ("  end to start, each beside the machine's pace then", f"{tasks['end_to_start']:.2f}"),
            ("  orchestrator's memory, MiB at most", f"{tasks['memory_mib']:.0f}"),
        ]
    if "workers" in options.parts:
        workers = figures["workers"] = asyncio.run(many_workers(options))
        rows += [
            (f"{options.workers:,} workers: in session before and after", f"{workers['joined']} {workers['kept']}"),
            ("  orchestrator's share of a processor", f"{workers['processor_share']:.3f}"),
            ("  its memory before and with them, MiB", " ".join(f"{mib:.0f}" for mib in workers["memory_mib"])),
            ("  rate of a job on real slots, with to without them", f"{workers['with_to_without']:.2f}"),
        ]
    show("Load", ["", "figure"], rows)
    finish("load", options=vars(options), **figures)


if __name__ == "__main__":
    main()
