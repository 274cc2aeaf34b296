"""What it costs a slot to tell each step: the same epoch, with points that go out as a slot's do, and with none.

The rule: a program of its own, that prints the processor time with points as a ratio to that without, by turns; of each
the least, since whatever else the machine does only adds to it, by more than the points do.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

from bench.neural.plain import UNITS, rows
from tensorfleet import bundle, catalog
from tensorfleet.algorithms import rounds
from tensorfleet.execution import written
from tensorfleet.operators import Context, Input, Output, Written
from worker.measured import PointsOut

Report = Callable[[str, int, float], None]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.neural.telling", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=10)
    return parser.parse_args(given)


def run(**options: int) -> float:
    """The ratio, by a program of its own."""
    flags = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "bench.neural.telling", *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def epoch(folder: Path, options: argparse.Namespace) -> Callable[[Report], float]:
    """Gives what runs one epoch, and the seconds of processors that it takes."""
    import numpy as np

    X, y = rows(options.rows)
    ids = np.arange(len(y))
    classes = [str(label) for label in np.unique(y)]
    parts: list[Any] = [
        {"X": X, "y": y, "rows": ids},
        {"X": X[:0], "y": y[:0], "rows": ids[:0]},
        {"classes": classes},
    ]
    prepared = [keep(folder, str(place), bundle.encode(part)) for place, part in enumerate(parts)]
    given = catalog.algorithm("dnn").defaults() | {"units": list(UNITS), "batch_size": options.batch}
    same: dict[str, Any] = {"algorithm": "dnn", "hyperparameters": given, "seed": 0, "way": "whole"}
    begin = Context(params={**same, "replicas": 1}, inputs=[prepared[0], prepared[2]], report=lambda *_: None)
    outcome = catalog.operator("neural.start@1")(begin)
    state = keep(folder, "state", outcome.outputs[0])
    steps = rounds.schedule(len(y), options.batch).epoch_steps
    params: dict[str, Any] = {
        **same,
        **dict.fromkeys(("replica", "round", "epoch", "first_step"), 0),
        "replicas": 1,
        "epoch_steps": steps,
        "steps": steps,
        "learning_rate_factor": 1.0,
        "carried": False,
        "evaluate": False,
    }

    def once(report: Report) -> float:
        begun = process_time()
        catalog.operator("neural.local@1")(Context(params=params, inputs=[state, *prepared], report=report))
        return process_time() - begun

    return once


def keep(folder: Path, name: str, output: Output | Written) -> Input:
    assert not isinstance(output, Written)
    written(output, folder / name)
    return Input(folder / name)


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(["cat"], stdin=-1, stdout=-3) as reader:
        assert reader.stdin is not None
        pipe = reader.stdin.fileno()
        told, once = PointsOut(lambda data: _all(pipe, data)), epoch(Path(folder), options)
        turns: dict[Report, list[float]] = {told.add: [], lambda series, step, value: None: []}
        for turn in range(options.repeat + 1):
            for report, seconds in turns.items():
                took = once(report)
                if turn:  # the first traces the network
                    seconds.append(took)
        reader.stdin.close()
    telling, silent = (min(seconds) for seconds in turns.values())
    print(json.dumps(telling / silent))


def _all(pipe: int, data: bytes) -> None:
    os.write(pipe, data)


if __name__ == "__main__":
    main()
