"""How a kind of job unrolls into stages of tasks: pure descriptions, which the orchestrator and `--direct` both follow.

The rule: a plan reads the spec and the results so far, and nothing else; asked twice, it answers the same.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from tensorfleet.errors import FailedPrecondition
from tensorfleet.model import JobKind, JobResult, JobSpec, Resolved, Task, TaskResult


class Stage(Struct, frozen=True):
    """Tasks that may all run at once.

    name: unique in the job. count: how many tasks. task: gives the task of an index below count; called when a task is
    about to be looked up or assigned, so that a stage of a million tasks costs nothing until then. total: tasks in the
    whole job, where that is known by now. releases: earlier stages whose outputs nothing needs any more, this stage and
    those that may follow included. gang: whether its tasks run at the same time, and know one another's addresses
    (`tensorfleet.operators.Control.meet`); what they make is what the first makes, and is never known beforehand.
    least: how many of a gang's tasks do where there is no room for all; 0 for all. sized_by: the hyperparameters that
    say so, for people: how many a gang has, and how few of them do. course: what the plan found out from the stages
    before; it is the plan's alone.
    """

    name: str
    count: int
    task: Callable[[int], Task]
    total: int = 0
    releases: tuple[str, ...] = ()
    gang: bool = False
    least: int = 0
    sized_by: tuple[str, ...] = ()
    course: Any = None


class StageResults(Struct, frozen=True):
    """The results of a stage that is done, by task index.

    stage: as the plan gave it, where that is remembered; it spares the plan going through all the stages before.
    released: the outputs may be gone, since a later stage let go of them.
    """

    name: str
    results: Sequence[TaskResult]
    stage: Stage | None = None
    released: bool = False


class Done(Struct, frozen=True):
    """The job is done, with this result."""

    result: JobResult


class Plan(Protocol):
    def next_stage(
        self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults], stopping: bool = False
    ) -> Stage | Done:
        """The stage after those that are done, or the job's result.

        stopping: the job is to end early with what it has made. The stage that comes then is the same as else where
        that cannot be left out. FailedPrecondition where such a job has nothing to stop after.
        """
        ...

    def total_tasks(self, spec: JobSpec, resolved: Resolved) -> int:
        """Tasks in the whole job, as far as can be told before it began; for progress bars."""
        ...

    def describe(self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults] = ()) -> list[str]:
        """How the job is spread, a line a stage, for people; better told with the stages that are done."""
        ...


def unstoppable(spec: JobSpec) -> FailedPrecondition:
    """What a plan raises that has no rounds, when asked to stop."""
    what = f"a training of {spec.algorithm}" if spec.kind is JobKind.TRAIN else f"a job of kind {spec.kind}"
    return FailedPrecondition(f"{what} has no rounds to stop after; cancel it instead", reason="UNSTOPPABLE")
