"""A plan for tests of the scheduler: stages of n tasks, as the spec's hyperparameters list them, and no numerics.

The rule: what a task must return follows from the task, so that a result can be told right from wrong.
"""

import hashlib
from collections.abc import Callable, Sequence

import pytest

from tensorfleet.keys import encode
from tensorfleet.model import DatasetContent, JobResult, JobSpec, ModelContent, Ref, Resolved, Task, TaskResult, Value
from tensorfleet.plan import Done, Stage, StageResults, unstoppable


class FakePlan:
    """hyperparameters: `stages` as [[name, count], …]; `recipe` keys the tasks; `impure`; `broken` (a stage's name,
    or `tasks of` or `second task of` one); `lets_go`, of the stages that the next one does not read; `gangs`: the
    least members of a stage that is a gang, by its name, and `pure_gangs`, where its tasks are pure; `rounds`, where
    it can end early, by the last stage, once the first is done."""

    def next_stage(
        self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults], stopping: bool = False
    ) -> Stage | Done:
        if stopping and not spec.hyperparameters.get("rounds"):
            raise unstoppable(spec)
        if done and done[-1].name == stages(spec)[-1][0]:
            last = done[-1]
            return Done(JobResult(metrics={"accuracy": 1.0}, model=_model(spec, last), dataset=_dataset(spec, last)))
        name, count = stages(spec)[-1 if stopping and done else len(done)]
        if name == spec.hyperparameters.get("broken"):
            raise ZeroDivisionError("a plan with a bug")
        releases = (done[-2].name,) if spec.hyperparameters.get("lets_go") and len(done) > 1 else ()
        least = gangs(spec).get(name)
        maker = _maker(spec, name, done)
        sized_by = ("replicas", "min_members")
        return Stage(name, count, maker, releases=releases, gang=least is not None, least=least or 0, sized_by=sized_by)

    def total_tasks(self, spec: JobSpec, resolved: Resolved) -> int:
        return sum(count for _, count in stages(spec))

    def describe(self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults] = ()) -> list[str]:
        return [f"{name}: {count} tasks" for name, count in stages(spec)]


def stages(spec: JobSpec) -> list[tuple[str, int]]:
    listed: list[list[object]] = spec.hyperparameters["stages"]  # type: ignore[assignment]
    return [(str(name), int(str(count))) for name, count in listed]


def counted(spec: JobSpec) -> list[tuple[str, int]]:
    """Stages with the tasks that must have results, which of a gang is the first."""
    return [(name, min(count, 1) if name in gangs(spec) else count) for name, count in stages(spec)]


def gangs(spec: JobSpec) -> dict[str, int]:
    found: dict[str, int] = spec.hyperparameters.get("gangs", {})  # type: ignore[assignment]
    return found


def _maker(spec: JobSpec, name: str, done: Sequence[StageResults]) -> Callable[[int], Task]:
    inputs = tuple(ref for result in done[-1].results for ref in result.outputs[:1]) if done else resolved_inputs(spec)
    params: dict[str, Value] = {"recipe": spec.hyperparameters.get("recipe", ""), "stage": name}
    given = spec.hyperparameters
    pure = bool(given.get("pure_gangs")) if name in gangs(spec) else not given.get("impure", False)
    if spec.hyperparameters.get("broken") == f"tasks of {name}":
        params["recipe"] = object()  # type: ignore[assignment]
    broken = {1} if spec.hyperparameters.get("broken") == f"second task of {name}" else set()

    def task(index: int) -> Task:
        if index in broken:
            raise ZeroDivisionError("a plan with a bug")
        return Task(operator="test.work@1", params={**params, "index": index}, inputs=inputs, pure=pure)

    return task


def resolved_inputs(spec: JobSpec) -> tuple[Ref, ...]:
    """What the first stage reads: a blob of 1,000 bytes where the spec names a dataset."""
    return (Ref(hashlib.sha256(spec.dataset.encode()).hexdigest(), 1000),) if spec.dataset else ()


def result_of(task: Task, salt: str = "") -> TaskResult:
    """What a task makes, or with a salt something else."""
    content = content_of(task, salt)
    return TaskResult((Ref(hashlib.sha256(content).hexdigest(), len(content)),), {"index": task.params["index"]})


def content_of(task: Task, salt: str = "") -> bytes:
    """The bytes of a task's output."""
    return encode([task.operator, task.params, [ref.digest for ref in task.inputs], salt])


def _model(spec: JobSpec, last: StageResults) -> ModelContent | None:
    if not spec.model_name or not last.results:
        return None
    part = last.results[0].outputs[0]
    return ModelContent(sha256=part.digest, parts=(part,), features=("x",), target="y")


def _dataset(spec: JobSpec, last: StageResults) -> DatasetContent | None:
    if not spec.dataset_name:
        return None
    refs = tuple(result.outputs[0] for result in last.results)
    return DatasetContent(refs=refs, rows=1, target="y", columns=[])


def plant(patch: pytest.MonkeyPatch) -> None:
    """Every job follows the fake plan."""
    patch.setattr("orchestrator.core.apply.plan_for", lambda spec: FakePlan())
