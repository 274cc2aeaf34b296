"""The state as plain data and back, so that old journal entries can go; and how a term begins.

The rule: `restore(capture(state))` decides as `state` would. Only what can't be derived is captured: stages come from
the plan, sessions from the workers when they return.
"""

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from orchestrator.core import records as r
from orchestrator.core.apply import apply
from orchestrator.core.apply_tasks import wait
from orchestrator.core.attempts import backoff
from orchestrator.core.lines import line_up
from orchestrator.core.results import Results, ResultsImage
from orchestrator.core.state import GONE, Job, OpenStage, Settings, State, Status, Worker
from orchestrator.core.values import WorkerInfo
from tensorfleet.model import AttemptRecord, JobSpec, JobState, Ref, Resolved, WorkerState
from tensorfleet.plan import StageResults

VERSION = 4


class DoneImage(Struct, frozen=True, array_like=True):
    name: str
    results: ResultsImage
    released: bool = False


class StageImage(Struct, frozen=True, kw_only=True):
    """status: a byte a task."""

    name: str
    total_tasks: int
    checked: int
    frontier: int
    status: bytes
    results: ResultsImage
    seconds: float
    timed: int
    history: dict[int, list[AttemptRecord]]
    charged: dict[int, int]
    deaths: dict[int, int]
    reported: dict[int, dict[str, int]]
    waiting: list[int]
    formed: int = 0
    saved: dict[int, Ref] = {}


class AttemptImage(Struct, frozen=True):
    token: int
    index: int
    worker: str
    assigned_at: float
    last_report: int
    address: str = ""


class JobImage(Struct, frozen=True, kw_only=True):
    id: str
    request_id: str
    spec: JobSpec
    resolved: Resolved
    accepted_at: float
    retried: bool
    restarts: int = 0
    anew: bool = False
    on_trust: bool = False
    state: JobState
    fingerprint: str | None
    started_at: float | None
    paused_at: float | None = None
    stopped: str | None = None
    done: list[DoneImage]
    run: int
    reused: int
    open: StageImage | None
    attempts: list[AttemptImage]
    beaten: dict[int, tuple[str, int]]


class WorkerImage(Struct, frozen=True):
    info: WorkerInfo
    joined_at: float
    draining: bool
    gone: WorkerState | None
    reason: str


class Image(Struct, frozen=True, kw_only=True):
    version: int
    term: int
    counter: int
    jobs: list[JobImage]
    workers: list[WorkerImage]
    requests: dict[str, str]
    models: dict[str, list[str]]
    aliases: dict[str, dict[str, str]]
    datasets: dict[str, str]


def capture(state: State) -> bytes:
    """The state's durable part."""
    image = Image(
        version=VERSION,
        term=state.term,
        counter=state.counter,
        jobs=[_job_image(state, state.jobs[job]) for job in state.active],
        workers=[_worker_image(worker) for worker in state.workers.values()],
        requests=state.requests,
        models={name: list(versions) for name, versions in state.models.items()},
        aliases=state.aliases,
        datasets=state.datasets,
    )
    return msgspec.msgpack.encode(image)


def restore(data: bytes, settings: Settings, mono: float) -> State:
    """The state of a snapshot. Raises msgspec.ValidationError where it is none, or of a newer release."""
    image = msgspec.msgpack.decode(data, type=Image)
    if image.version > VERSION:
        raise msgspec.ValidationError(f"the snapshot is of version {image.version}; this release reads {VERSION}")
    state = State(settings=settings, term=image.term, datasets=image.datasets)
    state.aliases = image.aliases
    state.models = {name: dict.fromkeys(versions) for name, versions in image.models.items()}
    for known in image.workers:
        _restore_worker(state, known, mono)
    for job in image.jobs:
        _restore_job(state, job, mono)
    for worker in state.workers.values():
        worker.held = dict.fromkeys(sorted(worker.held))  # tokens grow in the order they were assigned
    state.counter = image.counter
    state.requests = image.requests  # after the jobs, which may be older than all that is remembered of requests
    return state


def _worker_image(worker: Worker) -> WorkerImage:
    gone = worker.state if worker.state in GONE else None
    # Why a worker is suspect, and that it is, is no more than a wait of this term.
    return WorkerImage(worker.info, worker.joined_at, worker.draining, gone, worker.reason if gone else "")


def _restore_worker(state: State, image: WorkerImage, mono: float) -> None:
    apply(state, r.WorkerJoined(image.info, 0, image.joined_at), mono)
    if image.draining:
        apply(state, r.WorkerDraining(image.info.id, image.joined_at), mono)
    if image.gone is not None:
        apply(state, r.WorkerGone(image.info.id, image.gone, image.reason, image.joined_at), mono)


