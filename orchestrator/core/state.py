"""The orchestrator's state: live jobs, workers, attempts, and what the registry's names stand for.

The rule: only `apply` changes it. A task costs a byte and its place among the results, and no object, unless it runs or
has failed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from msgspec import Struct

from orchestrator.core.records import ModelRegistered
from orchestrator.core.results import Results
from orchestrator.core.values import WorkerInfo
from tensorfleet.model import (
    AttemptRecord,
    Failure,
    JobResult,
    JobSpec,
    JobState,
    Ref,
    Resolved,
    TaskState,
    WorkerState,
)
from tensorfleet.plan import Plan, Stage, StageResults

COUNTER_BITS = 32

GONE = (WorkerState.LOST, WorkerState.LEFT)
"""Where a worker is that is no part of the fleet."""


class Status(IntEnum):
    """A task's state as its byte in the stage's column."""

    PENDING = 0
    RUNNING = 1
    SUCCEEDED = 2
    FAILED = 3

    @property
    def public(self) -> TaskState:
        return _PUBLIC[self]


_PUBLIC = {
    Status.PENDING: TaskState.PENDING,
    Status.RUNNING: TaskState.RUNNING,
    Status.SUCCEEDED: TaskState.SUCCEEDED,
    Status.FAILED: TaskState.FAILED,
}


class Now(Struct, frozen=True):
    """Both clocks, passed in: leases and backoff run on `mono`, records carry `wall`."""

    mono: float
    wall: float


@dataclass(slots=True)
class OpenStage:
    """The stage of a job whose tasks run.

    status: a byte a task. checked: known results were looked up below this index; asked: are being. frontier: from here
    on nothing was ever assigned. returned: lower indexes that are pending again, in order. waiting: index -> the
    monotonic time at which its backoff ends. live: index -> tokens of its attempts, first to last. saved: what attempts
    at tasks that are not done have saved, for the next to go on from. history: failed attempts of tasks that have not
    succeeded, and of those that have just done so, `settled`. formed: members of the formation of a gang, or of its
    last one. since: when an attempt last ended without a result, or the stage was opened; monotonic.
    """

    stage: Stage
    operator: str
    status: bytearray
    results: Results
    checked: int = 0
    asked: int = 0
    frontier: int = 0
    done: int = 0
    seconds: float = 0.0
    timed: int = 0
    returned: list[int] = field(default_factory=list)
    waiting: dict[int, float] = field(default_factory=dict)
    live: dict[int, list[int]] = field(default_factory=dict)
    saved: dict[int, Ref] = field(default_factory=dict)
    history: dict[int, list[AttemptRecord]] = field(default_factory=dict)
    settled: list[int] = field(default_factory=list)
    charged: dict[int, int] = field(default_factory=dict)
    deaths: dict[int, int] = field(default_factory=dict)
    reported: dict[int, dict[str, int]] = field(default_factory=dict)
    formed: int = 0
    since: float = 0.0

    @classmethod
    def of(cls, stage: Stage, mono: float) -> "OpenStage":
        operator = stage.task(0).operator if stage.count else ""
        return cls(stage, operator, bytearray(stage.count), Results(stage.count), since=mono)

    @property
    def mean_seconds(self) -> float | None:
        """Mean time of the stage's tasks that ran; None before the first."""
        return self.seconds / self.timed if self.timed else None

    def pending(self) -> Iterator[int]:
        """Indexes that can be assigned now, in order; of a gang's the first stands for all."""
        if self.stage.gang:
            yield from (0,) if self.has_pending() else ()
            return
        yield from self.returned
        for index in range(self.frontier, self.checked):
            if self.status[index] == Status.PENDING:
                yield index

    @property
    def left(self) -> int:
        """How many tasks can be assigned now, at most: some that were never assigned may be known."""
        return len(self.returned) + self.checked - self.frontier

    def account(self, index: int) -> int:
        """Under whose index a task's failures are counted, and what it saves is kept: a gang's members have one."""
        return 0 if self.stage.gang else index

    def has_pending(self) -> bool:
        if self.stage.gang and (self.live or self.waiting or self.done):
            return False  # all are to begin together
        return bool(self.returned) or self.frontier < self.checked  # the first of these is always pending


