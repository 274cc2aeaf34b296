"""A round trip: one client runs one job of one no-op after another, each submitted and watched to its end in one call.

The limit is what such a job cannot do without, measured by turns with it: one call to the same server and back, and
three durable commits in a row (the job accepted, its task assigned, its result kept).
"""

import argparse
import asyncio
from time import perf_counter

from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.figures import finish, show
from bench.noops import durable_commits, warm_fleet
from clients.cli.measures import noop, percentile, round_trips
from tensorfleet.api.v1 import jobs_pb2_grpc
from tensorfleet.loops import run
from tensorfleet.rpc.channels import open_channel

COMMITS = 3
TURNS = 10


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.roundtrip", description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--slots", type=int, default=2)
    return parser.parse_args(given)


async def measure(runs: int, slots: int) -> dict[str, list[float]]:
    """Seconds of each job, each bare call and each row of commits, by turns."""
    times: dict[str, list[float]] = {"job": [], "call": [], "commits": []}
    async with warm_fleet(slots) as (fleet, _), open_channel(fleet.address) as channel:
        jobs, health = jobs_pb2_grpc.JobServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        for turn in range(TURNS):
            count = runs * (turn + 1) // TURNS - runs * turn // TURNS
            times["job"] += await round_trips(jobs, noop(), count)
            for _ in range(count):
                begun = perf_counter()
                await health.Check(health_pb2.HealthCheckRequest())
                times["call"].append(perf_counter() - begun)
            single = await asyncio.to_thread(durable_commits, COMMITS * count)
            times["commits"] += [sum(single[at : at + COMMITS]) for at in range(0, len(single), COMMITS)]
    return times


def main() -> None:
    options = arguments()
    times = run(measure(options.runs, options.slots))
    figures: dict[str, dict[str, float]] = {
        name: {"min": min(values), "p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}
        for name, values in times.items()
    }
    limit = {at: figures["call"][at] + figures["commits"][at] for at in ("p50", "p99")}
    ratios = {at: figures["job"][at] / limit[at] for at in limit}
    labels = {"job": "a job of one no-op", "call": "a bare call", "commits": f"{COMMITS} durable commits"}
    rows = [[labels[name], *(f"{value * 1000:.2f}" for value in row.values())] for name, row in figures.items()]
    notes = [f"job / (call + commits): {ratios['p50']:.1f} at p50, {ratios['p99']:.1f} at p99"]
    show(f"Round trip, {options.runs} runs, milliseconds", ["", "min", "p50", "p99", "max"], rows, notes)
    finish("roundtrip", runs=options.runs, slots=options.slots, seconds=figures, to_limit=ratios)


if __name__ == "__main__":
    main()
