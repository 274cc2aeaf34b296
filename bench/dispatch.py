"""Dispatching: how many tasks a second go to a slot and back when they cost nothing and every step is durable.

The peer is `concurrent.futures.ProcessPoolExecutor` with as many processes, which keeps nothing and survives nothing;
the limit is SQLite's own durable commits. Both are measured in the same run, by turns with the fleet.
"""

import argparse
import asyncio
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median

from bench.figures import Spread, finish, show, timed
from bench.noops import durable_commits, warm_fleet
from clients.cli import measures
from clients.cli.measures import calling, noop
from tensorfleet import AsyncClient
from tensorfleet.loops import run

POLL = 0.05


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.dispatch", description=__doc__)
    parser.add_argument("--slots", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--tasks", type=int, default=10_000, help="of the one large job")
    parser.add_argument("--jobs", type=int, default=500, help="of one task each, submitted in one call")
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args(given)


async def one_job(client: AsyncClient, tasks: int) -> float:
    """Tasks a second of one job, from when it was accepted to its end, by the orchestrator's clock."""
    job = await client.submit(noop(tasks))
    while not job.state.ended:
        await asyncio.sleep(POLL)
        await job.refresh()
    job.require_success()
    assert job.info.seconds is not None
    return tasks / job.info.seconds


async def many_jobs(address: str, count: int) -> float:
    """Jobs a second, each of one task, from the first call that submits some to the end of the last."""
    async with calling(address) as stub:
        came = await measures.many_jobs(stub, noop(name="many"), count)
    return came.rate(count)


def pool(slots: int, tasks: int) -> float:
    """Tasks a second of a pool of processes in memory alone."""
    with ProcessPoolExecutor(slots, mp_context=get_context("forkserver")) as executor:
        list(executor.map(abs, range(100)))
        seconds, _ = timed(lambda: list(executor.map(abs, range(tasks))))
    return tasks / seconds


def commits() -> float:
    """Durable commits a second of SQLite alone."""
    return 1 / median(durable_commits(300))


async def measure(slots: int, options: argparse.Namespace) -> dict[str, Spread]:
    """Rates a second by what was measured, by turns."""
    rates: dict[str, list[float]] = {"tasks": [], "jobs": [], "pool": [], "commits": []}
    async with warm_fleet(slots) as (fleet, client):
        for _ in range(options.repeat):
            rates["tasks"].append(await one_job(client, options.tasks))
            rates["pool"].append(await asyncio.to_thread(pool, slots, options.tasks))
            rates["jobs"].append(await many_jobs(fleet.address, options.jobs))
            rates["commits"].append(await asyncio.to_thread(commits))
    return {name: Spread.of(values) for name, values in rates.items()}


def main() -> None:
    options = arguments()
    figures, rows = [], []
    names = {
        "tasks": f"one job of {options.tasks:,} tasks: tasks/s",
        "jobs": f"{options.jobs:,} jobs of one task: jobs/s",
        "pool": "process pool, nothing kept: tasks/s",
        "commits": "SQLite's commits alone: commits/s",
    }
    for slots in options.slots:
        measured = run(measure(slots, options))
        peer, limit = measured["pool"].median, measured["commits"].median
        for name, label in names.items():
            rate = measured[name]
            rows.append((label, str(slots), *rate.shown(0), f"{rate.median / peer:.2f}", f"{rate.median / limit:.2f}"))
        ratios = {f"{name}_to_{to}": measured[name].median / measured[to].median
                  for name in ("tasks", "jobs") for to in ("pool", "commits")}  # fmt: skip
        figures.append({"slots": slots, **measured, **ratios})
    show("No-op dispatch, durable", ["", "slots", "min", "median", "max", "of pool", "of commits"], rows)
    finish("dispatch", tasks=options.tasks, jobs=options.jobs, repeat=options.repeat, by_slots=figures)


if __name__ == "__main__":
    main()