LineKey = tuple[int, str, int, int, int, tuple[tuple[str, str], ...], tuple[str, ...], str, int, str]
"""What the jobs of a line have in common: priority (negated) and submitter, needs, numerics, workers, operator."""


@dataclass(slots=True)
class Job:
    """paused_at, paused: since when it is paused, wall and monotonic time. stopped: where it is to end early, the
    stage up to which it had come by then. restarts: how often it began again since something that it had made was
    lost; anew: once with all that was let go of. on_trust: whether it took known results whose outputs may be gone.
    line: the one in which it waits, while it has tasks to hand out. beaten: tokens of twins that were second, with
    their task; one may yet have finished, and must agree."""

    id: str
    request_id: str
    order: int
    spec: JobSpec
    resolved: Resolved
    plan: Plan
    accepted_at: float
    deadline: float | None
    retried: bool = False
    restarts: int = 0
    anew: bool = False
    on_trust: bool = False
    state: JobState = JobState.QUEUED
    fingerprint: str | None = None
    started_at: float | None = None
    paused_at: float | None = None
    paused: float = 0.0
    stopped: str | None = None
    done: list[StageResults] = field(default_factory=list)
    open: OpenStage | None = None
    line: LineKey | None = None
    total_tasks: int = 0
    run: int = 0
    reused: int = 0
    running: int = 0
    by_worker: dict[str, int] = field(default_factory=dict)
    beaten: dict[int, tuple[str, int]] = field(default_factory=dict)
    ended_at: float | None = None
    model: ModelRegistered | None = None
    result: JobResult | None = None
    failure: Failure | None = None

    @property
    def stopping(self) -> bool:
        """Whether it is to end early now; one that began again meanwhile first comes to where it was."""
        return self.stopped is not None and (not self.stopped or any(stage.name == self.stopped for stage in self.over))

    @property
    def over(self) -> list[StageResults]:
        """The results of the stages that are done, the open one among them where it is."""
        return self.with_open() if self.open is None or self.open.done == self.open.stage.count else self.done

    def with_open(self) -> list[StageResults]:
        """The results of the stages that are done, the open one counted among them."""
        if self.open is None:
            return list(self.done)
        return [*self.done, StageResults(self.open.stage.name, self.open.results, self.open.stage)]


class TimerKind(IntEnum):
    """What is due: a worker's lease or grace is over, a job's deadline passed, a task's backoff ends."""

    WORKER = 0
    DEADLINE = 1
    BACKOFF = 2


class Timer(NamedTuple):
    """time: monotonic. name: of the worker or the job. task: its index."""

    time: float
    kind: TimerKind
    name: str
    task: int = 0


@dataclass(slots=True)
class Attempt:
    """since: when it began, or was assigned where that is not known; monotonic. gang: whether it is a member of one; it
    has said that it listens at `address`, and that it was done after so many seconds."""

    token: int
    job: str
    stage: str
    index: int
    worker: str
    assigned_at: float
    since: float
    started: bool = False
    recalled: bool = False
    pid: int = 0
    last_report: int = 0
    gang: bool = False
    address: str = ""
    done: float | None = None


PoolKey = tuple[int, int, int, int, int, tuple[tuple[str, str], ...], str, tuple[str, ...]]
"""What the workers of a pool have in common: slots, credit, processors, memory, GPUs, labels, numerics, engines."""


@dataclass(slots=True)
class Pool:
    """Workers that are alike and take work. like: one of them. places: attempts held, order of joining, id; sorted."""

    like: WorkerInfo
    places: list[tuple[int, int, str]] = field(default_factory=list)