def _job_image(state: State, job: Job) -> JobImage:
    return JobImage(
        id=job.id,
        request_id=job.request_id,
        spec=job.spec,
        resolved=job.resolved,
        accepted_at=job.accepted_at,
        retried=job.retried,
        restarts=job.restarts,
        anew=job.anew,
        on_trust=job.on_trust,
        state=job.state,
        fingerprint=job.fingerprint,
        started_at=job.started_at,
        paused_at=job.paused_at,
        stopped=job.stopped,
        done=[_done_image(stage) for stage in job.done],
        run=job.run,
        reused=job.reused,
        open=_stage_image(job),
        beaten=job.beaten,
        attempts=[
            AttemptImage(token, index, attempt.worker, attempt.assigned_at, attempt.last_report, attempt.address)
            for token, index in sorted(_live(job))
            if (attempt := state.attempts[token])
        ],
    )


def _done_image(stage: StageResults) -> DoneImage:
    assert isinstance(stage.results, Results)
    return DoneImage(stage.name, stage.results.image(), stage.released)


def _live(job: Job) -> Iterator[tuple[int, int]]:
    if job.open is not None:
        yield from ((token, index) for index, tokens in job.open.live.items() for token in tokens)


def _stage_image(job: Job) -> StageImage | None:
    stage = job.open
    if stage is None:
        return None
    return StageImage(
        name=stage.stage.name,
        total_tasks=job.total_tasks,
        checked=stage.checked,
        frontier=stage.frontier,
        status=bytes(stage.status),
        results=stage.results.image(),
        seconds=stage.seconds,
        timed=stage.timed,
        history={index: history for index, history in stage.history.items() if index not in stage.settled},
        charged=stage.charged,
        deaths=stage.deaths,
        reported=stage.reported,
        waiting=sorted(stage.waiting),
        formed=stage.formed,
        saved=stage.saved,
    )


def _restore_job(state: State, image: JobImage, mono: float) -> None:
    accepted = r.JobAccepted(image.id, image.request_id, image.spec, image.resolved, image.accepted_at, image.retried)
    apply(state, accepted, mono)
    job = state.jobs[image.id]
    if image.fingerprint is not None:
        apply(state, r.NumericsChosen(job.id, image.fingerprint, image.accepted_at), mono)
    job.started_at, job.stopped = image.started_at, image.stopped
    job.state, job.paused_at, job.paused = image.state, image.paused_at, mono
    job.done = [StageResults(done.name, Results.of_image(done.results), None, done.released) for done in image.done]
    if image.open is not None:
        _restore_stage(state, job, image, image.open, mono)
    line_up(state, job)
    job.run, job.reused = image.run, image.reused
    job.beaten, job.restarts = image.beaten, image.restarts
    job.anew, job.on_trust = image.anew, image.on_trust


def _restore_stage(state: State, job: Job, image: JobImage, opened: StageImage, mono: float) -> None:
    apply(state, r.StageOpened(job.id, opened.name, 0, opened.total_tasks, image.accepted_at), mono)
    apply(state, r.StageChecked(job.id, opened.name, opened.checked, (), image.accepted_at), mono)
    stage = job.open
    assert stage is not None
    stage.status, stage.results = bytearray(opened.status), Results.of_image(opened.results)
    stage.done = stage.status.count(Status.SUCCEEDED)
    stage.seconds, stage.timed = opened.seconds, opened.timed
    stage.history, stage.charged, stage.deaths = opened.history, opened.charged, opened.deaths
    stage.reported, stage.frontier, stage.formed = opened.reported, opened.frontier, opened.formed
    stage.saved = opened.saved
    for attempt in image.attempts:  # its task is running already, and takes it as it takes a twin
        assigned = r.TasksAssigned(
            job.id, opened.name, attempt.worker, attempt.token, (attempt.index,), attempt.assigned_at
        )
        apply(state, assigned, mono)
        restored = state.attempts[attempt.token]
        restored.last_report, restored.address = attempt.last_report, attempt.address
    # When a backoff ends was told by a clock that is gone: it is waited out anew.
    for index in opened.waiting:
        wait(state, job, stage, index, mono + _backoff(job, stage, index))
    stage.returned = [index for index in _pending(stage) if index not in stage.waiting]


def _pending(stage: OpenStage) -> Iterator[int]:
    """Pending tasks below the frontier."""
    index = stage.status.find(Status.PENDING, 0, stage.frontier)
    while index >= 0:
        yield index
        index = stage.status.find(Status.PENDING, index + 1, stage.frontier)


def _backoff(job: Job, stage: OpenStage, index: int) -> float:
    account = stage.account(index)
    return backoff(job.spec.retry, stage.charged.get(account, 0) + stage.deaths.get(account, 0))
