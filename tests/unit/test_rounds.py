"""The plan of a training by rounds: who trains on which rows, when it ends early, what it keeps and what it lets go."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tensorfleet import catalog, wire
from tensorfleet.algorithms import rounds
from tensorfleet.errors import FailedPrecondition
from tensorfleet.kinds import plan_for
from tensorfleet.model import JobResult, JobSpec, Ref, Resolved, Task, TaskResult
from tensorfleet.plan import Done, Stage, StageResults
from tests.rounds import plugin

RESOLVED = Resolved(dataset=(Ref("d" * 64, 1), Ref("b" * 64, 1)))
NAN = float("nan")
Said = Callable[[Stage, Task, int], dict[str, Any]]


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    with plugin.known():
        yield


def spec_of(**hyperparameters: Any) -> JobSpec:
    spec, wrong = catalog.validate(JobSpec(dataset="d", algorithm="toy", hyperparameters=hyperparameters))
    assert not wrong
    return spec


def prepared(rows: int, validation: int = 10) -> StageResults:
    summary: dict[str, Any] = {"training_rows": rows, "validation_rows": validation, "dataset_digest": "d"}
    return StageResults("prepare", [TaskResult(tuple(Ref(name * 64, 1) for name in "tvp"), summary)])


def losses(told: Sequence[float]) -> Said:
    """Validation losses, epoch by epoch."""

    def said(stage: Stage, task: Task, index: int) -> dict[str, Any]:
        epoch: Any = task.params.get("epoch")
        summary: dict[str, Any] = {"samples": 5, "loss": 1.0, "ledger": []}
        return summary | ({"val_loss": told[epoch]} if task.params.get("evaluate") else {})

    return said


FINISHED = {
    "metrics": {},
    "missing_metrics": {},
    "features": [],
    "target": "y",
    "classes": [],
    "environment": {},
    "metrics_on_training_rows": False,
}


class Sealed(Sequence[TaskResult]):
    """Results that nobody may look at."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("results that were let go of are looked at")


class Walk:
    """A job's stages, each with results that are told. forget: the plan's memory of its stages is lost. seal: nobody
    may look at results that were let go of."""

    def __init__(
        self,
        spec: JobSpec,
        rows: int,
        said: Said,
        *,
        validation: int = 10,
        forget: bool = False,
        seal: bool = False,
        most: int = 10**9,
    ) -> None:
        self.spec, self.done = spec, [prepared(rows, validation)]
        self.stages: list[Stage] = []
        self.result: JobResult | None = None
        plan = plan_for(spec)
        while len(self.stages) < most:
            step = plan.next_stage(spec, RESOLVED, self.done)
            if isinstance(step, Done):
                self.result = step.result
                break
            self.stages.append(step)
            if seal:
                self.done = [
                    replace(each, results=Sealed(len(each.results))) if each.name in step.releases else each
                    for each in self.done
                ]
            self.done.append(StageResults(step.name, self._results(step, said), None if forget else step))

    def _results(self, stage: Stage, said: Said) -> list[TaskResult]:
        results = []
        for index in range(stage.count):
            task = stage.task(index)
            summary = FINISHED if stage.name == "finish" else said(stage, task, index)
            results.append(TaskResult(tuple(made(stage.name, index, output) for output in (0, 1)), summary))
        return results

    @property
    def names(self) -> list[str]:
        return [stage.name for stage in self.stages]

    def stage(self, name: str) -> Stage:
        return self.stages[self.names.index(name)]


def made(stage: str, index: int = 0, output: int = 0) -> Ref:
    return Ref(f"{stage}:{index}:{output}".ljust(64, "0"), 1)


def test_stages_follow_one_another_and_name_their_inputs() -> None:
    walk = Walk(spec_of(way="rounds", replicas=2, local_steps=2, epochs=2, batch_size=10), 65, losses([3, 2]))
    assert walk.names == [
        "start",
        *(f"{name}-{number}" for number in range(4) for name in ("round", "reduce")),
        "finish",
    ]
    rows = tuple(Ref(name * 64, 1) for name in "tvp")
    assert walk.stage("start").task(0).inputs == (rows[0], rows[2])
    first, second = (walk.stage(name).task(1) for name in ("round-0", "round-1"))
    assert first.inputs == (made("start"), *rows)
    assert second.inputs == (made("reduce-0"), made("round-0", 1, 1), *rows)
    assert [first.params["carried"], second.params["carried"]] == [False, True]
    assert [first.params[name] for name in ("first_step", "steps", "epoch", "epoch_steps")] == [0, 2, 0, 4]
    assert [second.params[name] for name in ("first_step", "steps", "epoch", "round")] == [2, 2, 0, 1]
    assert walk.stage("reduce-0").task(0).inputs == (made("start"), made("round-0", 0), made("round-0", 1))
    assert walk.stage("reduce-1").task(0).inputs[3:] == rows[1:]
    assert walk.stage("finish").task(0).inputs == (made("reduce-3"), *rows)
    assert walk.stages[0].total == len(walk.names) + 4 + 1  # a replica more in each of four rounds, and prepare


