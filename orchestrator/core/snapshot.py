"""The state as plain data and back, so that old journal entries can go; and how a term begins.

The rule: `restore(capture(state))` decides as `state` would. Only what can't be derived is captured: stages come from
the plan, sessions from the workers when they return.
"""

import msgspec
from msgspec import Struct

from orchestrator.core import records as r
from orchestrator.core.apply import GONE, apply
from orchestrator.core.state import Job, Settings, State, Status
from tensorfleet.model import AttemptRecord, JobSpec, JobState, Resolved, TaskResult
from tensorfleet.plan import StageResults

VERSION = 1


class StageImage(Struct, frozen=True, kw_only=True):
    name: str
    total_tasks: int
    checked: int
    results: dict[int, TaskResult]
    seconds: float
    timed: int
    history: dict[int, list[AttemptRecord]]
    charged: dict[int, int]
    deaths: dict[int, int]
    reported: dict[int, dict[str, int]]
    waiting: list[int]


class AttemptImage(Struct, frozen=True):
    token: int
    index: int
    worker: str
    assigned_at: float
    last_report: int


class JobImage(Struct, frozen=True, kw_only=True):
    id: str
    request_id: str
    spec: JobSpec
    resolved: Resolved
    accepted_at: float
    retried: bool
    state: JobState
    fingerprint: str | None
    started_at: float | None
    done: list[StageResults]
    run: int
    reused: int
    open: StageImage | None
    attempts: list[AttemptImage]


class WorkerImage(Struct, frozen=True):
    info: r.WorkerInfo
    joined_at: float
    draining: bool


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
        workers=[
            WorkerImage(worker.info, worker.joined_at, worker.draining)
            for worker in state.workers.values()
            if worker.state not in GONE
        ],
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
    state = State(settings=settings, term=image.term, requests=image.requests, datasets=image.datasets)
    state.aliases = image.aliases
    state.models = {name: dict.fromkeys(versions) for name, versions in image.models.items()}
    for worker in image.workers:
        apply(state, r.WorkerJoined(worker.info, 0, worker.joined_at), mono)
        if worker.draining:
            apply(state, r.WorkerDraining(worker.info.id, worker.joined_at), mono)
    for job in image.jobs:
        _restore_job(state, job, mono)
    state.counter = image.counter
    return state


def _job_image(state: State, job: Job) -> JobImage:
    return JobImage(
        id=job.id,
        request_id=job.request_id,
        spec=job.spec,
        resolved=job.resolved,
        accepted_at=job.accepted_at,
        retried=job.retried,
        state=job.state,
        fingerprint=job.fingerprint,
        started_at=job.started_at,
        done=job.done,
        run=job.run,
        reused=job.reused,
        open=_stage_image(job),
        attempts=[
            AttemptImage(token, index, attempt.worker, attempt.assigned_at, attempt.last_report)
            for index, tokens in (job.open.live.items() if job.open else ())
            for token in tokens
            if (attempt := state.attempts[token])
        ],
    )


def _stage_image(job: Job) -> StageImage | None:
    stage = job.open
    if stage is None:
        return None
    return StageImage(
        name=stage.stage.name,
        total_tasks=job.total_tasks,
        checked=stage.checked,
        results={index: result for index, result in enumerate(stage.results) if result is not None},
        seconds=stage.seconds,
        timed=stage.timed,
        history=stage.history,
        charged=stage.charged,
        deaths=stage.deaths,
        reported=stage.reported,
        waiting=[index for _, index in stage.waiting],
    )


def _restore_job(state: State, image: JobImage, mono: float) -> None:
    accepted = r.JobAccepted(image.id, image.request_id, image.spec, image.resolved, image.accepted_at, image.retried)
    apply(state, accepted, mono)
    job = state.jobs[image.id]
    job.fingerprint, job.started_at, job.done = image.fingerprint, image.started_at, list(image.done)
    if image.open is not None:
        _restore_stage(state, job, image, image.open, mono)
    job.state, job.run, job.reused = image.state, image.run, image.reused


def _restore_stage(state: State, job: Job, image: JobImage, opened: StageImage, mono: float) -> None:
    apply(state, r.StageOpened(job.id, opened.name, 0, opened.total_tasks, image.accepted_at), mono)
    known = tuple(r.KnownTask(index, "", opened.results[index]) for index in sorted(opened.results))
    apply(state, r.StageChecked(job.id, opened.name, opened.checked, known, image.accepted_at), mono)
    for attempt in sorted(image.attempts, key=lambda attempt: attempt.index):
        assigned = r.AttemptAssigned(
            job.id, opened.name, attempt.index, attempt.token, attempt.worker, attempt.assigned_at
        )
        apply(state, assigned, mono)
        state.attempts[attempt.token].last_report = attempt.last_report
    stage = job.open
    assert stage is not None
    # What is pending below the frontier is found again by scanning from the start.
    stage.frontier = next((i for i, status in enumerate(stage.status) if status == Status.PENDING), len(stage.status))
    stage.seconds, stage.timed = opened.seconds, opened.timed
    stage.history, stage.charged, stage.deaths = opened.history, opened.charged, opened.deaths
    stage.reported = opened.reported
