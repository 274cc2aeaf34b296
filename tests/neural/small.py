"""Small trainings for the tests of neural networks: one operator after another, as a plan would have them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tensorfleet import bundle, catalog
from tensorfleet.algorithms import rounds
from tensorfleet.operators import Context, Control, Input, Outcome, Output

SEED = 7


class Training:
    """The data and the parameters of a training, and its tasks.

    points: what was reported, by series and step.
    """

    def __init__(self, folder: Path, algorithm: str, inputs: Sequence[Any], **given: Any) -> None:
        """inputs: train, validation, preparation, as trees."""
        self.folder, self.algorithm = folder, algorithm
        defaults = catalog.algorithm(algorithm).defaults()
        apart = catalog.algorithm(algorithm).rounds.apart(defaults | given)  # type: ignore[union-attr]
        self.given = {name: value for name, value in (defaults | given).items() if name not in apart}
        self.prepared = [self.keep(bundle.encode(tree)) for tree in inputs]
        self.rows = len(inputs[0]["y"])
        self.points: dict[str, dict[int, float]] = {}

    def keep(self, output: Output) -> Input:
        data = b"".join(output)
        path = self.folder / hashlib.sha256(data).hexdigest()
        path.write_bytes(data)
        return Input(path)

    def run(self, operator: str, inputs: Sequence[Input], control: Control | None = None, **params: Any) -> Outcome:
        saved = params.pop("saved", None)
        threads = params.pop("threads", 1)
        context = Context(
            params={"algorithm": self.algorithm, "hyperparameters": self.given, "seed": SEED, **params},
            inputs=inputs,
            report=lambda series, step, value: self.points.setdefault(series, {}).update({step: value}),
            threads=threads,
            saved=saved,
            **({} if control is None else {"control": control}),
        )
        return catalog.operator(f"neural.{operator}@1")(context)

    def start(self) -> Input:
        train, _, preparation = self.prepared[:3]
        return self.keep(self.run("start", [train, preparation], way="whole", replicas=1).outputs[0])

    def local(
        self,
        state: Input,
        own: Input | None = None,
        *,
        epoch: int = 0,
        replica: int = 0,
        replicas: int = 1,
        control: Control | None = None,
        **params: Any,
    ) -> Outcome:
        """An epoch's steps of one replica."""
        dealt = rounds.schedule(self.rows, self.given["batch_size"], replicas)
        first_step, steps = dealt.steps(replica, 0)
        return self.run(
            "local",
            [state, *([] if own is None else [own]), *self.prepared],
            control,
            way="whole" if replicas == 1 else "rounds",
            **{
                "replica": replica,
                "replicas": replicas,
                "round": epoch,
                "epoch": epoch,
                "epoch_steps": dealt.epoch_steps,
                "first_step": first_step,
                "steps": steps,
                "learning_rate_factor": 1.0,
                "carried": own is not None,
                "evaluate": replicas == 1,
                **params,
            },
        )

    def epochs(self, count: int) -> tuple[Outcome, list[str]]:
        """Epochs of one replica: the last one's outcome, and the digests of all states."""
        state, own, digests = self.start(), None, []
        for epoch in range(count):
            outcome = self.local(state, own, epoch=epoch)
            state, own = (self.keep(output) for output in outcome.outputs)
            digests.append(state.path.name)
        return outcome, digests


def blobs(rows: int = 150, columns: int = 16, classes: int = 3, seed: int = 0) -> tuple[Any, Any, Any]:
    """Classes that can be told apart, a third of them to validate on, as `data.prepare` leaves them."""
    drawn = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    X = (drawn.standard_normal((rows, columns)) + 1.5 * drawn.standard_normal((classes, columns))[y]).astype(np.float32)
    return prepared(X, y, [str(label) for label in range(classes)])


def line(rows: int = 150, columns: int = 4) -> tuple[Any, Any, Any]:
    """A number that follows from others, far from 0 and wide."""
    drawn = np.random.default_rng(0)
    X = drawn.standard_normal((rows, columns)).astype(np.float32)
    return prepared(X, 1e4 + 500.0 * X @ np.arange(1.0, columns + 1), [])


def prepared(X: Any, y: Any, classes: Sequence[str]) -> tuple[Any, Any, Any]:
    held = len(y) // 3
    ids = np.arange(len(y), dtype=np.int64)[::-1].copy()
    train = {"X": X[held:], "y": y[held:], "rows": ids[held:]}
    return train, {"X": X[:held], "y": y[:held], "rows": ids[:held]}, {"classes": list(classes), "target": "y"}


def weights(output: Output) -> list[Any]:
    found: list[Any] = bundle.decode(b"".join(output))["weights"]
    return found


def digest(output: Output) -> str:
    return hashlib.sha256(b"".join(output)).hexdigest()
