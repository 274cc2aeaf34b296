"""Jobs for the whole system: an algorithm whose tasks compute nothing and whose every result can be told beforehand.

The rule: what a task makes follows from its parameters and the bytes of its inputs, so that a model says whether any of
them was ever wrong, missing or another's. What goes wrong on the way is written in the task too.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.parameters import Flag, Integer, ListOf, MappingOf, Parameter, Real, Text
from tensorfleet.keys import encode
from tensorfleet.model import JobResult, JobSpec, ModelContent, Ref, Resolved, Task, TaskResult
from tensorfleet.plan import Done, Stage, StageResults, unstoppable

NAME = "drill"
OPERATOR = "drill.run@1"
MOST_INPUTS = 6
"""A task reads that many outputs of the stage before, at most: all of them where there are fewer."""
BIG = 3000
"""Bytes that a big output is filled up with; more than the simulation lets ride along with a message."""


class Drill:
    """See `tensorfleet.plan.Plan`. Stages of as many tasks as `stages` lists; the last is one task, which reduces."""

    def next_stage(
        self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults], stopping: bool = False
    ) -> Stage | Done:
        if stopping:
            raise unstoppable(spec)
        counts = sizes(spec)
        if len(done) == len(counts):
            last = done[-1].results[0]
            part = last.outputs[0]
            content = ModelContent(sha256=part.digest, parts=(part,), features=("x",), target="y")
            return Done(JobResult(metrics={"accuracy": 0.5}, model=content))
        name = f"s{len(done)}"
        if spec.hyperparameters.get("broken") == name:
            raise ZeroDivisionError("a plan with a bug")
        releases = (done[-2].name,) if len(done) > 1 else ()
        return Stage(name, counts[len(done)], _maker(spec, name, done), releases=releases)

    def total_tasks(self, spec: JobSpec, resolved: Resolved) -> int:
        return sum(sizes(spec))

    def describe(self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults] = ()) -> list[str]:
        return [f"s{number}: {count} tasks" for number, count in enumerate(sizes(spec))]


def sizes(spec: JobSpec) -> list[int]:
    """Tasks of each stage."""
    stages = spec.hyperparameters["stages"]
    assert isinstance(stages, list)
    return [*map(int, stages), 1]


def _maker(spec: JobSpec, name: str, done: Sequence[StageResults]) -> Callable[[int], Task]:
    before = [result.outputs[0] for result in done[-1].results] if done else []
    given = spec.hyperparameters
    same = {key: given[key] for key in ("recipe", "seconds", "big")}
    troubles = given["troubles"]
    assert isinstance(troubles, dict)

    def task(index: int) -> Task:
        inputs = (
            before if len(before) <= MOST_INPUTS else [before[(index + n) % len(before)] for n in range(MOST_INPUTS)]
        )
        params = {**same, "stage": name, "index": index, "trouble": troubles.get(f"{name}.{index}", "")}
        return Task(operator=OPERATOR, params=params, inputs=tuple(inputs), pure=not given["impure"])

    return task


def work(params: dict[str, object], inputs: Sequence[bytes]) -> bytes:
    """What a task makes of the bytes it reads."""
    made = encode([OPERATOR, params, [hashlib.sha256(data).hexdigest() for data in inputs]])  # type: ignore[list-item]
    return made + bytes(BIG) if params["big"] else made


def expected(spec: JobSpec) -> JobResult:
    """The job's result, computed here and now: the run that nothing disturbs."""
    plan, done, blobs = Drill(), list[StageResults](), dict[str, bytes]()
    while isinstance(stage := plan.next_stage(spec, Resolved(), done), Stage):
        results = []
        for index in range(stage.count):
            task = stage.task(index)
            data = work(task.params, [blobs[ref.digest] for ref in task.inputs])
            ref = Ref(hashlib.sha256(data).hexdigest(), len(data))
            blobs[ref.digest] = data
            results.append(TaskResult((ref,), {"index": index}))
        done.append(StageResults(stage.name, results))
    return stage.result


def read(paths: Sequence[str]) -> list[bytes]:
    return [Path(path).read_bytes() for path in paths]


ALGORITHMS = (
    Algorithm(
        name=NAME,
        estimator="",
        goal="classification",
        display="Drill",
        operator=OPERATOR,
        parameters={
            "stages": Parameter(ListOf(Integer(0)), [1]),
            "recipe": Parameter(Text(), ""),
            "seconds": Parameter(Real(0.0), 0.1),
            "big": Parameter(Flag(), False),
            "impure": Parameter(Flag(), False),
            "broken": Parameter(Text(), ""),
            "troubles": Parameter(MappingOf(Text()), {}),
        },
        plan=Drill(),
        listed=False,
    ),
)
