"""Documents and the live state as the protos that the services answer with."""

import math
import time
from collections.abc import Callable
from typing import Any

import msgspec

from orchestrator.core.state import State, Worker
from orchestrator.documents import DatasetDocument, JobDocument, ModelDocument, ModelSummary
from orchestrator.tasks import Listed, attempts_of
from orchestrator.watch import Happening
from tensorfleet.api.v1 import datasets_pb2, fleet_pb2, jobs_pb2, models_pb2, worker_pb2
from tensorfleet.model import AttemptRecord, Cause, JobState, LogLine, Ref
from tensorfleet.models import frameworks
from tensorfleet.wire import (
    attempt_to_proto,
    duration,
    failure_to_proto,
    job_state_to_proto,
    line_to_proto,
    ref_to_proto,
    spec_to_proto,
    task_state_to_proto,
    timestamp,
    trained_to_proto,
    values_to_proto,
    worker_state_to_proto,
)


def job(document: dict[str, Any]) -> jobs_pb2.Job:
    known = msgspec.convert(document, JobDocument)
    result = known.result
    return jobs_pb2.Job(
        id=known.id,
        spec=spec_to_proto(known.spec),
        state=job_state_to_proto(known.state),
        tasks=jobs_pb2.TaskCounts(total=known.total, run=known.run, reused=known.reused, running=known.running),
        metrics=result.metrics if result else {},
        missing_metrics=result.missing_metrics if result else {},
        model=_summary(known.model),
        dataset=known.spec.dataset_name if known.state == JobState.SUCCEEDED else "",
        failure=failure_to_proto(known.failure),
        created_at=timestamp(known.created_at),
        started_at=timestamp(known.started_at),
        ended_at=timestamp(known.ended_at),
        paused_at=timestamp(known.paused_at),
        fingerprint=known.fingerprint,
        stage=known.stage,
        pending_reason=known.pending_reason,
        outputs=[ref_to_proto(ref) for ref in result.outputs] if result else (),
        trained=map(trained_to_proto, result.trained) if result else (),
    )


def _summary(summary: ModelSummary | None) -> jobs_pb2.ModelSummary | None:
    if summary is None:
        return None
    return jobs_pb2.ModelSummary(
        name=summary.name,
        version=summary.version,
        display_name=summary.display_name,
        algorithm=summary.algorithm,
        sha256=summary.sha256,
    )


def task(listed: Listed) -> jobs_pb2.Task:
    run, known = listed
    return jobs_pb2.Task(
        stage=run.stage,
        index=known.index,
        operator=run.operator,
        key=known.key,
        state=task_state_to_proto(run.state),
        reused=run.reused,
        outputs=[ref_to_proto(ref) for ref in known.outputs],
        attempts=[attempt_to_proto(attempt) for attempt in attempts_of(listed)],
        duration=duration(known.seconds),
    )


def event(job_id: str, happening: Happening) -> jobs_pb2.JobEvent:
    """An event as watchers are shown it; the last one as the job that ended."""
    plain = happening.event
    fields = {"ended": job(happening.ended)} if happening.ended is not None else _EVENTS[plain["type"]](plain)
    return jobs_pb2.JobEvent(cursor=str(happening.cursor), job_id=job_id, time=timestamp(plain["at"]), **fields)


def _state_changed(state: JobState, reason: str) -> dict[str, Any]:
    return {"state_changed": jobs_pb2.JobStateChanged(state=job_state_to_proto(state), reason=reason)}


def _accepted(plain: dict[str, Any]) -> dict[str, Any]:
    return _state_changed(JobState.QUEUED, "put back in the queue" if plain["retried"] else "submitted")


def _restarted(plain: dict[str, Any]) -> dict[str, Any]:
    return _state_changed(JobState.PAUSED if plain.get("paused") else JobState.RUNNING, plain["reason"])


def _resumed(plain: dict[str, Any]) -> dict[str, Any]:
    return _state_changed(JobState.RUNNING if plain["started"] else JobState.QUEUED, "it was resumed")


def _stopped(plain: dict[str, Any]) -> dict[str, Any]:
    return _state_changed(JobState.RUNNING, f"it ends early, with what it has made: {plain['reason']}")


def _saved(plain: dict[str, Any]) -> dict[str, Any]:
    saved = jobs_pb2.TaskSaved(
        stage=plain["stage"],
        index=plain["index"],
        token=plain["token"],
        worker_id=plain["worker"],
        saved=ref_to_proto(msgspec.convert(plain["saved"], Ref)),
    )
    return {"task_saved": saved}


def _opened(plain: dict[str, Any]) -> dict[str, Any]:
    opened = jobs_pb2.StageOpened(stage=plain["stage"], tasks=plain["tasks"], total_tasks=plain["total_tasks"])
    return {"stage_opened": opened}


def _known(plain: dict[str, Any]) -> dict[str, Any]:
    return {"tasks_succeeded": jobs_pb2.TasksSucceeded(stage=plain["stage"], indexes=plain["indexes"], reused=True)}


def _assigned(plain: dict[str, Any]) -> dict[str, Any]:
    assigned = jobs_pb2.TasksAssigned(
        stage=plain["stage"], worker_id=plain["worker"], indexes=plain["indexes"], tokens=plain["tokens"]
    )
    return {"tasks_assigned": assigned}


def _succeeded(plain: dict[str, Any]) -> dict[str, Any]:
    reports = plain.get("last_reports", ())
    succeeded = jobs_pb2.TasksSucceeded(
        stage=plain["stage"],
        worker_id=plain["worker"],
        indexes=plain["indexes"],
        tokens=plain["tokens"],
        seconds=plain["seconds"],
        last_reports=reports if any(reports) else (),
    )
    return {"tasks_succeeded": succeeded}


