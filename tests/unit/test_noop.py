"""The algorithm that does nothing: found by name, shown to nobody, unrolled by its own plan with no dataset."""

from collections.abc import Sequence

import pytest

from tensorfleet import catalog
from tensorfleet.kinds import plan_for
from tensorfleet.model import JobResult, JobSpec, Resolved, TaskResult
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
    assert checked().hyperparameters == {"tasks": 1, "rounds": 1, "seconds": 0.0}
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


def test_its_tasks_are_never_reused_and_their_operator_does_nothing() -> None:
    task = stage(checked(tasks=10_000_000)).task(9_999_999)
    assert not task.pure
    outcome = catalog.operator(task.operator)(Context(params=task.params, inputs=[], report=lambda *_: None))
    assert (outcome.outputs, outcome.summary) == ((), {})


def test_its_tasks_take_as_long_as_asked_for() -> None:
    assert stage(checked(seconds=1.5)).task(0).params["seconds"] == 1.5
    assert "seconds" not in stage(checked()).task(0).params


@pytest.mark.parametrize(
    "hyperparameters", [{"tasks": 0}, {"tasks": 10_000_001}, {"rounds": 0}, {"seconds": -1.0}, {"task": 1}]
)
def test_a_size_that_makes_no_sense_is_refused(hyperparameters: dict[str, float]) -> None:
    _, violations = catalog.validate(JobSpec(algorithm="noop", hyperparameters=dict(hyperparameters)))
    assert [violation.field for violation in violations] == [f"spec.hyperparameters.{next(iter(hyperparameters))}"]
