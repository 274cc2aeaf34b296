"""Nothing, in as many tasks as asked for, for as long as asked for: what a fleet costs when its work costs nothing.

Parameters: `tasks` of each of `rounds` stages, one after another; `reduce`: after each, one task that waits for all of
them; `seconds`: how long each task takes; `points`: how many each task reports, of one series; `inputs`: blobs that
each task is given and does not open, a size in bytes by SHA-256.

The rule: a task is never reused and never twinned, so each one is sent to a worker and back; the tasks of a stage are
alike. It reads no dataset and makes no model.
"""

import re
import time
from collections.abc import Mapping, Sequence

from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.parameters import Flag, Integer, MappingOf, Parameter, Real
from tensorfleet.counts import counted, either
from tensorfleet.model import JobResult, JobSpec, Ref, Resolved, Task, Value
from tensorfleet.operators import Context, Operator, Outcome
from tensorfleet.plan import Done, Stage, StageResults, unstoppable

MOST_TASKS = 10_000_000
MOST_ROUNDS = 10_000
MOST_POINTS = 10_000_000
SERIES = "noop"
DIGEST = re.compile("[0-9a-f]{64}")


class NoopPlan:
    """`rounds` stages of `tasks` tasks, each followed by its reduce where there is one; see `tensorfleet.plan.Plan`."""

    def next_stage(
        self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults], stopping: bool = False
    ) -> Stage | Done:
        if stopping:
            raise unstoppable(spec)
        stages = _stages(spec)
        if len(done) == _number(spec, "rounds") * len(stages):
            return Done(JobResult())
        number, place = divmod(len(done), len(stages))
        name, count = stages[place]
        task = _task(spec)
        return Stage(f"{name}-{number}", count, lambda _: task)

    def total_tasks(self, spec: JobSpec, resolved: Resolved) -> int:
        return _number(spec, "rounds") * sum(count for _, count in _stages(spec))

    def describe(self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults] = ()) -> list[str]:
        then = ", and one that waits for them" if spec.hyperparameters.get("reduce") else ""
        tasks, rounds = _number(spec, "tasks"), _number(spec, "rounds")
        told = f"{counted(tasks, 'task')} that {either(tasks, 'does', 'do')} nothing"
        return [f"round-{number}: {told}{then}" for number in range(rounds)]


def _stages(spec: JobSpec) -> list[tuple[str, int]]:
    """Of one round: names and sizes."""
    reduce = [("reduce", 1)] if spec.hyperparameters.get("reduce") else []
    return [("round", _number(spec, "tasks")), *reduce]


def _number(spec: JobSpec, name: str) -> int:
    number = spec.hyperparameters.get(name, 1)
    assert isinstance(number, int)
    return number


def _task(spec: JobSpec) -> Task:
    given = spec.hyperparameters
    params: dict[str, Value] = {name: given[name] for name in ("seconds", "points") if given.get(name)}
    inputs = given.get("inputs")
    refs = [Ref(digest, int(size)) for digest, size in inputs.items()] if isinstance(inputs, dict) else []
    return Task(operator="noop.run@1", params=params, inputs=tuple(refs), pure=False)


def _run(context: Context) -> Outcome:
    for step in range(int(str(context.params.get("points", 0)))):
        context.report(SERIES, step, float(step))
    if seconds := float(str(context.params.get("seconds", 0.0))):
        time.sleep(seconds)
    return Outcome()


def _wrong(parameters: Mapping[str, Value]) -> dict[str, str]:
    inputs = parameters["inputs"]
    if isinstance(inputs, dict) and not all(DIGEST.fullmatch(digest) for digest in inputs):
        return {"inputs": "expected sizes by SHA-256, each in 64 hexadecimal digits"}
    return {}


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
            "reduce": Parameter(Flag(), False),
            "seconds": Parameter(Real(0.0, 86_400.0), 0.0),
            "points": Parameter(Integer(0, MOST_POINTS), 0),
            "inputs": Parameter(MappingOf(Integer(0)), {}),
        },
        rules=_wrong,
        plan=NoopPlan(),
        listed=False,
    ),
)
OPERATORS: dict[str, Operator] = {"noop.run@1": _run}
