"""The facts that make up the state, as the journal holds them.

The rule: a record says what has been decided, never what to decide; applying the same records in the same order always
gives the same state. Records with `durable = False` change the live state alone: what they say is learned anew after a
restart.
"""

from typing import ClassVar

from msgspec import Struct

from orchestrator.core.values import KnownTask, Released, WorkerInfo
from tensorfleet.model import (
    Cause,
    DatasetContent,
    Failure,
    JobResult,
    JobSpec,
    JobState,
    LogLine,
    ModelContent,
    Points,
    Ref,
    Resolved,
    TaskResult,
    Value,
    WorkerState,
)


class Record(Struct, frozen=True, tag=True, array_like=True):
    durable: ClassVar[bool] = True


class TermBegan(Record, frozen=True, tag=True, array_like=True):
    """An orchestrator took over: it owns the journal from here on."""

    term: int
    writer: str
    at: float


class JobAccepted(Record, frozen=True, tag=True, array_like=True):
    """A job was submitted, or put back in the queue (`retried`), which keeps what its tasks finished."""

    job: str
    request_id: str
    spec: JobSpec
    resolved: Resolved
    at: float
    retried: bool = False


class JobRestarted(Record, frozen=True, tag=True, array_like=True):
    """A job that runs begins again at its first stage, and keeps what its tasks finished, as far as it is known.

    anew: also what it has let go of is made again, since it is needed. paused: it is paused, and stays so.
    """

    job: str
    reason: str
    at: float
    anew: bool = False
    paused: bool = False


class JobPaused(Record, frozen=True, tag=True, array_like=True):
    """Nothing of the job is assigned, and none of its stages is opened, until it is resumed."""

    job: str
    reason: str
    at: float


class JobResumed(Record, frozen=True, tag=True, array_like=True):
    """started: whether anything of the job had been assigned or found known."""

    job: str
    started: bool
    at: float


class JobStopped(Record, frozen=True, tag=True, array_like=True):
    """The job is to end early, with what its stages up to `after` have made; empty where none was done.

    dropped: the open stage, where it is not waited for.
    """

    job: str
    reason: str
    after: str
    dropped: str
    at: float


class NumericsChosen(Record, frozen=True, tag=True, array_like=True):
    """The job stays with workers of this fingerprint; empty where its spec allows any."""

    job: str
    fingerprint: str
    at: float


class JobStarted(Record, frozen=True, tag=True, array_like=True):
    """The job's first task was assigned, or found known."""

    job: str
    at: float


class StageOpened(Record, frozen=True, tag=True, array_like=True):
    """released: the stages before, this one's forerunner included, that the job lets go of with it."""

    job: str
    stage: str
    tasks: int
    total_tasks: int
    at: float
    released: tuple[Released, ...] = ()


class StageChecked(Record, frozen=True, tag=True, array_like=True):
    """Known results of the open stage were looked up below `upto`."""

    job: str
    stage: str
    upto: int
    known: tuple[KnownTask, ...]
    at: float


class TasksAssigned(Record, frozen=True, tag=True, array_like=True):
    """A worker has attempts at these tasks of a stage, in this order. token: of the first; each next has the next.
    gang: members of the formation that they belong to; 0 where they are of no gang."""

    job: str
    stage: str
    worker: str
    token: int
    indexes: tuple[int, ...]
    at: float
    gang: int = 0


class TasksSucceeded(Record, frozen=True, tag=True, array_like=True):
    """Tasks of a stage have their results, which attempts of one worker made.

    seconds: how long each attempt ran. keys: under which each result can be had again, empty for a task that is
    impure. Of keys, results and last_reports there are as many as tokens, or none where nothing is in any of them.
    """

    job: str
    stage: str
    worker: str
    tokens: tuple[int, ...]
    indexes: tuple[int, ...]
    seconds: tuple[float, ...]
    at: float
    keys: tuple[str, ...] = ()
    results: tuple[TaskResult, ...] = ()
    last_reports: tuple[int, ...] = ()


class AttemptFailed(Record, frozen=True, tag=True, array_like=True):
    """An attempt ended without a result.

    charged: it counts against the task. retry_after: seconds until the next attempt; None where none follows.
    """

    job: str
    stage: str
    index: int
    token: int
    worker: str
    cause: Cause
    reason: str
    message: str
    log_tail: tuple[str, ...]
    duration: float
    charged: bool
    retry_after: float | None
    at: float


