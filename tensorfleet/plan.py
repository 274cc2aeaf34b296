"""How a kind of job unrolls into stages of tasks: pure descriptions, which the orchestrator and `--direct` both follow.

The rule: a plan reads the spec and the results so far, and nothing else; asked twice, it answers the same.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from tensorfleet.model import JobResult, JobSpec, Resolved, Task, TaskResult


class Stage(Struct, frozen=True):
    """Tasks that may all run at once.

    name: unique in the job. count: how many tasks. task: gives the task of an index below count; called when a task is
    about to be looked up or assigned, so that a stage of a million tasks costs nothing until then.
    """

    name: str
    count: int
    task: Callable[[int], Task]


class StageResults(Struct, frozen=True):
    """The results of a stage that is done, by task index."""

    name: str
    results: Sequence[TaskResult]


class Done(Struct, frozen=True):
    """The job is done, with this result."""

    result: JobResult


class Plan(Protocol):
    def next_stage(self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults]) -> Stage | Done:
        """The stage after those that are done, or the job's result."""
        ...

    def total_tasks(self, spec: JobSpec, resolved: Resolved) -> int:
        """Tasks in the whole job, as far as can be told before it began; for progress bars."""
        ...

    def describe(self, spec: JobSpec, resolved: Resolved) -> list[str]:
        """How the job is spread, a line a stage, for people."""
        ...
