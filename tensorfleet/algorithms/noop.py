"""Nothing, in as many tasks as asked for, for as long as asked for: what a fleet costs when its work costs nothing.

The rule: a task is never reused and never twinned, so each one is sent to a worker and back. It reads no dataset and
makes no model.
"""

import time
from collections.abc import Callable, Sequence

from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.parameters import Integer, Parameter, Real
from tensorfleet.model import JobResult, JobSpec, Resolved, Task, Value
from tensorfleet.operators import Context, Operator, Outcome
from tensorfleet.plan import Done, Stage, StageResults

MOST_TASKS = 10_000_000
MOST_ROUNDS = 10_000


class NoopPlan:
    """`rounds` stages, one after another, of `tasks` tasks each; see `tensorfleet.plan.Plan`."""

    def next_stage(self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults]) -> Stage | Done:
        tasks, rounds = _size(spec)
        if len(done) == rounds:
            return Done(JobResult())
        seconds = spec.hyperparameters.get("seconds", 0.0)
        return Stage(f"round-{len(done)}", tasks, _waiting(seconds) if seconds else _task)

    def total_tasks(self, spec: JobSpec, resolved: Resolved) -> int:
        tasks, rounds = _size(spec)
        return tasks * rounds

    def describe(self, spec: JobSpec, resolved: Resolved) -> list[str]:
        tasks, rounds = _size(spec)
        return [f"round-{number}: {tasks} tasks that do nothing" for number in range(rounds)]


def _size(spec: JobSpec) -> tuple[int, int]:
    tasks, rounds = (spec.hyperparameters.get(name, 1) for name in ("tasks", "rounds"))
    assert isinstance(tasks, int)
    assert isinstance(rounds, int)
    return tasks, rounds


def _task(index: int) -> Task:
    return Task(operator="noop.run@1", params={"index": index}, pure=False)


def _waiting(seconds: Value) -> Callable[[int], Task]:
    """Tasks that wait for so long before they end."""
    return lambda index: Task(operator="noop.run@1", params={"index": index, "seconds": seconds}, pure=False)


def _run(context: Context) -> Outcome:
    time.sleep(float(str(context.params.get("seconds", 0.0))))
    return Outcome()


ALGORITHMS = (
    Algorithm(
        name="noop",
        estimator="",
        goal="classification",
        display="Noop",
        operator="noop.run@1",
        parameters={
            "tasks": Parameter(Integer(1, MOST_TASKS), 1),
            "rounds": Parameter(Integer(1, MOST_ROUNDS), 1),
            "seconds": Parameter(Real(0.0, 86_400.0), 0.0),
        },
        plan=NoopPlan(),
        listed=False,
    ),
)
OPERATORS: dict[str, Operator] = {"noop.run@1": _run}
