"""The documents that people read and query: jobs, runs of tasks, models, datasets, known results.

The rule: a document says nothing that the journal does not. Lists hold no lists, and what a list holds has names or is
a column of numbers, for whoever reads it with the database's own tools.
"""

from msgspec import Struct

from orchestrator.core import records as r
from orchestrator.core.explaining import why_pending
from orchestrator.core.state import Job, State
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
    TaskState,
    Value,
)
from tensorfleet.stores.collections import SCHEMA


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
    paused_at: float | None = None
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


class TaskDocument(Struct, frozen=True, omit_defaults=True):
    """One task of a run. token: of the attempt that ended it; attempts: those that failed before."""

    index: int
    token: int = 0
    seconds: float | None = None
    key: str = ""
    outputs: tuple[Ref, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()


class TasksDocument(Struct, frozen=True, kw_only=True):
    """Tasks of a stage that ended together in one way, at one worker. first, last: the lowest and the highest index.

    A task whose job was put back in the queue, or began again, is in a later run also: that one counts.
    """

    schema: int = SCHEMA
    job_id: str
    stage: str
    operator: str
    state: TaskState
    reused: bool = False
    worker: str = ""
    at: float
    first: int
    last: int
    tasks: tuple[TaskDocument, ...]


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
    """What a task of a key made. at: when it was made or last reused; job_id: by which job. let_go: that job needed
    its outputs no more, so that they may be gone; a later one may go past it as that one did."""

    schema: int = SCHEMA
    key: str
    job_id: str
    at: float
    outputs: tuple[Ref, ...] = ()
    summary: dict[str, Value] = {}
    let_go: bool = False


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
        paused_at=job.paused_at,
        spec=spec,
        resolved=job.resolved,
        fingerprint=job.fingerprint or "",
        stage=job.open.stage.name if job.open else "",
        total=max(job.total_tasks, job.run + job.reused),
        run=job.run,
        reused=job.reused,
        running=job.running,
        pending_reason=why_pending(state, job) if _waits(job) else "",
        model=_model_summary(job.model),
        result=job.result,
        failure=job.failure,
    )


def _waits(job: Job) -> bool:
    return job.state == JobState.PAUSED or not (job.state.ended or job.running)


def _model_summary(model: r.ModelRegistered | None) -> ModelSummary | None:
    if model is None:
        return None
    return ModelSummary(model.name, model.version, model.display_name, model.algorithm, model.content.sha256)
