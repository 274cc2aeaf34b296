"""Training by rounds in one process: what comes out equals what a plain loop does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorfleet import bundle, catalog, direct
from tensorfleet.algorithms import rounds
from tensorfleet.model import JobResult, JobSpec
from tests.rounds import plugin, toy

ROWS = "synthetic:classification?rows=500&features=6&classes=3&seed=2"


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    with plugin.known():
        yield


class Run:
    """A training: its result, its weights, and the summaries of its stages."""

    def __init__(self, objects: Path, split: float = 0.0, dataset: str = ROWS, **given: Any) -> None:
        spec = JobSpec(dataset=dataset, algorithm="toy", hyperparameters=given, validation_split=split, seed=7)
        spec, wrong = catalog.validate(spec)
        assert not wrong
        self.stages: dict[str, list[Any]] = {}
        self.outputs: dict[str, list[Any]] = {}

        def keep(stage: str, index: int, result: Any) -> None:
            self.stages.setdefault(stage, []).append(result.summary)
            self.outputs.setdefault(stage, []).append(result.outputs)

        ran = direct.run(spec, objects=objects, finished=keep)
        self.result: JobResult = ran.result
        assert ran.result.model is not None
        self.sha256 = ran.result.model.sha256
        self.weights = bundle.load(direct.object_path(objects, self.sha256))["weights"]
        self.objects = objects

    def prepared(self) -> list[Any]:
        return [bundle.load(direct.object_path(self.objects, ref.digest)) for ref in self.outputs["prepare"][0]]


def plain(
    train: Any, classes: list[str], *, epochs: int, batch_size: int, rate: float, momentum: float, noise: float
) -> list[Any]:
    """The same training as one loop."""
    draw = np.random.default_rng(7)
    weights = [draw.normal(size=(train["X"].shape[1], len(classes))) * 0.01, np.zeros(len(classes))]
    speeds = [0.0 * item for item in weights]
    for epoch in range(epochs):
        order = np.random.default_rng([7, epoch]).permutation(len(train["y"]))
        for step, start in enumerate(range(0, len(order), batch_size)):
            batch = order[start : start + batch_size]
            draw = np.random.default_rng([7, 0, epoch, step])
            X = train["X"][batch] + noise * draw.normal(size=(len(batch), train["X"].shape[1]))
            _, gradients = toy._gradients(weights, X, toy._labels(train["y"][batch], classes))
            speeds = [momentum * speed - rate * slope for speed, slope in zip(speeds, gradients, strict=True)]
            weights = [item + speed for item, speed in zip(weights, speeds, strict=True)]
    return weights


@pytest.mark.parametrize("given", [{"way": "whole"}, {"way": "rounds", "replicas": 1, "local_steps": 5}])
def test_one_replica_is_a_plain_loop_bit_for_bit(tmp_path: Path, given: dict[str, Any]) -> None:
    run = Run(tmp_path, epochs=3, batch_size=27, **given)
    train, _, preparation = run.prepared()
    alone = plain(train, preparation["classes"], epochs=3, batch_size=27, rate=0.1, momentum=0.9, noise=0.1)
    assert [item.tobytes() for item in run.weights] == [item.tobytes() for item in alone]


def test_a_step_a_round_is_synchronous_sgd(tmp_path: Path) -> None:
    given = {"way": "rounds", "replicas": 3, "local_steps": 1, "epochs": 2, "noise": 0.0, "momentum": 0.0}
    run = Run(tmp_path, batch_size=20, learning_rate=0.3, **given)
    train, _, preparation = run.prepared()
    rows, classes = len(train["y"]), preparation["classes"]
    draw = np.random.default_rng(7)
    weights = [draw.normal(size=(6, 3)) * 0.01, np.zeros(3)]
    for epoch in range(2):
        order = rounds.order(7, epoch, rows)
        parts = [order[slice(*rounds.part(rows, 3, replica))] for replica in range(3)]
        for start in range(0, 167, 20):
            batch = np.concatenate([part[start : start + 20] for part in parts])
            _, gradients = toy._gradients(weights, train["X"][batch], toy._labels(train["y"][batch], classes))
            weights = [item - 0.3 * slope for item, slope in zip(weights, gradients, strict=True)]
    for ours, theirs in zip(run.weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_auto_shares_an_epoch_where_it_has_work_enough(tmp_path: Path) -> None:
    small = Run(tmp_path, epochs=1, batch_size=32)
    large = Run(tmp_path, epochs=1, batch_size=1, replicas=4)
    assert [len(small.stages["round-0"]), len(large.stages["round-0"])] == [1, 4]
    assert "reduce-0" not in small.stages
    assert "reduce-0" in large.stages


def test_more_epochs_begin_with_the_rounds_of_fewer(tmp_path: Path) -> None:
    few, more = (Run(tmp_path, 0.2, epochs=epochs, way="rounds") for epochs in (2, 3))
    for stage in ("start", "round-0", "reduce-0", "round-1", "reduce-1"):
        assert few.outputs[stage] == more.outputs[stage]


def test_what_a_replica_carries_makes_a_difference_and_the_model_reaches_its_loss(tmp_path: Path) -> None:
    runs = [Run(tmp_path, 0.2, epochs=6, way="rounds", outer_momentum=momentum) for momentum in (0.0, 0.5)]
    alone = Run(tmp_path, 0.2, epochs=6, way="whole")
    assert runs[0].sha256 != runs[1].sha256
    for run in runs:
        assert run.result.metrics["loss"] == pytest.approx(alone.result.metrics["loss"], abs=0.1)


def test_the_ledger_adds_up_to_each_row_once_an_epoch(tmp_path: Path) -> None:
    run = Run(tmp_path, 0.2, epochs=3, way="rounds", replicas=3, local_steps=2)
    train = run.prepared()[0]
    (line,) = run.result.trained
    assert (line.first, line.last) == (0, 2)
    assert [[rows.block, rows.rows, rows.digest] for rows in line.blocks] == rounds.ledger(train["rows"], [100] * 8)
    assert sum(rows.rows for rows in line.blocks) == len(train["rows"]) == 400


def test_only_states_that_may_be_needed_are_left_on_disk(tmp_path: Path) -> None:
    run = Run(tmp_path, 0.2, epochs=12, way="rounds", learning_rate=1.0)
    losses = [run.stages[f"reduce-{number}"][0]["val_loss"] for number in range(12)]
    best = int(np.argmin(losses))
    there = {
        stage
        for stage, outputs in run.outputs.items()
        if all(direct.object_path(tmp_path, ref.digest).exists() for task in outputs for ref in task)
    }
    assert there == {"ingest", "prepare", f"reduce-{best}", "round-11", "reduce-11", "finish"}
