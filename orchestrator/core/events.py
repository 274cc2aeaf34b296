"""What can happen to the orchestrator: requests, workers' messages, answers to look-ups, the timer.

`ticket` names the caller that waits for a reply. Messages of workers carry their session's number: those of a
superseded session change nothing.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from orchestrator.core.values import WorkerInfo
from tensorfleet.model import Cause, Failure, JobSpec, LogLine, Points, Ref, Resolved, TaskResult


class Event(Struct, frozen=True):
    pass


class Submission(Struct, frozen=True):
    """One job to accept. The id is the caller's choice, since nothing random happens in the core."""

    job: str
    request_id: str
    spec: JobSpec
    resolved: Resolved


class SubmitJobs(Event, frozen=True):
    """Accept all of them. Replies with the ids, in order."""

    ticket: int
    submissions: tuple[Submission, ...]


class CancelJob(Event, frozen=True):
    ticket: int
    job: str
    reason: str


class PauseJob(Event, frozen=True):
    ticket: int
    job: str
    reason: str = ""


class ResumeJob(Event, frozen=True):
    ticket: int
    job: str


class CheckpointJob(Event, frozen=True):
    """Have what runs of a job save. Replies with how many attempts are asked to."""

    ticket: int
    job: str


class StopJob(Event, frozen=True):
    """End a job early, with what it has."""

    ticket: int
    job: str
    reason: str = ""


class RetryJob(Event, frozen=True):
    """Put an ended job back in the queue, as its document has it."""

    ticket: int
    submission: Submission


class KnownResults(Event, frozen=True):
    """The answer to a LookUp: the results that are there, by index. let_go: those whose outputs may be gone."""

    job: str
    stage: str
    upto: int
    results: Mapping[int, TaskResult]
    keys: Mapping[int, str]
    let_go: frozenset[int] = frozenset()


class Inspected(Event, frozen=True):
    """The answer to an Inspect: digests of the blobs that are not there, or were damaged and are there no more."""

    job: str
    lost: tuple[str, ...]


class OpenSession(Event, frozen=True):
    """A hello. The session's number is the shell's, new with each stream. held: token -> has begun."""

    session: int
    info: WorkerInfo
    protocol_min: int
    protocol_max: int
    held: Mapping[int, bool]
    finished: tuple[int, ...]
    cached: tuple[str, ...]


class SessionEvent(Event, frozen=True):
    worker: str
    session: int


class SessionLost(SessionEvent, frozen=True):
    """The stream broke."""


class Leaving(SessionEvent, frozen=True):
    """The worker takes no more work, and leaves when what it holds has ended."""

    reason: str


class Heartbeat(SessionEvent, frozen=True):
    """running: token -> the slot's process id. unfit: why it takes no work for now."""

    running: Mapping[int, int]
    load: float
    memory: int
    cached: tuple[str, ...]
    unfit: str = ""


class Began(SessionEvent, frozen=True):
    token: int
    pid: int


class Released(SessionEvent, frozen=True):
    token: int


class Report(SessionEvent, frozen=True):
    token: int
    number: int
    points: Points
    lines: tuple[LogLine, ...]


class Saved(SessionEvent, frozen=True):
    """A running attempt saved what a later one goes on from."""

    token: int
    saved: Ref


class Finished(SessionEvent, frozen=True):
    """An attempt ended. cause None: it succeeded, or gave up its place, with what it saved."""

    token: int
    result: TaskResult
    cause: Cause | None
    reason: str
    message: str
    log_tail: tuple[str, ...]
    duration: float
    last_report: int
    started: bool
    gave_up: bool = False
    saved: Ref | None = None


class Succeeded(SessionEvent, frozen=True):
    """Attempts succeeded, and made nothing that is to be told. seconds: how long each ran."""

    tokens: Sequence[int]
    seconds: Sequence[float]


class GangReady(SessionEvent, frozen=True):
    """A member of a gang listens at an address, as `HOST:PORT`, and waits for the others."""

    token: int
    address: str


class DrainWorker(Event, frozen=True):
    ticket: int
    worker: str


class SetAlias(Event, frozen=True):
    ticket: int
    name: str
    alias: str
    version: str


class DeleteModel(Event, frozen=True):
    """Delete a version, or every version where it is empty. Replies with how many."""

    ticket: int
    name: str
    version: str


class DeleteDataset(Event, frozen=True):
    ticket: int
    name: str


class ForgetResults(Event, frozen=True):
    """Let go of known results. Replies once that is durable: then no look-up finds them."""

    ticket: int
    keys: tuple[str, ...]


class Tick(Event, frozen=True):
    """The timer fired, or was due while nothing could run."""


class Advance(Event, frozen=True):
    """Go on with a job: open its next stage, or end it. Follows decisions; never comes from outside."""

    job: str


class FailJob(Event, frozen=True):
    """A task of the job failed for good. Decided once its last attempt is in the task's history."""

    job: str
    failure: Failure


class GiveUp(Event, frozen=True):
    """A suspect's time is over, or a worker fell silent."""

    worker: str


class PastDeadline(Event, frozen=True):
    job: str


class HelpStragglers(Event, frozen=True):
    """See whether an idle worker can twin an attempt that takes too long."""


class Place(Event, frozen=True):
    """Hand out what can be handed out. Comes last in every batch."""
