"""The algorithm that does nothing: found by name, shown to nobody, unrolled by its own plan with no dataset."""

from collections.abc import Sequence
from typing import Any

import pytest

from tensorfleet import catalog
from tensorfleet.kinds import plan_for
from tensorfleet.model import JobResult, JobSpec, Ref, Resolved, TaskResult
from tensorfleet.operators import Context
from tensorfleet.plan import Done, Stage, StageResults


def checked(**hyperparameters: object) -> JobSpec:
    given = JobSpec(algorithm="NoOp", hyperparameters=hyperparameters)  # type: ignore[arg-type]
    spec, violations = catalog.validate(given)
    assert not violations
    return spec


def stage(spec: JobSpec, done: Sequence[StageResults] = ()) -> Stage:
    step = plan_for(spec).next_stage(spec, Resolved(), done)
    assert isinstance(step, Stage)
    return step


def test_it_needs_no_dataset_and_others_still_do() -> None:
    assert checked().hyperparameters == {
        "tasks": 1,
        "rounds": 1,
        "reduce": False,
        "seconds": 0.0,
        "points": 0,
        "inputs": {},
    }
    _, violations = catalog.validate(JobSpec(algorithm="ridge"))
    assert [violation.field for violation in violations] == ["spec.dataset"]


def test_people_are_not_shown_it() -> None:
    assert "noop" not in catalog.algorithms()
    assert catalog.algorithm("noop").name == "noop"


def test_its_rounds_come_one_after_another_and_end_with_no_model() -> None:
    spec = checked(tasks=3, rounds=2)
    first = stage(spec)
    done = [StageResults(first.name, [TaskResult()] * 3)]
    second = stage(spec, done)
    assert (first.count, second.count) == (3, 3)
    assert first.name != second.name
    done.append(StageResults(second.name, [TaskResult()] * 3))
    assert plan_for(spec).next_stage(spec, Resolved(), done) == Done(JobResult())
    assert plan_for(spec).total_tasks(spec, Resolved()) == 6


def test_a_reduce_waits_for_each_round() -> None:
    spec = checked(tasks=8, rounds=2, reduce=True)
    done: list[StageResults] = []
    while isinstance(step := plan_for(spec).next_stage(spec, Resolved(), done), Stage):
        done.append(StageResults(step.name, [TaskResult()] * step.count))
    assert [(each.name, len(each.results)) for each in done] == [
        ("round-0", 8),
        ("reduce-0", 1),
        ("round-1", 8),
        ("reduce-1", 1),
    ]
    assert plan_for(spec).total_tasks(spec, Resolved()) == 18


def test_the_tasks_of_a_stage_are_alike_and_plain_ones_have_no_parameters() -> None:
    opened = stage(checked(tasks=3))
    assert opened.task(0) == opened.task(2)
    assert (opened.task(0).params, opened.task(0).inputs) == ({}, ())


def test_its_tasks_report_as_many_points_as_asked_for() -> None:
    task, told = stage(checked(points=3)).task(0), []
    catalog.operator(task.operator)(Context(params=task.params, inputs=[], report=lambda *point: told.append(point)))
    assert told == [("noop", 0, 0.0), ("noop", 1, 1.0), ("noop", 2, 2.0)]


def test_its_tasks_are_given_the_blobs_that_are_named() -> None:
    blobs = {"0" * 64: 5, "f" * 64: 0}
    assert stage(checked(inputs=blobs)).task(0).inputs == (Ref("0" * 64, 5), Ref("f" * 64, 0))


def test_its_tasks_are_never_reused_and_their_operator_does_nothing() -> None:
    task = stage(checked(tasks=10_000_000)).task(9_999_999)
    assert not task.pure
    outcome = catalog.operator(task.operator)(Context(params=task.params, inputs=[], report=lambda *_: None))
    assert (outcome.outputs, outcome.summary) == ((), {})


def test_its_tasks_take_as_long_as_asked_for() -> None:
    assert stage(checked(seconds=1.5)).task(0).params["seconds"] == 1.5
    assert "seconds" not in stage(checked()).task(0).params


@pytest.mark.parametrize(
    "hyperparameters",
    [
        {"tasks": 0},
        {"tasks": 10_000_001},
        {"rounds": 0},
        {"seconds": -1.0},
        {"points": -1},
        {"inputs": {"../../etc/passwd": 1}},
        {"inputs": {"0" * 64: -1}},
        {"task": 1},
    ],
)
def test_what_makes_no_sense_is_refused(hyperparameters: dict[str, Any]) -> None:
    _, violations = catalog.validate(JobSpec(algorithm="noop", hyperparameters=dict(hyperparameters)))
    assert [violation.field for violation in violations] == [f"spec.hyperparameters.{next(iter(hyperparameters))}"]