@dataclass(slots=True)
class Worker:
    """order: the later it joined, the higher. deadline: when a suspect is given up, monotonic; grace: the seconds it
    was given then. held: tokens in the order they were assigned; memory_taken, gpus_taken: what these need. place:
    where it is in its pool, while it takes work. timer: when its lease or grace is looked at next. unfit: why its
    machine takes no work for now."""

    info: WorkerInfo
    pool: PoolKey
    order: int
    state: WorkerState
    session: int
    joined_at: float
    heard: float
    heard_at: float
    deadline: float | None = None
    grace: float = 0.0
    reason: str = ""
    load: float = 0.0
    memory: int = 0
    unfit: str = ""
    held: dict[int, None] = field(default_factory=dict)
    memory_taken: int = 0
    gpus_taken: int = 0
    place: tuple[int, int, str] | None = None
    timer: float | None = None
    cached: set[str] = field(default_factory=set)
    draining: bool = False

    @property
    def takes_work(self) -> bool:
        return self.state == WorkerState.READY and not self.unfit

    @property
    def reachable(self) -> bool:
        return self.session != 0


class Settings(Struct, frozen=True, kw_only=True):
    """How patient the orchestrator is; seconds unless named otherwise.

    lease: how long a silent worker is believed. grace: how long one whose stream broke may take to come back;
    restart_grace: the same after the orchestrator itself was away. deaths: a task's budget of started attempts that
    died with their process or worker. prefetch: seconds of work that a slot may have waiting. gather: how long a gang
    waits for the workers it lacks before fewer members do, where its plan allows that. max_jobs: jobs that may
    be queued and running; past them submissions are told to come back.
    """

    lease: float = 10.0
    heartbeat: float = 3.0
    grace: float = 0.8
    restart_grace: float = 10.0
    deaths: int = 5
    restarts: int = 3
    prefetch: float = 0.5
    gather: float = 10.0
    max_jobs: int = 20_000
    lookup_window: int = 1024
    straggler_factor: float = 3.0
    straggler_floor: float = 5.0
    remember_requests: int = 20_000
    remember_ended: int = 256
    remember_gone: int = 64


@dataclass(slots=True)
class State:
    """active: the jobs that have not ended; a few that have, `ended`, stay in `jobs` for whoever asks just then.

    lines: the jobs that have tasks to hand out, as (order, id), oldest first, by what they have in common: where one of
    a line finds no room, no other will. unchosen: those whose numerics are yet to be chosen. shares: running attempts
    by submitter. pools: workers that take work, by what they have; ahead: those that hold more than they have slots;
    suspects: those that are away and have time to come back; departed: those that are gone, the longest first; unfit:
    those that are here and take none for now. timers: a heap of what is due when. look: when to look for stragglers
    next. These keep decisions from looking at every job and every worker.
    requests: request id -> job. models: name -> versions; aliases: name -> alias -> version; datasets: name -> digest.
    paces: operator -> running mean of its tasks' seconds, for stages that have run nothing yet. let_go: bytes of
    outputs that jobs have let go of in this process's time.
    """

    settings: Settings = field(default_factory=Settings)
    term: int = 0
    counter: int = 0
    orders: int = 0
    ticked: float | None = None
    jobs: dict[str, Job] = field(default_factory=dict)
    active: dict[str, None] = field(default_factory=dict)
    ended: dict[str, None] = field(default_factory=dict)
    lines: dict[LineKey, list[tuple[int, str]]] = field(default_factory=dict)
    unchosen: dict[str, None] = field(default_factory=dict)
    shares: dict[str, int] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    joins: int = 0
    pools: dict[PoolKey, Pool] = field(default_factory=dict)
    ahead: dict[str, None] = field(default_factory=dict)
    suspects: dict[str, None] = field(default_factory=dict)
    departed: dict[str, None] = field(default_factory=dict)
    timers: list[Timer] = field(default_factory=list)
    look: float | None = None
    unfit: dict[str, None] = field(default_factory=dict)
    models: dict[str, dict[str, None]] = field(default_factory=dict)
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)
    paces: dict[str, float] = field(default_factory=dict)
    let_go: int = 0

    def token(self, ahead: int) -> int:
        """The fencing token of the `ahead`-th attempt from now: (term, counter) in one number."""
        return (self.term << COUNTER_BITS) | (self.counter + 1 + ahead)