def test_the_whole_is_a_task_an_epoch() -> None:
    walk = Walk(spec_of(way="whole", epochs=3), 100, losses([3, 1, 2]))
    assert walk.names == ["start", "round-0", "round-1", "round-2", "finish"]
    assert walk.stage("round-1").task(0).inputs[:2] == (made("round-0", 0, 0), made("round-0", 0, 1))
    assert walk.stage("round-1").task(0).params["evaluate"] is True
    assert walk.stage("finish").task(0).inputs[0] == made("round-1")
    assert walk.stages[-1].total == 6


def test_the_blocks_of_images_are_inputs() -> None:
    spec = spec_of(way="rounds", epochs=1, replicas=2)
    ready = prepared(100)
    ready = StageResults("prepare", [replace(ready.results[0], summary={**ready.results[0].summary, "image": True})])
    done = [ready, StageResults("start", [TaskResult((made("start"),))])]
    step = plan_for(spec).next_stage(spec, RESOLVED, done)
    assert isinstance(step, Stage)
    assert step.task(0).inputs[-1] == RESOLVED.dataset[1]


@pytest.mark.parametrize(
    ("told", "chosen", "epochs"),
    [
        ([5, 4, 3, 2], 3, 4),
        ([2, 3, 4, 1], 0, 3),
        ([3, 2, NAN, 9], 1, 4),
        ([NAN, 9, 4, 9], 2, 4),
        ([3, 2.9, 2.8, 2.7], 2, 3),
    ],
    ids=["falling", "impatient", "not a number", "not a number at first", "hardly falling"],
)
def test_training_ends_early_and_keeps_its_best_state(told: list[float], chosen: int, epochs: int) -> None:
    spec = spec_of(way="rounds", replicas=2, epochs=4, patience=2, min_delta=0.5)
    walk = Walk(spec, 100, losses(told))
    assert sum(name.startswith("reduce") for name in walk.names) == epochs
    assert walk.stage("finish").task(0).inputs[0] == made(f"reduce-{chosen}")
    assert walk.stages[-1].total == 1 + sum(stage.count for stage in walk.stages)
    last = spec_of(way="rounds", replicas=2, epochs=4, patience=2, min_delta=0.5, keep="last")
    assert Walk(last, 100, losses(told)).stages[-1].task(0).inputs[0] == made(f"reduce-{epochs - 1}")


def test_without_rows_to_validate_on_the_training_loss_counts_and_the_last_state_is_kept() -> None:
    def said(stage: Stage, task: Task, index: int) -> dict[str, Any]:
        epoch: Any = task.params.get("epoch", 0)
        assert not task.params.get("evaluate")
        return {"samples": 1 + index, "loss": float(epoch), "ledger": []}

    walk = Walk(spec_of(way="rounds", replicas=2, epochs=9, patience=3), 100, said, validation=0)
    assert sum(name.startswith("reduce") for name in walk.names) == 4
    assert walk.stage("finish").task(0).inputs[0] == made("reduce-3")


def test_the_learning_rate_falls_on_a_plateau() -> None:
    spec = spec_of(way="whole", epochs=8, plateau_patience=2, plateau_factor=0.5, plateau_floor=0.2)
    walk = Walk(spec, 100, losses([2, 1, 1, 1, 1, 1, 1, 1]))
    factors = [stage.task(0).params["learning_rate_factor"] for stage in walk.stages[1:-1]]
    assert factors == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("way", ["whole", "rounds"])
def test_what_the_plan_forgot_it_finds_out_again(way: str) -> None:
    told = [3.0, 2, 2, 2, 1, 4, 4, 4]
    spec = spec_of(way=way, replicas=3, local_steps=2, batch_size=7, epochs=8, patience=3, plateau_patience=1)
    known, anew = (Walk(spec, 50, losses(told), forget=forget) for forget in (False, True))
    assert known.names == anew.names
    assert [stage.releases for stage in known.stages] == [stage.releases for stage in anew.stages]
    for ours, theirs in zip(known.stages, anew.stages, strict=True):
        assert [ours.task(index) for index in range(ours.count)] == [theirs.task(index) for index in range(ours.count)]
    assert known.result == anew.result


