"""Stages: an iterative job, whose rounds are some tasks that do nothing and one that waits for all of them.

Nothing is ahead of a stage, so what counts is each step on its way. The limit is what a round cannot do without,
measured by turns with it: for the tasks, and again for the one that waits for them, a durable commit and a message to a
worker and back.
"""

import argparse
import asyncio
from collections import Counter

from bench.budget import spent
from bench.figures import Spread, finish, show
from bench.noops import bare_trips, durable_commits, warm_fleet
from clients.cli import measures
from clients.cli.measures import calling, noop, request
from tensorfleet.loops import run

STEPS = 2
"""Of a round: its tasks, and what waits for them."""
MOST = 5.0
"""Milliseconds that a round should take at most."""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.stages", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--tasks", type=int, default=8, help="of each round, besides the one that waits for them")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    return parser.parse_args(given)


async def measure(options: argparse.Namespace) -> tuple[dict[str, Spread], dict[str, float]]:
    """Milliseconds a round, by turns with those of its limits; microseconds of processors a round, by process."""
    rounds = options.rounds
    job = request(noop(options.tasks, rounds=rounds, reduce=True))
    times: dict[str, list[float]] = {"round": [], "commits": [], "trips": []}
    costs: Counter[str] = Counter()
    async with warm_fleet(options.slots) as (fleet, _), calling(fleet.address) as stub:
        await measures.run(stub, job)
        for _ in range(options.repeat):
            with spent(costs):
                came = await measures.run(stub, job)
            assert came.tasks == rounds * (options.tasks + 1), "each task's result has come"
            times["round"].append(came.seconds)
            times["commits"].append(sum(await asyncio.to_thread(durable_commits, STEPS * rounds)))
            times["trips"].append(sum(await bare_trips(STEPS * rounds)))
    milliseconds = {name: Spread.of(value / rounds * 1e3 for value in values) for name, values in times.items()}
    return milliseconds, {name: cost / (rounds * options.repeat) * 1e6 for name, cost in costs.most_common()}


def main() -> None:
    options = arguments()
    times, costs = run(measure(options))
    labels = {
        "round": f"a round of {options.tasks} tasks and one that waits for them",
        "commits": f"{STEPS} durable commits",
        "trips": f"{STEPS} messages there and back, by gRPC alone",
    }
    limit = times["commits"].median + times["trips"].median
    ratio = times["round"].median / limit
    shown = ", ".join(f"{name} {cost:,.0f}" for name, cost in costs.items())
    notes = [
        f"round / (commits + messages): {ratio:.1f}; it should take at most {MOST:g} ms",
        f"microseconds of processors a round: {shown}; {sum(costs.values()):,.0f} in all",
    ]
    title = f"{options.rounds} rounds, one after another, milliseconds each"
    show(title, ["", "min", "median", "max"], [(labels[name], *row.shown(2)) for name, row in times.items()], notes)
    finish("stages", **vars(options), milliseconds=times, to_limit=ratio, cost_microseconds=costs)


if __name__ == "__main__":
    main()
