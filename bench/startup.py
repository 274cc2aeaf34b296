"""Start-up: where the time of `tensorfleet train iris` goes, each time over a fresh home.

The limit is measured by turns with it: a Python that imports scikit-learn, fits the same model on the same rows and
ends. What is between is read afterwards from what the programs left in the home: files' times, log lines, the journal.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.figures import Spread, finish, show
from tensorfleet.stores import open_documents

ALLOWED = 1.0
"""Seconds that the command may take beyond twice the limit."""

ALONE = """
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
X, y = load_iris(return_X_y=True)
X, _, y, _ = train_test_split(X, y, test_size=0.2, random_state=42, stratify=y)
RandomForestClassifier(random_state=42).fit(X, y)
"""
TRAIN = ("-m", "clients.cli.main", "train", "iris", "--algorithm", "random_forest", "--output", "json")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.startup", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    return parser.parse_args(given)


def python(*given: str, home: str | None = None) -> float:
    """Seconds of one run of Python."""
    environment = {**os.environ, "TENSORFLEET_LOG_LEVEL": "debug", **({"TENSORFLEET_HOME": home} if home else {})}
    environment.pop("TENSORFLEET_SERVER", None)
    begun = time.perf_counter()
    subprocess.run([sys.executable, *given], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def trained() -> tuple[float, dict[str, float]]:
    """Seconds of the command, and when each thing had happened, in seconds since it was started."""
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as folder:
        home = Path(folder) / "home"
        begun = time.time()
        total = python(*TRAIN, home=str(home))
        moments = asyncio.run(story(home))
        return total, {name: moment - begun for name, moment in moments.items()} | {"all processes ended": total}


async def story(home: Path) -> dict[str, float]:
    """When what happened, by the wall clock, from a home that was used for one job."""
    logs = {path.stem: lines(path) for path in (home / "logs").glob("*.log")}
    moments = {
        "programs started by the command": (home / "logs").stat().st_mtime,
        "orchestrator imported": (home / "lock").stat().st_mtime,
        "orchestrator serves": at(logs["orchestrator"], "serving"),
        "worker in session": at(logs["worker-1"], "joined"),
        "numerics loaded, slots forked": at(logs["worker-1"], "numerics loaded"),
    }
    documents = await open_documents(home)
    try:
        (job,) = await documents.find("jobs")
        moments["job accepted"] = job["created_at"]
        for entry in await documents.find("events", {"job_id": job["id"]}, order=("number",)):
            for event in entry["events"]:
                if event["type"] == "TasksSucceeded":
                    moments[f"stage {event['stage']} done"] = event["at"]
        moments["job ended"] = job["ended_at"]
    finally:
        await documents.close()
    return moments


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def at(log: list[dict[str, Any]], event: str) -> float:
    """When a log's first line of an event was written."""
    line = next(line for line in log if line["event"] == event)
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def main() -> None:
    options = arguments()
    python("-c", ALONE)  # whatever is read is in the page cache from here on
    trained()
    runs, alone, bare, imports = [], [], [], []
    for _ in range(options.repeat):
        alone.append(python("-c", ALONE))
        runs.append(trained())
        bare.append(python("-c", "pass"))
        imports.append(python("-c", "import clients.cli.main"))
    total, limit = Spread.of(seconds for seconds, _ in runs), Spread.of(alone)
    moments = {name: Spread.of(run[name] for _, run in runs) for name in runs[0][1]}
    moments |= {"interpreter started": Spread.of(bare), "command imported": Spread.of(imports)}
    rows, before = [], 0.0
    for name, spread in sorted(moments.items(), key=lambda item: item[1].median):
        rows.append((name, *spread.shown(), f"{spread.median - before:+.3f}"))
        before = spread.median
    rows.append(("scikit-learn alone: start, import, fit, end", *limit.shown(), ""))
    allowed = 2 * limit.median + ALLOWED
    note = f"total / (2 x scikit-learn alone + 1 s) = {total.median:.2f} / {allowed:.2f} = {total.median / allowed:.2f}"
    show("`tensorfleet train iris`, seconds since its start", ["", "min", "median", "max", "step"], rows, [note])
    finish("startup", repeat=options.repeat, total=total, alone=limit, moments=moments,
           to_allowed=total.median / allowed)  # fmt: skip


if __name__ == "__main__":
    main()
