"""What happened to a job, as `job.watch()` yields it.

The rule: each event comes once and in order, and its `cursor` is where to go on from. What happened to many tasks at
once is one event: a run of tasks, with a column for each thing that is told of them.
"""

from typing import TypeAlias

from msgspec import Struct

from tensorfleet.model import AttemptRecord, JobState, LogLine, Points, Ref
from tensorfleet.sdk.values import JobInfo


class StateChanged(Struct, frozen=True, kw_only=True):
    cursor: str
    job_id: str
    time: float
    state: JobState
    reason: str


class StageOpened(Struct, frozen=True, kw_only=True):
    """tasks: of the stage. total_tasks: of the job, as far as its plan can tell now."""

    cursor: str
    job_id: str
    time: float
    stage: str
    tasks: int
    total_tasks: int


class TasksAssigned(Struct, frozen=True, kw_only=True):
    """Tasks of one stage that one worker was given, in the order that it is to begin them.

    indexes: of the tasks in their stage, from 0. tokens: those of their attempts, as many.
    """

    cursor: str
    job_id: str
    time: float
    stage: str
    worker: str
    indexes: tuple[int, ...]
    tokens: tuple[int, ...]


class TasksSucceeded(Struct, frozen=True, kw_only=True):
    """Tasks of one stage whose results are durable. The columns are all of one length.

    reused: the results were already known; then `worker` is empty, and the columns but `indexes` hold 0.
    indexes: of the tasks in their stage, from 0. tokens: those of the attempts that made the results. seconds: how long
    each took. last_reports: the number of each attempt's last report, 0 where it made none.
    """

    cursor: str
    job_id: str
    time: float
    stage: str
    worker: str
    reused: bool
    indexes: tuple[int, ...]
    tokens: tuple[int, ...]
    seconds: tuple[float, ...]
    last_reports: tuple[int, ...]


class AttemptFailed(Struct, frozen=True, kw_only=True):
    """retried: another attempt follows."""

    cursor: str
    job_id: str
    time: float
    stage: str
    index: int
    attempt: AttemptRecord
    retried: bool


class TaskSaved(Struct, frozen=True, kw_only=True):
    """saved: what another attempt at the task goes on from."""

    cursor: str
    job_id: str
    time: float
    stage: str
    index: int
    token: int
    worker: str
    saved: Ref


class TaskReported(Struct, frozen=True, kw_only=True):
    """number: of the report in its attempt, from 1. points: iterating gives each as a `Point`."""

    cursor: str
    job_id: str
    time: float
    stage: str
    index: int
    token: int
    number: int
    points: Points
    lines: tuple[LogLine, ...]


class Ended(Struct, frozen=True, kw_only=True):
    """Always the last event; the whole job as it then stood."""

    cursor: str
    job_id: str
    time: float
    job: JobInfo


Event: TypeAlias = (
    StateChanged | StageOpened | TasksAssigned | TasksSucceeded | AttemptFailed | TaskSaved | TaskReported | Ended
)