def _failed(plain: dict[str, Any]) -> dict[str, Any]:
    attempt = AttemptRecord(
        token=plain["token"],
        worker=plain["worker"],
        assigned_at=plain["at"] - plain["duration"],
        duration=plain["duration"],
        cause=Cause(plain["cause"]),
        message=plain["message"],
        log_tail=tuple(plain["log_tail"]),
    )
    failed = jobs_pb2.AttemptFailed(
        stage=plain["stage"],
        index=plain["index"],
        attempt=attempt_to_proto(attempt),
        retried=plain["retry_after"] is not None,
    )
    return {"attempt_failed": failed}


def _reported(plain: dict[str, Any]) -> dict[str, Any]:
    reported = jobs_pb2.TaskReported(
        stage=plain["stage"],
        index=plain["index"],
        token=plain["token"],
        number=plain["number"],
        points=jobs_pb2.MetricPoints(**plain["points"]),
        lines=[line_to_proto(LogLine(**line)) for line in plain["lines"]],
    )
    return {"task_reported": reported}


_EVENTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "JobAccepted": _accepted,
    "JobRestarted": _restarted,
    "JobPaused": lambda plain: _state_changed(JobState.PAUSED, plain["reason"]),
    "JobResumed": _resumed,
    "JobStopped": _stopped,
    "AttemptSaved": _saved,
    "JobStarted": lambda plain: _state_changed(JobState.RUNNING, "its first task was assigned or found known"),
    "StageOpened": _opened,
    "TasksKnown": _known,
    "TasksAssigned": _assigned,
    "TasksSucceeded": _succeeded,
    "AttemptFailed": _failed,
    "Reported": _reported,
    "JobEnded": lambda plain: _state_changed(JobState(plain["state"]), plain["reason"]),
}


def worker(state: State, known: Worker) -> fleet_pb2.Worker:
    info = known.info
    return fleet_pb2.Worker(
        id=info.id,
        state=worker_state_to_proto(known.state),
        pid=info.pid,
        host=info.host,
        slots=info.slots,
        labels=info.resources.labels,
        running=[_running(state, token) for token in known.held if token in state.attempts],
        resources=worker_pb2.WorkerResources(
            cpus=info.resources.cpus, memory_bytes=info.resources.memory, gpus=info.resources.gpus
        ),
        capabilities=info.capabilities,
        fingerprint=info.fingerprint,
        joined_at=timestamp(known.joined_at),
        heard_at=timestamp(known.heard_at),
        load=known.load,
        memory_bytes=known.memory,
        release=info.release,
    )


def _running(state: State, token: int) -> fleet_pb2.RunningAttempt:
    attempt = state.attempts[token]
    return fleet_pb2.RunningAttempt(
        token=token,
        job_id=attempt.job,
        stage=attempt.stage,
        index=attempt.index,
        pid=attempt.pid,
        age=duration(max(0.0, time.time() - attempt.assigned_at)),
    )


def model(known: ModelDocument, aliases: list[str]) -> models_pb2.Model:
    content = known.content
    made_of = frameworks.known(content.framework)
    return models_pb2.Model(
        name=known.name,
        version=known.version,
        display_name=known.display_name,
        algorithm=known.algorithm,
        hyperparameters=values_to_proto(known.hyperparameters),
        metrics=known.metrics,
        features=content.features,
        target=content.target,
        classes=content.classes,
        dataset_digest=content.dataset_digest,
        dataset=known.dataset,
        job_id=known.job_id,
        environment=content.environment,
        sha256=content.sha256,
        aliases=aliases,
        created_at=timestamp(known.created_at),
        size_bytes=sum(ref.size for ref in content.parts),
        parts=[ref_to_proto(ref) for ref in content.parts],
        how_to_load=made_of.how_to_load.format(reference=f"{known.name}@{known.version}"),
        missing_metrics=known.missing_metrics,
        metrics_on_training_rows=content.metrics_on_training_rows,
        submitter=known.submitter,
        training_time=duration(known.seconds),
        formats=made_of.formats,
        image_shape=content.image_shape,
    )


def dataset(known: DatasetDocument) -> datasets_pb2.Dataset:
    refs = known.content.refs
    return datasets_pb2.Dataset(
        name=known.name,
        digest=known.content.digest,
        rows=known.content.rows,
        columns=[column(plain) for plain in known.content.columns],
        blocks=len(refs) - 1,
        size_bytes=sum(ref.size for ref in refs[1:]),
        source=known.source,
        target=known.content.target,
        created_at=timestamp(known.created_at),
        manifest=ref_to_proto(refs[0]),
    )


def column(plain: dict[str, Any]) -> datasets_pb2.Column:
    figures = {
        name: float(plain[name])
        for name in ("minimum", "maximum", "mean")
        if plain.get(name) is not None and math.isfinite(float(plain[name]))
    }
    values = [
        datasets_pb2.ValueCount(value=str(entry["value"]), count=entry["count"]) for entry in plain.get("values", ())
    ]
    return datasets_pb2.Column(
        name=plain["name"],
        type=datasets_pb2.ColumnType.Value(f"COLUMN_TYPE_{plain['type'].upper()}"),
        missing=plain.get("missing", 0),
        distinct=plain.get("distinct", 0),
        values=values,
        shape=plain.get("shape", ()),
        **figures,
    )
