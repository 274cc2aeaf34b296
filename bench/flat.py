"""Flatness: what a task costs the orchestrator, in small jobs and in very large ones, with few workers and with many.

Workers are simulated: real streams and messages, from a few processes, and each task has succeeded as soon as it comes.
So the orchestrator is what is measured, with all results at a client that runs the job. Each cost stands beside that of
the smallest job or crowd in the same run, by turns, and each is taken at the machine's pace then: processor time in
parts of what a fixed computation takes meanwhile.
"""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from statistics import median
from typing import Any

from msgspec import Struct

from bench.figures import Spread, finish, show
from bench.load import memory, processor_seconds, simulated, yardstick
from clients.cli import measures
from clients.cli.measures import calling, noop, request
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.loops import run

LEAST = 20_000
"""Tasks that are measured at once, at least: small jobs run one after another."""
LOOKS = 0.25
FLAT = 1.3
"""How much more a task may cost at most."""


class Cost(Struct, frozen=True):
    """Of a task: the orchestrator's microseconds of processors, and the same at an even pace of the machine."""

    microseconds: float
    paced: float


class Orchestrator(Struct, frozen=True):
    stub: Any
    pid: int


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.flat", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000], help="of jobs")
    parser.add_argument("--crowds", type=int, nargs="+", default=[2, 20, 200], help="of workers")
    parser.add_argument("--tasks", type=int, default=100_000, help="of the job that each crowd runs")
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args(given)


@asynccontextmanager
async def orchestrator(workers: int) -> AsyncIterator[Orchestrator]:
    """One with so many simulated workers, that has run some tasks."""
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as home:
        async with AsyncLocalFleet(home, workers=0) as fleet, calling(fleet.address) as stub:
            with simulated(fleet.address, workers, processes=min(workers, 2), work=True):
                await measures.run(stub, request(noop(LEAST)))
                assert fleet.orchestrator_pid is not None
                yield Orchestrator(stub, fleet.orchestrator_pid)


async def cost(of: Orchestrator, tasks: int) -> Cost:
    """A task's, in jobs of so many."""
    jobs = max(1, LEAST // tasks)
    paces, job = [yardstick()], request(noop(tasks))

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOKS)
            paces.append(yardstick())

    looking, before = asyncio.create_task(look()), processor_seconds(of.pid)
    for _ in range(jobs):
        came = await measures.run(of.stub, job)
        assert came.tasks == tasks, "each task's result has come"
    spent = (processor_seconds(of.pid) - before) / (jobs * tasks)
    looking.cancel()
    with suppress(asyncio.CancelledError):
        await looking
    return Cost(spent * 1e6, spent / median([*paces, yardstick()]))


async def by_size(options: argparse.Namespace) -> tuple[dict[int, list[Cost]], list[float]]:
    """Costs by the size of the job; and the orchestrator's memory in MiB, before and after."""
    costs: dict[int, list[Cost]] = {size: [] for size in options.sizes}
    async with orchestrator(2) as one:
        before = memory(one.pid)
        for _ in range(options.repeat):
            for size, found in costs.items():
                found.append(await cost(one, size))
        return costs, [before, memory(one.pid)]


async def by_crowd(options: argparse.Namespace) -> dict[int, list[Cost]]:
    """Costs by the number of workers, each crowd with an orchestrator of its own."""
    costs: dict[int, list[Cost]] = {crowd: [] for crowd in options.crowds}
    async with AsyncExitStack() as stack:
        each = {crowd: await stack.enter_async_context(orchestrator(crowd)) for crowd in options.crowds}
        for _ in range(options.repeat):
            for crowd, found in costs.items():
                found.append(await cost(each[crowd], options.tasks))
    return costs


def flatness(costs: dict[int, list[Cost]]) -> dict[int, float]:
    """Each median to that of the first, at an even pace."""
    paced = {name: median(each.paced for each in found) for name, found in costs.items()}
    first = next(iter(paced.values()))
    return {name: value / first for name, value in paced.items()}


def main() -> None:
    options = arguments()
    sizes, kept = run(by_size(options))
    crowds = run(by_crowd(options))
    rows, figures = [], {}
    for what, costs in (("tasks in a job, 2 workers", sizes), (f"workers, {options.tasks:,} tasks", crowds)):
        ratios = flatness(costs)
        spreads = {name: Spread.of(each.microseconds for each in found) for name, found in costs.items()}
        rows += [
            (f"{name:,} {what}", *spreads[name].shown(1), f"{ratio:.2f}" if ratio != 1 else "")
            for name, ratio in ratios.items()
        ]
        figures[what.partition(" ")[0].strip(",")] = [
            {"count": name, "microseconds": spreads[name], "to_first": ratio} for name, ratio in ratios.items()
        ]
    notes = [
        f"at most {FLAT} of the first is flat",
        f"the orchestrator's memory before and after the jobs, MiB: {kept[0]:.0f}, {kept[1]:.0f}",
    ]
    show("What a task costs the orchestrator, microseconds", ["", "min", "median", "max", "of first"], rows, notes)
    finish("flat", **vars(options), measured=figures, memory_mib=kept)


if __name__ == "__main__":
    main()
