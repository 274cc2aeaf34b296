"""A network of 784-512-256-10 beside plain Keras, in one run and by turns: samples a second of each way to train it.

Ratios are those of two measurements that came one after the other. The whole is set beside `fit` with as many threads;
rounds, on two workers of one thread, beside `fit` with two; the gang beside a script of Keras's own strategy.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from bench.figures import Spread, finish, show
from bench.neural import fleet, plain, telling

QUICK = {"rows": 12_000, "epochs": 1, "repeat": 1, "batches": [128], "pauses": 5, "starts": 2}
BESIDE = {
    "whole, 1 thread": "fit, 1 thread",
    "whole, 2 threads": "fit, 2 threads",
    "rounds, 2 x 1": "fit, 2 threads",
    "gang, 2 x 1": "strategy, 2 x 1",
}
AIMS = {"whole, 1 thread": 0.97, "whole, 2 threads": 0.97, "rounds, 2 x 1": 1.4, "gang, 2 x 1": 0.97}
AIMED = 128
"""The batch size at which rounds have their aim."""
MOST_TELLING = 0.02

Measure = Callable[[], Awaitable[float]]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.neural", description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--epochs", type=int, default=1, help="that are counted, after one that is not")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--pauses", type=int, default=20)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    options = parser.parse_args(given)
    for name, value in QUICK.items() if options.quick else ():
        setattr(options, name, value)
    return options


class Measured:
    """What the turns came to: samples a second by batch and by name, and what else was seen of fleets."""

    def __init__(self) -> None:
        self.speeds: dict[int, dict[str, list[float]]] = {}
        self.beside: list[float] = []

    def ratios(self, batch: int) -> dict[str, Spread]:
        speeds = self.speeds[batch]
        pairs = {name: zip(speeds[name], speeds[other], strict=True) for name, other in BESIDE.items()}
        return {name: Spread.of(ours / theirs for ours, theirs in both) for name, both in pairs.items()}


async def measure(options: argparse.Namespace) -> tuple[Measured, list[float], list[float]]:
    """All speeds, seconds that pauses took, and seconds to a first step."""
    found = Measured()
    sizes = {"rows": options.rows, "epochs": options.epochs}
    async with fleet.fleet(1, options.rows) as one, fleet.fleet(2, options.rows) as two:
        for client in (one, two):  # loads TensorFlow in the slots, and traces
            await fleet.train(client, "rounds", rows=options.rows, batch=options.batches[0], epochs=1)

        async def ours(client: Any, way: str, batch: int, **given: Any) -> float:
            came = await fleet.train(client, way, batch=batch, **sizes, **given)
            if way == "rounds":
                found.beside.append(came.beside)
            return came.samples_per_second

        async def theirs(what: str, batch: int, **given: int) -> float:
            return await asyncio.to_thread(plain.run, what, batch=batch, **sizes, **given)

        for batch in options.batches:
            turns: dict[str, Measure] = {
                "fit, 1 thread": partial(theirs, "fit", batch, threads=1),
                "whole, 1 thread": partial(ours, one, "whole", batch),
                "whole, 2 threads": partial(ours, one, "whole", batch, threads=2),
                "fit, 2 threads": partial(theirs, "fit", batch, threads=2),
                "rounds, 2 x 1": partial(ours, two, "rounds", batch),
                "gang, 2 x 1": partial(ours, two, "gang", batch, replicas=2),
                "strategy, 2 x 1": partial(theirs, "strategy", batch, members=2),
            }
            speeds = found.speeds[batch] = {name: [] for name in turns}
            for _ in range(options.repeat):
                for name, turn in turns.items():
                    speeds[name].append(await turn())
        starts = await fleet.first_steps(one, options.starts)
        stopped = await fleet.pauses(one, options.pauses, options.batches[0])
    return found, starts, stopped


def percentile(values: list[float], share: float) -> float:
    listed = sorted(values)
    return listed[min(len(listed) - 1, int(share * len(listed)))]


def main() -> None:
    options = arguments()
    found, starts, stopped = asyncio.run(measure(options))
    cost = telling.run(rows=options.rows // 3, batch=options.batches[0]) - 1
    for batch in options.batches:
        ratios = found.ratios(batch)
        rows = [
            (name, *Spread.of(values).shown(0), *beside(name, ratios, batch))
            for name, values in found.speeds[batch].items()
        ]
        title = f"784-512-256-10, {options.rows:,} rows, batches of {batch:,}: samples a second"
        show(title, ["", "min", "median", "max", "beside", "ratio", "aim"], rows)
    p50, p99 = (1e3 * percentile(stopped, share) for share in (0.5, 0.99))
    print(f"telling each step costs a slot {100 * cost:.1f} % of its processor time; at most {100 * MOST_TELLING:g} %")
    print(
        f"in rounds, the fleet's other processes take {100 * Spread.of(found.beside).median:.1f} % of the slots' time"
    )
    print(f"a pause: p50 {p50:.0f} ms, p99 {p99:.0f} ms to the last step, of {len(stopped)}")
    print(f"a warm fleet's first step of digits: {Spread.of(starts).median:.2f} s after the submission, median")
    finish(
        "neural",
        **vars(options),
        samples_per_second={
            batch: {name: Spread.of(values) for name, values in speeds.items()}
            for batch, speeds in found.speeds.items()
        },
        ratios={batch: found.ratios(batch) for batch in options.batches},
        telling=cost,
        beside=Spread.of(found.beside),
        pause_milliseconds={"p50": p50, "p99": p99},
        first_step_seconds=Spread.of(starts),
    )


def beside(name: str, ratios: dict[str, Spread], batch: int) -> tuple[str, str, str]:
    if name not in BESIDE:
        return "", "", ""
    aimed = batch == AIMED or not name.startswith("rounds")
    return BESIDE[name], f"{ratios[name].median:.2f}", f"{AIMS[name]:g}" if aimed else ""


if __name__ == "__main__":
    main()