class AttemptReleased(Record, frozen=True, tag=True, array_like=True):
    """An attempt was given back or is of no more interest; its task is pending again where no other has it."""

    job: str
    stage: str
    index: int
    token: int
    worker: str
    at: float


class AttemptSaved(Record, frozen=True, tag=True, array_like=True):
    """An attempt saved what a later one at its task goes on from."""

    job: str
    stage: str
    index: int
    token: int
    worker: str
    saved: Ref
    at: float


class MemberReady(Record, frozen=True, tag=True, array_like=True):
    """A member of a gang listens at an address. Durable, since who knows the others does not say its own again."""

    job: str
    stage: str
    index: int
    token: int
    address: str


class Reported(Record, frozen=True, tag=True, array_like=True):
    job: str
    stage: str
    index: int
    token: int
    number: int
    points: Points
    lines: tuple[LogLine, ...]
    at: float


class JobEnded(Record, frozen=True, tag=True, array_like=True):
    job: str
    state: JobState
    reason: str
    at: float
    result: JobResult | None = None
    failure: Failure | None = None


class ModelRegistered(Record, frozen=True, tag=True, array_like=True):
    job: str
    name: str
    version: str
    display_name: str
    algorithm: str
    hyperparameters: dict[str, Value]
    metrics: dict[str, float]
    missing_metrics: dict[str, str]
    content: ModelContent
    dataset: str
    submitter: str
    at: float
    seconds: float = 0.0


class ModelDeleted(Record, frozen=True, tag=True, array_like=True):
    name: str
    version: str


class AliasSet(Record, frozen=True, tag=True, array_like=True):
    """An alias names a version; an empty version takes the alias away."""

    name: str
    alias: str
    version: str


class DatasetAdded(Record, frozen=True, tag=True, array_like=True):
    name: str
    content: DatasetContent
    source: str
    at: float


class DatasetDeleted(Record, frozen=True, tag=True, array_like=True):
    name: str


class ResultsForgotten(Record, frozen=True, tag=True, array_like=True):
    """Results that were known by these keys are known no more, so that their blobs may go. Without keys: a mark that
    the orchestrator of this term still led when it wrote it."""

    keys: tuple[str, ...]
    at: float


class WorkerJoined(Record, frozen=True, tag=True, array_like=True):
    """A worker's session was opened, its first or a later one."""

    info: WorkerInfo
    session: int
    at: float


class WorkerDraining(Record, frozen=True, tag=True, array_like=True):
    worker: str
    at: float


class WorkerGone(Record, frozen=True, tag=True, array_like=True):
    """A worker left, or was given up."""

    worker: str
    state: WorkerState
    reason: str
    at: float


class WorkerSuspected(Record, frozen=True, tag=True, array_like=True):
    """A worker's stream broke, or it fell silent: it has `grace` seconds to come back."""

    durable = False
    worker: str
    grace: float
    reason: str


class WorkerHeard(Record, frozen=True, tag=True, array_like=True):
    durable = False
    worker: str
    load: float | None
    memory: int
    cached: tuple[str, ...]
    at: float


class WorkerFit(Record, frozen=True, tag=True, array_like=True):
    """unfit: why its machine takes no work for now; empty where it takes some again."""

    durable = False
    worker: str
    unfit: str


class AttemptBegan(Record, frozen=True, tag=True, array_like=True):
    durable = False
    token: int
    pid: int


class MemberDone(Record, frozen=True, tag=True, array_like=True):
    """A member of a gang, and not the first, did its part after so many seconds."""

    durable = False
    token: int
    seconds: float


class AttemptsRecalled(Record, frozen=True, tag=True, array_like=True):
    durable = False
    tokens: tuple[int, ...]


class KnownResultsAsked(Record, frozen=True, tag=True, array_like=True):
    durable = False
    job: str
    upto: int


class BackoffEnded(Record, frozen=True, tag=True, array_like=True):
    durable = False
    job: str
    index: int


class Ticked(Record, frozen=True, tag=True, array_like=True):
    """The timer fired; `stalled` seconds, in which nobody could have been heard, are given back to every lease."""

    durable = False
    stalled: float


class Looked(Record, frozen=True, tag=True, array_like=True):
    """Stragglers were looked for, and will be again then; monotonic."""

    durable = False
    until: float
