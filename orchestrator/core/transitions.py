"""Every legal change of state, as tables; the drawings in docs/architecture.md are made from them.

A change that is not here is a bug: `step` raises IllegalTransition and the state stays as it was.
"""

from enum import StrEnum
from typing import TypeVar

from tensorfleet.model import JobState, TaskState, WorkerState

S = TypeVar("S", bound=StrEnum)

JOB: dict[JobState, tuple[JobState, ...]] = {
    JobState.QUEUED: (
        JobState.RUNNING,
        JobState.PAUSED,
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
    ),
    JobState.RUNNING: (JobState.PAUSED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED),
    JobState.PAUSED: (JobState.QUEUED, JobState.RUNNING, JobState.FAILED, JobState.CANCELLED),
    JobState.SUCCEEDED: (),
    JobState.FAILED: (),  # a retry accepts the job anew, under its id
    JobState.CANCELLED: (),
}

TASK: dict[TaskState, tuple[TaskState, ...]] = {
    TaskState.PENDING: (TaskState.RUNNING, TaskState.SUCCEEDED),  # at once succeeded: its result was known
    TaskState.RUNNING: (TaskState.PENDING, TaskState.SUCCEEDED, TaskState.FAILED),
    TaskState.SUCCEEDED: (),
    TaskState.FAILED: (),
}

WORKER: dict[WorkerState, tuple[WorkerState, ...]] = {
    WorkerState.READY: (WorkerState.SUSPECT, WorkerState.DRAINING, WorkerState.LOST, WorkerState.LEFT),
    WorkerState.SUSPECT: (WorkerState.READY, WorkerState.DRAINING, WorkerState.LOST, WorkerState.LEFT),
    WorkerState.DRAINING: (WorkerState.READY, WorkerState.SUSPECT, WorkerState.LOST, WorkerState.LEFT),  # started anew
    WorkerState.LOST: (WorkerState.READY, WorkerState.DRAINING),  # it comes back with a new session
    WorkerState.LEFT: (WorkerState.READY, WorkerState.DRAINING),
}


class IllegalTransition(AssertionError):  # noqa: N818
    """A record asks for a change that no table has."""


def check(table: dict[S, tuple[S, ...]], old: S, new: S, what: str) -> S:
    """The new state, if the table allows it or nothing changes. Raises IllegalTransition."""
    if new != old and new not in table[old]:
        raise IllegalTransition(f"{what}: {old} -> {new}")
    return new
