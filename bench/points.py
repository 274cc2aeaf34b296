"""Points of metrics: tasks on two workers report as fast as they can, while others watch.

Each watcher adds up what comes to it: every point once. The limit is the same points as bare bytes, in messages to
another process and back by gRPC alone, where nothing is kept, ordered or shown to anybody else; measured by turns.
"""

import argparse
import asyncio
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Any

from bench.budget import spent
from bench.figures import Spread, finish, show
from bench.load import memory
from bench.noops import bare_channel
from bench.peers.with_grpc import echo
from clients.cli import measures
from clients.cli.measures import Came, calling, noop, request
from tensorfleet import AsyncClient
from tensorfleet.api.v1 import jobs_pb2
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.loops import run

AIM = 200_000
"""Points a second that an orchestrator should take."""
POINT, TOGETHER = 16, 512
"""Bytes of a bare point, and points of a bare message."""
LOOKS = 0.05


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.points", description=__doc__)
    parser.add_argument("--points", type=int, default=400_000, help="of each worker")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--watchers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args(given)


async def watched(stubs: list[Any], client: AsyncClient, workers: int, points: int) -> tuple[float, float]:
    """Points a second into the orchestrator, until the job's end by its clock; and until the last watcher saw it."""
    begun = perf_counter()
    job = await client.submit(noop(workers, points=points))
    seen = await asyncio.gather(*(added_up(stub, job.id) for stub in stubs))
    seconds = perf_counter() - begun
    for came in seen:
        assert came.points == workers * points, f"{workers * points - came.points} points were lost"
        assert came.steps == workers * points * (points - 1) / 2, "some points came twice, others never"
    await job.refresh()
    assert job.info.seconds is not None
    return workers * points / job.info.seconds, workers * points / seconds


async def added_up(stub: Any, job: str) -> Came:
    came = Came()
    async for response in stub.WatchJob(jobs_pb2.WatchJobRequest(job_id=job)):
        for event in response.events:
            measures.count(came, event)
    return came


async def bare(points: int) -> float:
    """Points a second by gRPC alone."""
    async with bare_channel() as channel:
        await echo(channel, b"x" * POINT * TOGETHER, 100)
        begun = perf_counter()
        await echo(channel, b"x" * POINT * TOGETHER, points // TOGETHER)
        return points / (perf_counter() - begun)


class Memory:
    """That of a process in MiB, looked at over and over."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.before = self.most = memory(pid)

    async def look(self) -> None:
        while True:
            self.most = max(self.most, memory(self._pid))
            await asyncio.sleep(LOOKS)

    @property
    def now(self) -> float:
        return memory(self._pid)


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    rates: dict[str, list[float]] = {"orchestrator": [], "watchers": [], "bare": []}
    costs: Counter[str] = Counter()
    whole = options.workers * options.points
    async with AsyncExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="tensorfleet-bench-"))
        fleet = await stack.enter_async_context(AsyncLocalFleet(home, workers=options.workers))
        client = await stack.enter_async_context(AsyncClient(fleet.address))
        stubs = [await stack.enter_async_context(calling(fleet.address)) for _ in range(options.watchers)]
        await fleet.workers_ready(options.workers)
        await measures.run(stubs[0], request(noop(10 * options.workers, points=1000)))
        assert fleet.orchestrator_pid is not None
        its = Memory(fleet.orchestrator_pid)
        looking = asyncio.create_task(its.look())
        for _ in range(options.repeat):
            with spent(costs):
                into, out = await watched(stubs, client, options.workers, options.points)
            rates["orchestrator"].append(into)
            rates["watchers"].append(out)
            rates["bare"].append(await bare(whole))
        looking.cancel()
        kept = [its.before, its.most, its.now]
    return {
        "rates": {name: Spread.of(values) for name, values in rates.items()},
        "cost_microseconds": {name: cost / (whole * options.repeat) * 1e6 for name, cost in costs.most_common()},
        "memory_mib": dict(zip(("before", "most", "after"), kept, strict=True)),
    }


def main() -> None:
    options = arguments()
    figures = run(measure(options))
    rates, costs = figures["rates"], figures["cost_microseconds"]
    before, most, after = figures["memory_mib"].values()
    labels = {
        "orchestrator": "into the orchestrator, durable",
        "watchers": f"and shown to {options.watchers} watchers",
        "bare": "bare bytes there and back, by gRPC alone",
    }
    limit = rates["bare"].median
    rows = [(labels[name], *rate.shown(0), f"{rate.median / limit:.3f}") for name, rate in rates.items()]
    ratios = {"to_bare": rates["orchestrator"].median / limit, "to_aim": rates["orchestrator"].median / AIM}
    shown = ", ".join(f"{name} {cost:.2f}" for name, cost in costs.items() if cost >= 0.01)
    notes = [
        f"{ratios['to_aim']:.2f} of the {AIM:,} a second that it should take; none lost",
        f"microseconds of processors a point: {shown}; {sum(costs.values()):.2f} in all",
        f"the orchestrator's memory in MiB: {before:.0f} before, {most:.0f} at most, {after:.0f} after",
    ]
    title = f"{options.workers} x {options.points:,} points, points/s"
    show(title, ["", "min", "median", "max", "of bare"], rows, notes)
    finish("points", **vars(options), **figures, **ratios)


if __name__ == "__main__":
    main()
