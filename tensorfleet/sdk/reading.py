"""Protos into the client's values and events.

The rule: an optional message that is unset becomes None, and nothing of protobuf's gets past here.
"""

from collections.abc import Iterator, Sequence

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tensorfleet import wire
from tensorfleet.api.v1 import jobs_pb2
from tensorfleet.sdk import events
from tensorfleet.sdk.values import Explanation, JobInfo, ModelSummary, TaskCounts, TaskInfo


def moment(message: Message, field: str) -> float | None:
    """A timestamp field in seconds; None where it is unset."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return wire.seconds_of(stamp)


def job(proto: jobs_pb2.Job) -> JobInfo:
    counts = proto.tasks
    return JobInfo(
        id=proto.id,
        state=wire.job_state_from_proto(proto.state),
        spec=wire.spec_from_proto(proto.spec),
        tasks=TaskCounts(total=counts.total, run=counts.run, reused=counts.reused, running=counts.running),
        metrics=dict(sorted(proto.metrics.items())),
        missing_metrics=dict(sorted(proto.missing_metrics.items())),
        model=model_summary(proto.model) if proto.HasField("model") else None,
        dataset=proto.dataset,
        failure=wire.failure_from_proto(proto.failure) if proto.HasField("failure") else None,
        created_at=moment(proto, "created_at") or 0.0,
        started_at=moment(proto, "started_at"),
        ended_at=moment(proto, "ended_at"),
        paused_at=moment(proto, "paused_at"),
        stage=proto.stage,
        pending_reason=proto.pending_reason,
        fingerprint=proto.fingerprint,
        outputs=tuple(wire.ref_from_proto(ref) for ref in proto.outputs),
        trained=tuple(map(wire.trained_from_proto, proto.trained)),
    )


def model_summary(proto: jobs_pb2.ModelSummary) -> ModelSummary:
    return ModelSummary(
        name=proto.name,
        version=proto.version,
        display_name=proto.display_name,
        algorithm=proto.algorithm,
        sha256=proto.sha256,
    )


def task(proto: jobs_pb2.Task) -> TaskInfo:
    return TaskInfo(
        stage=proto.stage,
        index=proto.index,
        operator=proto.operator,
        key=proto.key,
        state=wire.task_state_from_proto(proto.state),
        reused=proto.reused,
        outputs=tuple(wire.ref_from_proto(ref) for ref in proto.outputs),
        attempts=tuple(wire.attempt_from_proto(attempt) for attempt in proto.attempts),
        duration=wire.duration_seconds(proto.duration) if proto.HasField("duration") else None,
    )


def explanation(proto: jobs_pb2.ExplainJobResponse) -> Explanation:
    return Explanation(
        summary=proto.summary,
        reasons=tuple(proto.reasons),
        workers=dict(sorted(proto.workers.items())),
        plan=tuple(proto.plan),
        done=tuple(proto.done),
    )


def known_events(protos: Sequence[jobs_pb2.JobEvent]) -> Iterator[events.Event]:
    """Those that this client knows: a newer server may tell of other kinds."""
    return (known for proto in protos if (known := event(proto)) is not None)


def event(proto: jobs_pb2.JobEvent) -> events.Event | None:
    """The event; None for a kind that a newer server tells and this client does not know."""
    at = wire.seconds_of(proto.time)
    kind = proto.WhichOneof("event")
    if kind == "state_changed":
        state = wire.job_state_from_proto(proto.state_changed.state)
        return events.StateChanged(
            cursor=proto.cursor, job_id=proto.job_id, time=at, state=state, reason=proto.state_changed.reason
        )
    if kind == "stage_opened":
        stage = proto.stage_opened
        return events.StageOpened(
            cursor=proto.cursor,
            job_id=proto.job_id,
            time=at,
            stage=stage.stage,
            tasks=stage.tasks,
            total_tasks=stage.total_tasks,
        )
    if kind == "ended":
        return events.Ended(cursor=proto.cursor, job_id=proto.job_id, time=at, job=job(proto.ended))
    return _task_event(proto, kind, at)


def _task_event(proto: jobs_pb2.JobEvent, kind: str | None, at: float) -> events.Event | None:
    if kind == "tasks_assigned":
        return _assigned(proto, at)
    if kind == "tasks_succeeded":
        return _succeeded(proto, at)
    if kind == "attempt_failed":
        failed = proto.attempt_failed
        return events.AttemptFailed(
            cursor=proto.cursor,
            job_id=proto.job_id,
            time=at,
            stage=failed.stage,
            index=failed.index,
            attempt=wire.attempt_from_proto(failed.attempt),
            retried=failed.retried,
        )
    if kind == "task_saved":
        return _saved(proto, at)
    return _reported(proto, at) if kind == "task_reported" else None


def _assigned(proto: jobs_pb2.JobEvent, at: float) -> events.TasksAssigned:
    told = proto.tasks_assigned
    return events.TasksAssigned(
        cursor=proto.cursor,
        job_id=proto.job_id,
        time=at,
        stage=told.stage,
        worker=told.worker_id,
        indexes=tuple(told.indexes),
        tokens=tuple(told.tokens),
    )


def _succeeded(proto: jobs_pb2.JobEvent, at: float) -> events.TasksSucceeded:
    told = proto.tasks_succeeded
    nothing = (0,) * len(told.indexes)
    return events.TasksSucceeded(
        cursor=proto.cursor,
        job_id=proto.job_id,
        time=at,
        stage=told.stage,
        worker=told.worker_id,
        reused=told.reused,
        indexes=tuple(told.indexes),
        tokens=tuple(told.tokens) or nothing,
        seconds=tuple(told.seconds) or nothing,
        last_reports=tuple(told.last_reports) or nothing,
    )


def _saved(proto: jobs_pb2.JobEvent, at: float) -> events.TaskSaved:
    told = proto.task_saved
    return events.TaskSaved(
        cursor=proto.cursor,
        job_id=proto.job_id,
        time=at,
        stage=told.stage,
        index=told.index,
        token=told.token,
        worker=told.worker_id,
        saved=wire.ref_from_proto(told.saved),
    )


def _reported(proto: jobs_pb2.JobEvent, at: float) -> events.TaskReported:
    told = proto.task_reported
    return events.TaskReported(
        cursor=proto.cursor,
        job_id=proto.job_id,
        time=at,
        stage=told.stage,
        index=told.index,
        token=told.token,
        number=told.number,
        points=wire.points_from_proto(told.points),
        lines=tuple(wire.line_from_proto(line) for line in told.lines),
    )
