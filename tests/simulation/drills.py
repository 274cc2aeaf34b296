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
    """See `tensorfleet.plan.Plan`. Stages of as many tasks as `stages` lists; the last is one task, which reduces.

    gangs: the least members of a stage that is a gang, by its name. rounds: whether it can end early, by the last
    stage, once the first is done.
    """

    def next_stage(
        self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults], stopping: bool = False
    ) -> Stage | Done:
        if stopping and not spec.hyperparameters["rounds"]:
            raise unstoppable(spec)
        names = list(sizes(spec))
        if done and done[-1].name == names[-1]:
            last = done[-1].results[0]
            part = last.outputs[0]
            content = ModelContent(sha256=part.digest, parts=(part,), features=("x",), target="y")
            return Done(JobResult(metrics={"accuracy": 0.5}, model=content))
        name = names[-1 if stopping and done else len(done)]
        if spec.hyperparameters.get("broken") == name:
            raise ZeroDivisionError("a plan with a bug")
        releases = (done[-2].name,) if len(done) > 1 else ()
        least = gangs(spec).get(name)
        maker = _maker(spec, name, done)
        return Stage(name, sizes(spec)[name], maker, releases=releases, gang=least is not None, least=least or 0)

    def total_tasks(self, spec: JobSpec, resolved: Resolved) -> int:
        return sum(sizes(spec).values())

    def describe(self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults] = ()) -> list[str]:
        return [f"{name}: {count} tasks" for name, count in sizes(spec).items()]


def sizes(spec: JobSpec) -> dict[str, int]:
    """Tasks of each stage, by its name."""
    stages = spec.hyperparameters["stages"]
    assert isinstance(stages, list)
    return {f"s{number}": count for number, count in enumerate([*map(int, stages), 1])}


def gangs(spec: JobSpec) -> dict[str, int]:
    found = spec.hyperparameters["gangs"]
    assert isinstance(found, dict)
    return {name: int(least) for name, least in found.items()}


def needed(spec: JobSpec) -> dict[str, int]:
    """Tasks of each stage that must have results, which of a gang is the first."""
    return {name: min(count, 1) if name in gangs(spec) else count for name, count in sizes(spec).items()}


def _maker(spec: JobSpec, name: str, done: Sequence[StageResults]) -> Callable[[int], Task]:
    before = [ref for result in done[-1].results for ref in result.outputs] if done else []
    given = spec.hyperparameters
    same = {key: given[key] for key in ("recipe", "seconds", "big")}
    troubles = given["troubles"]
    assert isinstance(troubles, dict)
    together = name in gangs(spec)

    def task(index: int) -> Task:
        inputs = (
            before if len(before) <= MOST_INPUTS else [before[(index + n) % len(before)] for n in range(MOST_INPUTS)]
        )
        trouble = troubles.get(f"{name}.{index}", "")
        params = {**same, "stage": name, "index": index, "trouble": trouble, "gang": together}
        pure = not (given["impure"] or together)
        return Task(operator=OPERATOR, params=params, inputs=tuple(inputs), pure=pure)

    return task


def work(params: dict[str, object], inputs: Sequence[bytes]) -> bytes:
    """What a task makes of the bytes it reads."""
    made = encode([OPERATOR, params, [hashlib.sha256(data).hexdigest() for data in inputs]])  # type: ignore[list-item]
    return made + bytes(BIG) if params["big"] else made


def expected(spec: JobSpec, stages: int) -> JobResult:
    """The job's result, computed here and now: the run that nothing disturbs. stages: how many it has, with the last;
    fewer than all where it was stopped."""
    plan, done, blobs = Drill(), list[StageResults](), dict[str, bytes]()
    full = len(sizes(spec))
    while isinstance(stage := plan.next_stage(spec, Resolved(), done, len(done) == stages - 1 < full - 1), Stage):
        results = []
        for index in range(needed(spec)[stage.name]):
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
            "gangs": Parameter(MappingOf(Integer(0)), {}),
            "rounds": Parameter(Flag(), False),
            "broken": Parameter(Text(), ""),
            "troubles": Parameter(MappingOf(Text()), {}),
        },
        plan=Drill(),
        listed=False,
    ),
)
