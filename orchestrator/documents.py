"""What people read and query, drawn from the records: jobs, tasks, events, metrics, models, datasets, workers.

The rule: a document says nothing that the journal does not; it can be drawn again at any time. Lists hold no lists, and
what a list holds has names, for whoever reads it with the database's own tools.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct, field

from orchestrator.core import records as r
from orchestrator.core.explaining import why_pending
from orchestrator.core.state import GONE, Job, State
from tensorfleet.model import (
    AttemptRecord,
    DatasetContent,
    Failure,
    JobResult,
    JobSpec,
    JobState,
    ModelContent,
    Ref,
    Resolved,
    TaskResult,
    TaskState,
    Value,
)
from tensorfleet.stores.collections import SCHEMA
from tensorfleet.stores.contract import Write


class JobDocument(Struct, frozen=True, kw_only=True):
    schema: int = SCHEMA
    id: str
    request_id: str
    kind: str
    state: JobState
    algorithm: str
    dataset: str
    submitter: str
    model_name: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    spec: JobSpec
    resolved: Resolved
    fingerprint: str
    stage: str
    total: int
    run: int
    reused: int
    running: int
    pending_reason: str
    model: "ModelSummary | None"
    result: JobResult | None
    failure: Failure | None


class ModelSummary(Struct, frozen=True):
    name: str
    version: str
    display_name: str
    algorithm: str
    sha256: str


class TaskDocument(Struct, frozen=True, kw_only=True):
    schema: int = SCHEMA
    job_id: str
    stage: str
    index: int
    operator: str
    key: str = ""
    state: TaskState
    reused: bool = False
    outputs: tuple[Ref, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    duration: float | None = None


class ModelDocument(Struct, frozen=True, kw_only=True):
    schema: int = SCHEMA
    name: str
    version: str
    display_name: str
    algorithm: str
    hyperparameters: dict[str, Value]
    metrics: dict[str, float]
    missing_metrics: dict[str, str]
    content: ModelContent
    dataset: str
    job_id: str
    submitter: str
    created_at: float
    seconds: float = 0.0


class DatasetDocument(Struct, frozen=True, kw_only=True):
    schema: int = SCHEMA
    name: str
    content: DatasetContent
    source: str
    created_at: float


class ResultDocument(Struct, frozen=True, kw_only=True):
    """What a task of a key made. at: when it was made or last reused; job_id: by which job."""

    schema: int = SCHEMA
    key: str
    job_id: str
    at: float
    outputs: tuple[Ref, ...] = ()
    summary: dict[str, Value] = {}


class Drawing(Struct):
    """The documents of some records, the last of each id, and the events of each job in their order.

    jobs: those that the records touched; they change with each record, and are drawn once, by `finish`.
    """

    documents: dict[tuple[str, str], dict[str, Any] | None] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)

    def finish(self, state: State) -> None:
        """Draws the touched jobs as they are now: with all records of this drawing, and no others, applied."""
        for job in self.jobs.values():
            self.put("jobs", job.id, job_document(state, job))
        self.jobs.clear()

    def put(self, collection: str, name: str, document: Struct | dict[str, Any] | None) -> None:
        plain = msgspec.to_builtins(document) if isinstance(document, Struct) else document
        self.documents[(collection, name)] = plain

    def writes(self, number: int) -> list[Write]:
        """Everything drawn, as of the journal entry of that number."""
        writes = [Write(collection, name, document) for (collection, name), document in self.documents.items()]
        for job, events in self.events.items():
            document = {"schema": SCHEMA, "job_id": job, "number": number, "events": events}
            writes.append(Write("events", f"{job}:{number:012d}", document))
        return writes


def draw(drawing: Drawing, state: State, records: Iterable[r.Record]) -> None:
    """Draws records that have just been applied; call `finish` when the last of them are."""
    for record in records:
        if not record.durable:
            continue
        _draw_one(drawing, state, record)
        if job := state.jobs.get(getattr(record, "job", "")):
            drawing.jobs[job.id] = job


def job_document(state: State, job: Job) -> JobDocument:
    spec = job.spec
    return JobDocument(
        id=job.id,
        request_id=job.request_id,
        kind=spec.kind,
        state=job.state,
        algorithm=spec.algorithm,
        dataset=spec.dataset,
        submitter=spec.submitter,
        model_name=spec.model_name,
        created_at=job.accepted_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        spec=spec,
        resolved=job.resolved,
        fingerprint=job.fingerprint or "",
        stage=job.open.stage.name if job.open else "",
        total=max(job.total_tasks, job.run + job.reused),
        run=job.run,
        reused=job.reused,
        running=job.running,
        pending_reason="" if job.state.ended or job.running else why_pending(state, job),
        model=_model_summary(job.model),
        result=job.result,
        failure=job.failure,
    )


def _model_summary(model: r.ModelRegistered | None) -> ModelSummary | None:
    if model is None:
        return None
    return ModelSummary(model.name, model.version, model.display_name, model.algorithm, model.content.sha256)


def event_of(record: r.Record) -> dict[str, Any]:
    """A record as the event that watchers are shown, plain."""
    kind = type(record)
    plain: dict[str, Any] = {name: getattr(record, name) for name in _SHOWN[kind]}
    if isinstance(record, r.Reported):
        plain["points"] = [msgspec.structs.asdict(point) for point in record.points]
        plain["lines"] = [msgspec.structs.asdict(line) for line in record.lines]
    plain = msgspec.to_builtins(plain)
    if isinstance(record, r.AttemptAssigned):
        return {
            "type": "TasksAssigned",
            "stage": record.stage,
            "worker": record.worker,
            "indexes": [record.index],
            "tokens": [record.token],
            "at": record.at,
        }
    if isinstance(record, r.TaskSucceeded):
        return {
            "type": "TasksSucceeded",
            "stage": record.stage,
            "worker": record.worker,
            "indexes": [record.index],
            "tokens": [record.token],
            "seconds": [record.duration],
            "last_reports": [record.last_report],
            "at": record.at,
        }
    return {"type": kind.__name__, **plain}


_SAME = ("type", "stage", "worker", "at")
_COLUMNS = ("indexes", "tokens", "seconds", "last_reports")


def _add(events: list[dict[str, Any]], event: dict[str, Any]) -> None:
    """Appends an event; one that goes on with the run before it lengthens that."""
    if events and "indexes" in event and all(events[-1].get(name) == event.get(name) for name in _SAME):
        for name in _COLUMNS:
            if name in event:
                events[-1][name] += event[name]
    else:
        events.append(event)


_APART = ("job", "spec", "resolved", "request_id", "result", "key")
"""Fields that no event shows: what stands elsewhere, or can be large."""

_SHOWN: dict[type[r.Record], tuple[str, ...]] = {
    kind: tuple(name for name in kind.__struct_fields__ if name not in _APART)
    for kind in (
        r.JobAccepted,
        r.JobRestarted,
        r.JobStarted,
        r.StageOpened,
        r.AttemptAssigned,
        r.TaskSucceeded,
        r.AttemptFailed,
        r.Reported,
        r.JobEnded,
    )
}
"""The records that are events, with the fields that these show."""


def _draw_one(drawing: Drawing, state: State, record: r.Record) -> None:
    if type(record) in _SHOWN:
        _add(drawing.events.setdefault(record.job, []), event_of(record))  # type: ignore[attr-defined]
    if isinstance(record, r.StageChecked):
        _draw_known(drawing, state, record)
    elif isinstance(record, r.AttemptAssigned | r.AttemptFailed | r.AttemptReleased):
        _draw_task(drawing, state, record)
    elif isinstance(record, r.TaskSucceeded):
        _draw_success(drawing, state, record)
    elif isinstance(record, r.Reported) and record.points:
        _draw_points(drawing, record)
    elif isinstance(record, r.ModelRegistered | r.ModelDeleted | r.AliasSet | r.DatasetAdded | r.DatasetDeleted):
        _draw_registry(drawing, record)
    elif isinstance(record, r.ResultsForgotten):
        for key in record.keys:
            drawing.put("results", key, None)
    elif isinstance(record, r.WorkerJoined | r.WorkerDraining | r.WorkerGone):
        _draw_worker(drawing, state, record.info.id if isinstance(record, r.WorkerJoined) else record.worker)


def task_id(job: str, stage: str, index: int) -> str:
    return f"{job}:{stage}:{index:09d}"


def _draw_known(drawing: Drawing, state: State, record: r.StageChecked) -> None:
    job = state.jobs[record.job]
    if record.known:
        indexes = [known.index for known in record.known]
        event = {"type": "TasksKnown", "stage": record.stage, "indexes": indexes, "at": record.at}
        drawing.events.setdefault(record.job, []).append(event)
    for known in record.known:
        operator = job.open.stage.task(known.index).operator if job.open else ""
        document = TaskDocument(
            job_id=record.job,
            stage=record.stage,
            index=known.index,
            operator=operator,
            key=known.key,
            state=TaskState.SUCCEEDED,
            reused=True,
            outputs=known.result.outputs,
        )
        drawing.put("tasks", task_id(record.job, record.stage, known.index), document)
        _draw_result(drawing, record.job, known.key, known.result, record.at)


def _draw_result(drawing: Drawing, job: str, key: str, result: TaskResult, at: float) -> None:
    document = ResultDocument(key=key, job_id=job, at=at, outputs=result.outputs, summary=result.summary)
    drawing.put("results", key, document)


def _draw_task(drawing: Drawing, state: State, record: r.AttemptAssigned | r.AttemptFailed | r.AttemptReleased) -> None:
    """A task that has not succeeded: its history, and the attempts it has now."""
    job = state.jobs.get(record.job)
    if job is None or job.open is None or job.open.stage.name != record.stage:
        return
    stage, index = job.open, record.index
    live = [
        AttemptRecord(token=token, worker=attempt.worker, assigned_at=attempt.assigned_at)
        for token in stage.live.get(index, ())
        if (attempt := state.attempts[token])
    ]
    if stage.results.has(index):
        return
    failed = isinstance(record, r.AttemptFailed) and record.retry_after is None and not live
    document = TaskDocument(
        job_id=record.job,
        stage=record.stage,
        index=index,
        operator=stage.stage.task(index).operator,
        state=TaskState.RUNNING if live else TaskState.FAILED if failed else TaskState.PENDING,
        attempts=(*stage.history.get(index, ()), *live),
    )
    drawing.put("tasks", task_id(record.job, record.stage, index), document)


def _draw_success(drawing: Drawing, state: State, record: r.TaskSucceeded) -> None:
    job = state.jobs[record.job]
    stage = job.open
    task = stage.stage.task(record.index) if stage is not None and stage.stage.name == record.stage else None
    history = stage.history.get(record.index, []) if stage is not None else []
    attempt = AttemptRecord(
        token=record.token, worker=record.worker, assigned_at=record.at - record.duration, duration=record.duration
    )
    document = TaskDocument(
        job_id=record.job,
        stage=record.stage,
        index=record.index,
        operator=task.operator if task else "",
        key=record.key,
        state=TaskState.SUCCEEDED,
        outputs=record.result.outputs,
        attempts=(*history, attempt),
        duration=record.duration,
    )
    drawing.put("tasks", task_id(record.job, record.stage, record.index), document)
    if record.key:
        _draw_result(drawing, record.job, record.key, record.result, record.at)


def _draw_points(drawing: Drawing, record: r.Reported) -> None:
    points = [msgspec.structs.asdict(point) for point in record.points]
    document = {
        "schema": SCHEMA,
        "job_id": record.job,
        "stage": record.stage,
        "index": record.index,
        "token": record.token,
        "number": record.number,
        "at": record.at,
        "points": points,
    }
    drawing.put("metrics", f"{record.token}:{record.number:09d}", document)


def _draw_registry(
    drawing: Drawing,
    record: r.ModelRegistered | r.ModelDeleted | r.AliasSet | r.DatasetAdded | r.DatasetDeleted,
) -> None:
    if isinstance(record, r.ModelRegistered):
        fields = {name: getattr(record, name) for name in record.__struct_fields__ if name not in ("job", "at")}
        drawing.put(
            "models",
            f"{record.name}@{record.version}",
            ModelDocument(**fields, job_id=record.job, created_at=record.at),
        )
    elif isinstance(record, r.ModelDeleted):
        drawing.put("models", f"{record.name}@{record.version}", None)
    elif isinstance(record, r.AliasSet):
        document = {"schema": SCHEMA, "name": record.name, "alias": record.alias, "version": record.version}
        drawing.put("aliases", f"{record.name}@{record.alias}", document if record.version else None)
    elif isinstance(record, r.DatasetAdded):
        added = DatasetDocument(name=record.name, content=record.content, source=record.source, created_at=record.at)
        drawing.put("datasets", record.name, added)
    else:
        drawing.put("datasets", record.name, None)


def _draw_worker(drawing: Drawing, state: State, name: str) -> None:
    worker = state.workers.get(name)
    if worker is None:
        return
    document = {
        "schema": SCHEMA,
        **msgspec.to_builtins(worker.info),
        "state": "draining" if worker.draining and worker.state not in GONE else worker.state.value,
        "joined_at": worker.joined_at,
        "reason": worker.reason,
    }
    drawing.put("workers", name, document)
