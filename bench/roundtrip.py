"""A round trip: one client runs one job of one no-op after another, each submitted and watched to its end in one call.

The limit is the floor under such a job (`bench.floor`): the same crossings of processes, but for the slot's, and the
same two durable commits, by grpc.aio and SQLite alone. Both are measured by turns, as are a bare call to the same
server and the two commits; what a job and its floor cost is the processors' time in all processes. Then the same by
several clients at once, each with one job after another: jobs a second, beside as many clients of the floor.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from time import perf_counter

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.budget import spent
from bench.figures import Spread, finish, show
from bench.floor import RECORDS, floor, journal, trip
from bench.noops import results, warm_fleet
from clients.cli.measures import CLIENTS, percentile
from tensorfleet.api.v1 import jobs_pb2_grpc
from tensorfleet.loops import run
from tensorfleet.rpc.channels import open_channel

TURNS = 10
JOB, FLOOR, CALL, ROWS = "a job of one no-op", "the floor under it", "a bare call", "two durable commits"

Once = Callable[[], Awaitable[object]]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.roundtrip", description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--slots", type=int, default=2)
    return parser.parse_args(given)


class Trips:
    """What was seen. times: seconds of each, by what it was; costs: those of all processors, in all."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {JOB: [], FLOOR: [], CALL: [], ROWS: []}
        self.costs: Counter[str] = Counter()
        self.rates: dict[str, list[float]] = {JOB: [], FLOOR: []}
        """By several clients: a second."""

    async def take(self, what: str, once: Once, count: int) -> None:
        used: Counter[str] = Counter()
        with spent(used):
            for _ in range(count):
                begun = perf_counter()
                await once()
                self.times[what].append(perf_counter() - begun)
        self.costs[what] += used.total()

    async def crowd(self, what: str, once: Sequence[Once], count: int) -> None:
        """Each of several clients takes as many turns."""

        async def client(one: Once) -> None:
            for _ in range(count):
                await one()

        begun = perf_counter()
        await asyncio.gather(*map(client, once))
        self.rates[what].append(len(once) * count / (perf_counter() - begun))


async def measure(runs: int, slots: int) -> Trips:
    """By turns; the first of them only warms all up."""
    with floor() as address, journal() as commit:

        async def commits() -> None:
            for records in RECORDS:
                commit(records)

        async with warm_fleet(slots) as (fleet, _), AsyncExitStack() as opened:

            async def channels(target: str) -> list[grpc.aio.Channel]:
                return [await opened.enter_async_context(open_channel(target)) for _ in range(CLIENTS)]

            stubs, floors = (
                [jobs_pb2_grpc.JobServiceStub(each) for each in await channels(fleet.address)],
                await channels(address),
            )
            jobs, bare = stubs[0], floors[0]
            health = health_pb2_grpc.HealthStub(await opened.enter_async_context(open_channel(fleet.address)))
            trips, count = Trips(), max(1, runs // TURNS)
            for turn in range(TURNS + 1):
                if turn == 1:
                    trips = Trips()
                await trips.take(JOB, lambda: results(jobs, 1), count)
                await trips.take(FLOOR, lambda: trip(bare), count)
                await trips.take(CALL, lambda: health.Check(health_pb2.HealthCheckRequest()), count)
                await trips.take(ROWS, commits, count)
                await trips.crowd(JOB, [partial(results, stub, 1) for stub in stubs], count)
                await trips.crowd(FLOOR, [partial(trip, channel) for channel in floors], count)
    return trips


def main() -> None:
    options = arguments()
    trips = run(measure(options.runs, options.slots))
    figures: dict[str, dict[str, float]] = {
        name: {"min": min(values), "p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}
        for name, values in trips.times.items()
    }
    costs = {name: trips.costs[name] / len(trips.times[name]) for name in (JOB, FLOOR)}
    rows = [
        [name, *(f"{value * 1000:.2f}" for value in row.values()), f"{costs[name] * 1000:.2f}" if name in costs else ""]
        for name, row in figures.items()
    ]
    ratios = {at: figures[JOB][at] / figures[FLOOR][at] for at in ("p50", "p99")} | {"cost": costs[JOB] / costs[FLOOR]}
    notes = [f"job / floor: {ratios['p50']:.1f} at p50, {ratios['p99']:.1f} at p99, {ratios['cost']:.1f} of processors"]
    rates = {name: Spread.of(values) for name, values in trips.rates.items()}
    crowd = Spread.of(ours / least for ours, least in zip(trips.rates[JOB], trips.rates[FLOOR], strict=True))
    notes.append(
        f"{CLIENTS} clients at once: {rates[JOB].median:,.0f} jobs/s; of the floor {rates[FLOOR].median:,.0f}/s, so "
        f"{crowd.median:.2f} of it"
    )
    columns = ["", "min", "p50", "p99", "max", "processors"]
    show(f"Round trip, {options.runs} runs, milliseconds", columns, rows, notes)
    finish(
        "roundtrip",
        runs=options.runs,
        slots=options.slots,
        seconds=figures,
        costs=costs,
        to_limit=ratios,
        by_clients={"clients": CLIENTS, "per_second": rates, "to_limit": crowd},
    )


if __name__ == "__main__":
    main()
