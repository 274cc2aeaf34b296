"""How documents are drawn from the records: what each adds to what people read and query, and to what jobs tell.

The rule: a drawing says nothing that the journal does not, and the same entry always draws the same; it can be drawn
again at any time.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

import msgspec
from msgspec import Struct, field

from orchestrator.core import records as r
from orchestrator.core.releases import results_of
from orchestrator.core.results import EMPTY
from orchestrator.core.state import GONE, Job, State
from orchestrator.documents import (
    DatasetDocument,
    ModelDocument,
    ResultDocument,
    TaskDocument,
    TasksDocument,
    job_document,
)
from tensorfleet.model import TaskResult, TaskState
from tensorfleet.stores.collections import SCHEMA
from tensorfleet.stores.contract import Write


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


def event_of(record: r.Record) -> dict[str, Any]:
    """A record as the event that watchers are shown, plain."""
    kind = type(record)
    plain: dict[str, Any] = {name: getattr(record, name) for name in _SHOWN[kind]}
    if isinstance(record, r.TasksAssigned):
        first = plain.pop("token")
        plain["tokens"] = list(range(first, first + len(record.indexes)))
    elif isinstance(record, r.Reported):
        plain["points"] = record.points.columns()
        plain["lines"] = [msgspec.structs.asdict(line) for line in record.lines]
    return {"type": kind.__name__, **msgspec.to_builtins(plain)}


_APART = ("job", "spec", "resolved", "request_id", "result", "results", "keys", "released")
"""Fields that no event shows: what stands elsewhere, or can be large."""

_SHOWN: dict[type[r.Record], tuple[str, ...]] = {
    kind: tuple(name for name in kind.__struct_fields__ if name not in _APART)
    for kind in (
        r.JobAccepted,
        r.JobRestarted,
        r.JobPaused,
        r.JobResumed,
        r.JobStopped,
        r.JobStarted,
        r.StageOpened,
        r.TasksAssigned,
        r.TasksSucceeded,
        r.AttemptFailed,
        r.AttemptSaved,
        r.Reported,
        r.JobEnded,
    )
}
"""The records that are events, with the fields that these show."""


def _draw_one(drawing: Drawing, state: State, record: r.Record) -> None:
    kind = type(record)
    if kind in _SHOWN:
        drawing.events.setdefault(record.job, []).append(event_of(record))  # type: ignore[attr-defined]
    if drawn := _DRAWN.get(kind):
        drawn(drawing, state, record)


def _draw_forgotten(drawing: Drawing, state: State, record: r.ResultsForgotten) -> None:
    for key in record.keys:
        drawing.put("results", key, None)


def _draw_known(drawing: Drawing, state: State, record: r.StageChecked) -> None:
    if not record.known:
        return
    indexes = [known.index for known in record.known]
    event = {"type": "TasksKnown", "stage": record.stage, "indexes": indexes, "at": record.at}
    drawing.events.setdefault(record.job, []).append(event)
    tasks = [TaskDocument(known.index, key=known.key, outputs=known.result.outputs) for known in record.known]
    _put_tasks(drawing, state, record.job, record.stage, TaskState.SUCCEEDED, tasks, record.at, reused=True)
    for known in record.known:
        _draw_result(drawing, record.job, known.key, known.result, record.at, known.let_go)


def _draw_result(drawing: Drawing, job: str, key: str, result: TaskResult, at: float, let_go: bool = False) -> None:
    document = ResultDocument(key=key, job_id=job, at=at, outputs=result.outputs, summary=result.summary, let_go=let_go)
    drawing.put("results", key, document)


def _draw_released(drawing: Drawing, state: State, record: r.StageOpened) -> None:
    job = state.jobs.get(record.job)
    if job is None:
        return
    for released in record.released:
        for key, result in results_of(job, released):
            _draw_result(drawing, job.id, key, result, record.at, let_go=True)


def _put_tasks(
    drawing: Drawing,
    state: State,
    job_id: str,
    stage: str,
    ended: TaskState,
    tasks: Sequence[TaskDocument],
    at: float,
    *,
    worker: str = "",
    reused: bool = False,
) -> None:
    job = state.jobs.get(job_id)
    document = TasksDocument(
        job_id=job_id,
        stage=stage,
        operator=job.open.operator if job is not None and job.open is not None else "",
        state=ended,
        reused=reused,
        worker=worker,
        at=at,
        first=min(task.index for task in tasks),
        last=max(task.index for task in tasks),
        tasks=tuple(tasks),
    )
    # An attempt ends one way, and what is known is looked up once in the life of a job that `at` tells apart.
    name = f"{tasks[0].token:016x}" if tasks[0].token else f"known:{tasks[0].index:09d}:{at:.6f}"
    drawing.put("tasks", f"{job_id}:{stage}:{name}", document)


def _draw_success(drawing: Drawing, state: State, record: r.TasksSucceeded) -> None:
    job = state.jobs.get(record.job)
    history = job.open.history if job is not None and job.open is not None else {}
    tasks = [
        TaskDocument(index, token, seconds, key, result.outputs, tuple(history.get(index, ())))
        for index, token, seconds, key, result in zip(
            record.indexes,
            record.tokens,
            record.seconds,
            record.keys or repeat(""),
            record.results or repeat(EMPTY),
            strict=False,
        )
    ]
    _put_tasks(drawing, state, record.job, record.stage, TaskState.SUCCEEDED, tasks, record.at, worker=record.worker)
    for key, result in zip(record.keys, record.results or repeat(EMPTY), strict=False):
        if key:
            _draw_result(drawing, record.job, key, result, record.at)


def _draw_failure(drawing: Drawing, state: State, record: r.AttemptFailed) -> None:
    """A task that failed for good; until then its history is in the state, and read there."""
    job = state.jobs.get(record.job)
    if job is None or job.open is None or job.open.stage.name != record.stage:
        return
    stage, index = job.open, record.index
    if record.retry_after is None and not stage.live.get(index) and not stage.results.has(index):
        task = TaskDocument(index, record.token, attempts=tuple(stage.history.get(index, ())))
        _put_tasks(drawing, state, record.job, record.stage, TaskState.FAILED, [task], record.at, worker=record.worker)


def _draw_points(drawing: Drawing, state: State, record: r.Reported) -> None:
    if not record.points:
        return
    document = {
        "schema": SCHEMA,
        "job_id": record.job,
        "stage": record.stage,
        "index": record.index,
        "token": record.token,
        "number": record.number,
        "at": record.at,
        **record.points.columns(),
    }
    drawing.put("metrics", f"{record.token}:{record.number:09d}", document)


def _draw_registry(
    drawing: Drawing,
    state: State,
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


def _draw_worker(drawing: Drawing, state: State, record: r.WorkerJoined | r.WorkerDraining | r.WorkerGone) -> None:
    name = record.info.id if isinstance(record, r.WorkerJoined) else record.worker
    worker = state.workers.get(name)
    if worker is None:
        return
    document = {
        "schema": SCHEMA,
        **msgspec.to_builtins(worker.info),
        "state": "draining" if worker.draining and worker.state not in GONE else worker.state.value,
        "joined_at": worker.joined_at,
        "reason": worker.reason if worker.state in GONE else "",  # why it is suspect is not in the journal
    }
    drawing.put("workers", name, document)


_DRAWN: dict[type[r.Record], Callable[[Drawing, State, Any], None]] = {
    r.StageOpened: _draw_released,
    r.StageChecked: _draw_known,
    r.TasksSucceeded: _draw_success,
    r.AttemptFailed: _draw_failure,
    r.Reported: _draw_points,
    r.ModelRegistered: _draw_registry,
    r.ModelDeleted: _draw_registry,
    r.AliasSet: _draw_registry,
    r.DatasetAdded: _draw_registry,
    r.DatasetDeleted: _draw_registry,
    r.ResultsForgotten: _draw_forgotten,
    r.WorkerJoined: _draw_worker,
    r.WorkerDraining: _draw_worker,
    r.WorkerGone: _draw_worker,
}
"""The records that draw more than their job's document and an event."""