@pytest.mark.parametrize("way", ["whole", "rounds"])
def test_a_plan_that_remembers_looks_at_no_results_that_were_let_go_of(way: str) -> None:
    spec = spec_of(way=way, replicas=3, local_steps=2, batch_size=7, epochs=8, patience=3)
    walk = Walk(spec, 50, losses([3.0, 2, 2, 2, 1, 4, 4, 4]), seal=True)
    assert sum(isinstance(each.results, Sealed) for each in walk.done) > len(walk.done) - 8
    assert walk.result is not None


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 60),
    batch_size=st.integers(1, 20),
    replicas=st.integers(1, 9),
    local_steps=st.integers(0, 6),
    blocks=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    way=st.sampled_from(["whole", "rounds"]),
    told=st.lists(st.floats(0, 3), min_size=3, max_size=3),
)
def test_each_epoch_has_each_row_once_and_nothing_that_was_let_go_is_read(
    rows: int, batch_size: int, replicas: int, local_steps: int, blocks: list[int], way: str, told: list[float]
) -> None:
    ids = np.arange(sum(blocks) + rows)[::-1][:rows]
    epochs: list[list[int]] = [[], [], []]

    def said(stage: Stage, task: Task, index: int) -> dict[str, Any]:
        params: Any = task.params
        if not stage.name.startswith("round"):
            return {"val_loss": told[params["epoch"]]} if params.get("evaluate") else {}
        dealt = rounds.schedule(rows, batch_size, params["replicas"])
        begin, end = dealt.taken(params["replica"], params["first_step"], params["steps"])
        assert 0 < params["steps"] <= (local_steps if way == "rounds" and local_steps else rows)
        assert -(-(end - begin) // batch_size) == params["steps"]
        places = rounds.order(params["seed"], params["epoch"], rows)[begin:end]
        epochs[params["epoch"]] += places.tolist()
        ledger = rounds.ledger(ids[places], blocks)
        return {"samples": end - begin, "loss": 1.0, "ledger": ledger, "val_loss": told[params["epoch"]]}

    spec = spec_of(epochs=3, way=way, replicas=replicas, local_steps=local_steps, batch_size=batch_size)
    walk = Walk(spec, rows, said)
    assert [sorted(places) for places in epochs] == [list(range(rows))] * 3
    assert walk.result is not None
    (line,) = walk.result.trained
    assert (line.first, line.last) == (0, 2)
    assert [[found.block, found.rows, found.digest] for found in line.blocks] == rounds.ledger(ids, blocks)
    assert walk.stages[-1].total == 1 + sum(stage.count for stage in walk.stages)
    assert wire.trained_from_proto(wire.trained_to_proto(line)) == line
    _reads_what_is_there(walk.stages)


def _reads_what_is_there(stages: Sequence[Stage]) -> None:
    there = {"t" * 64, "v" * 64, "p" * 64}
    for stage in stages:
        there -= {digest for digest in there if digest.split(":")[0] in stage.releases}
        for index in range(stage.count):
            assert {ref.digest for ref in stage.task(index).inputs} <= there
        there |= {made(stage.name, index, output).digest for index in range(stage.count) for output in (0, 1)}
    held = {digest.split(":")[0] for digest in there if ":" in digest}
    assert len([name for name in held if name.startswith("round")]) <= 3
    assert len([name for name in held if name.startswith("reduce")]) <= 2


@pytest.mark.parametrize("way", ["whole", "rounds"])
def test_a_training_that_is_to_stop_finishes_with_what_its_rounds_made(way: str) -> None:
    spec = spec_of(way=way, replicas=2, epochs=5)
    names = []
    for stages in range(6):
        walk = Walk(spec, 100, losses([5, 4, 3, 2, 1]), most=stages)
        step = plan_for(spec).next_stage(spec, RESOLVED, walk.done, stopping=True)
        assert isinstance(step, Stage)
        names.append((step.name, step.task(0).inputs[0].digest.strip("0") if step.name == "finish" else ""))
    whole = [("start", ""), ("round-0", ""), *(("finish", f"round-{number}:0:") for number in range(4))]
    half = [("start", ""), ("round-0", ""), ("reduce-0", ""), ("finish", "reduce-0:0:")]
    assert names == (whole if way == "whole" else [*half, ("reduce-1", ""), ("finish", "reduce-1:0:")])


def test_what_has_no_rounds_says_that_it_cannot_stop() -> None:
    spec = JobSpec(algorithm="random_forest", dataset="iris")
    with pytest.raises(FailedPrecondition, match="random_forest has no rounds to stop after; cancel it instead"):
        plan_for(spec).next_stage(spec, Resolved(), [], stopping=True)


def test_an_average_is_weighted_and_goes_on_by_its_momentum() -> None:
    before = [np.array([1.0, 2.0], np.float32), np.array([4.0]), np.array([7], np.uint32)]
    results = [
        [np.array([2.0, 2.0], np.float32), np.array([1.0]), np.array([8], np.uint32)],
        [np.array([4.0, 6.0], np.float32), np.array([3.0]), np.array([9], np.uint32)],
    ]
    plain, none = rounds.average(before, [], results, [3, 1])
    assert [item.tolist() for item in plain] == [[2.5, 3.0], [1.5], [7]]
    assert plain[0].dtype == np.float32
    assert none == []
    weights, velocity = rounds.average(before, [], results, [3, 1], learning_rate=0.5, momentum=0.5, statistics={1})
    assert velocity[0].tolist() == [-1.5, -1.0]
    assert weights[0].tolist() == [1.0 + 0.5 * (1.5 + 0.75), 2.0 + 0.5 * (1.0 + 0.5)]
    assert weights[1].tolist() == [1.5]
    again, faster = rounds.average(weights, velocity, [weights], [1], momentum=0.5)
    assert faster[0].tolist() == [-0.75, -0.5]
    assert again[0].tolist() == [weights[0][0] + 0.375, weights[0][1] + 0.25]


def test_one_replicas_average_is_its_own_to_the_last_bit() -> None:
    draw = np.random.default_rng(1)
    before, result = ([draw.normal(size=50).astype(kind) for kind in (np.float32, np.float64)] for _ in range(2))
    weights, _ = rounds.average(before, [], [result], [7])
    assert [item.tobytes() for item in weights] == [item.tobytes() for item in result]


def test_digests_of_rows_add_up_in_any_order() -> None:
    ids = np.random.default_rng(0).permutation(1000)
    (whole,) = rounds.ledger(ids)
    parts = [rounds.ledger(part)[0] for part in np.array_split(ids, 7)]
    assert whole[1] == sum(part[1] for part in parts)
    assert int(whole[2], 16) == sum(int(part[2], 16) for part in parts) % 2**64
    assert rounds.ledger(np.array([3, 3]))[0][2] != rounds.ledger(np.array([2, 4]))[0][2]
    assert [line[:2] for line in rounds.ledger(np.array([0, 9, 10, 25]), [10, 0, 20])] == [[0, 2], [2, 2]]


def test_how_it_is_spread_is_told() -> None:
    said = [plan_for(spec).describe(spec, RESOLVED) for spec in (spec_of(), spec_of(way="whole", patience=3))]
    assert any("from 4,096 training rows on 4 replicas apart" in line for line in said[0])
    assert any("whole: 4 epochs" in line and "ends after 3 epochs without" in line for line in said[1])
    assert all(a != b for lines in said for a, b in pairwise(lines))


@pytest.mark.parametrize(
    ("given", "rows", "expected"),
    [
        ({}, 1000, ["whole: 4 epochs of 32 batches, each one task", "1,000 training rows: from 4,096 on replicas"]),
        ({}, 9600, ["rounds: 4 epochs of 75 batches for each of 4 replicas, an epoch a round"]),
        ({"way": "rounds", "local_steps": 9}, 960, ["4 epochs of 8 batches for each of 4 replicas, an epoch a round"]),
        ({"way": "rounds", "local_steps": 3}, 960, ["4 epochs of 8 batches for each of 4 replicas, 3 batches a round"]),
    ],
)
def test_how_it_is_spread_is_told_with_its_rows_and_why(given: dict[str, Any], rows: int, expected: list[str]) -> None:
    spec = spec_of(**given)
    said = "\n".join(plan_for(spec).describe(spec, RESOLVED, [prepared(rows)]))
    assert all(line in said for line in expected)


def test_how_far_it_has_come_is_told() -> None:
    spec = spec_of(way="whole", epochs=8, plateau_patience=2, plateau_factor=0.5)
    walk = Walk(spec, 100, losses([2, 1, 1, 1, 1, 1, 1, 1]), most=5)
    said = plan_for(spec).describe(spec, RESOLVED, walk.done)
    assert "  4 rounds are over, and 4 epochs with them" in said
    assert "  the lowest validation loss is 1; epochs since it fell: 2" in said
    assert any("learning rate is 0.5 of what it would be" in line for line in said)
