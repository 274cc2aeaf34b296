"""A forest beside scikit-learn's: one training on a warm fleet, and the same fit in one process with as many threads.

The fleet's time goes from the submission to the registered model, so it has preparation, metrics and the model's
digest in it; scikit-learn's is its bare `fit`, of the same estimator on the very matrix that the fleet had prepared.
They take turns, and both forests must answer alike.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.figures import Spread, finish, show
from tensorfleet import AsyncClient, bundle
from tensorfleet.client import AsyncJob
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.sdk.events import StageOpened, TasksSucceeded

COMPARED = 2000
"""Rows on which the two forests' answers are compared."""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.forest", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=54)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args(given)


async def train(client: AsyncClient, dataset: str, trees: int) -> tuple[float, dict[str, float], AsyncJob]:
    """Seconds of one training that reuses nothing, those of its stages, and the job."""
    begun = time.perf_counter()
    job = await client.train(dataset, "random_forest", {"n_estimators": trees}, ignore_known_results=True)
    opened: dict[str, float] = {}
    ended: dict[str, float] = {}
    async for event in job.watch():
        if isinstance(event, StageOpened):
            opened[event.stage] = event.time
        elif isinstance(event, TasksSucceeded):
            ended[event.stage] = event.time
    seconds = time.perf_counter() - begun
    job.require_success()
    return seconds, {f"stage {stage}": ended[stage] - opened[stage] for stage in opened}, job


async def prepared(client: AsyncClient, job: AsyncJob, folder: Path) -> tuple[Any, Any]:
    """The training rows as the job's own tasks had them."""
    tasks = await client.jobs.tasks(job.id)
    (output, *_) = next(task.outputs for task in tasks if task.stage == "prepare")
    path = folder / "train"
    path.write_bytes(await client.fetch(output))
    rows = bundle.load(path)
    return rows["X"], rows["y"]


def fit(X: Any, y: Any, trees: int, jobs: int) -> tuple[float, Any]:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(n_estimators=trees, random_state=42, n_jobs=jobs)
    begun = time.perf_counter()
    forest.fit(X, y)
    return time.perf_counter() - begun, forest


async def measure(options: argparse.Namespace) -> tuple[dict[str, list[float]], bool]:
    """Seconds by what took them, and whether the forests answer alike."""
    shape = f"rows={options.rows}&features={options.features}&classes={options.classes}&seed=0"
    times: dict[str, list[float]] = {"ingest": [], "fleet": [], "sklearn": []}
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as folder:
        home = Path(folder) / "home"
        async with AsyncLocalFleet(home, slots=options.slots) as fleet, AsyncClient(fleet.address) as client:
            await (await client.train("iris")).result()  # warms the slots
            begun = time.perf_counter()
            dataset = await client.datasets.add(f"synthetic:classification?{shape}", name="rows")
            times["ingest"].append(time.perf_counter() - begun)
            for _ in range(options.repeat):
                seconds, stages, job = await train(client, dataset.name, options.trees)
                times["fleet"].append(seconds)
                for stage, spent in stages.items():
                    times.setdefault(stage, []).append(spent)
                X, y = await prepared(client, job, Path(folder))
                spent, forest = await asyncio.to_thread(fit, X, y, options.trees, options.slots)
                times["sklearn"].append(spent)
            model = (await (await job.result()).load())[-1]
            alike = bool(np.array_equal(model.predict_proba(X[:COMPARED]), forest.predict_proba(X[:COMPARED])))
    return times, alike


def main() -> None:
    options = arguments()
    times, alike = asyncio.run(measure(options))
    spreads = {name: Spread.of(values) for name, values in times.items()}
    ratios = Spread.of(ours / theirs for ours, theirs in zip(times["fleet"], times["sklearn"], strict=True))
    labels = {
        "fleet": f"fleet, {options.slots} slots: submitted to registered",
        "sklearn": f"scikit-learn, n_jobs={options.slots}: fit",
        "ingest": "ingest, once",
    }
    rows = [(labels.get(name, f"  {name}"), *spread.shown(2)) for name, spread in spreads.items()]
    rows.append(("fleet / scikit-learn", *ratios.shown(2)))
    title = f"Random forest, {options.rows:,} x {options.features}, {options.trees} trees, seconds"
    show(title, ["", "min", "median", "max"], rows, [f"the forests answer alike, bit for bit: {alike}"])
    finish("forest", **vars(options), seconds=spreads, to_sklearn=ratios, alike=alike)


if __name__ == "__main__":
    main()
