"""What happened to a job, as `job.watch()` yields it.

The rule: each event comes once and in order, and its `cursor` is where to go on from.
"""

from typing import TypeAlias

from msgspec import Struct

from tensorfleet.model import AttemptRecord, JobState, LogLine, Point
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


class TaskAssigned(Struct, frozen=True, kw_only=True):
    cursor: str
    job_id: str
    time: float
    stage: str
    index: int
    token: int
    worker: str


class TaskSucceeded(Struct, frozen=True, kw_only=True):
    """reused: the result was already known. last_report: the number of the attempt's last report."""

    cursor: str
    job_id: str
    time: float
    stage: str
    index: int
    token: int
    reused: bool
    duration: float
    last_report: int


class AttemptFailed(Struct, frozen=True, kw_only=True):
    """retried: another attempt follows."""

    cursor: str
    job_id: str
    time: float
    stage: str
    index: int
    attempt: AttemptRecord
    retried: bool


class TaskReported(Struct, frozen=True, kw_only=True):
    """number: of the report in its attempt, from 1."""

    cursor: str
    job_id: str
    time: float
    stage: str
    index: int
    token: int
    number: int
    points: tuple[Point, ...]
    lines: tuple[LogLine, ...]


class Ended(Struct, frozen=True, kw_only=True):
    """Always the last event; the whole job as it then stood."""

    cursor: str
    job_id: str
    time: float
    job: JobInfo


Event: TypeAlias = StateChanged | StageOpened | TaskAssigned | TaskSucceeded | AttemptFailed | TaskReported | Ended
