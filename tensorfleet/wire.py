"""The one translator between the domain's values and the protos.

The rule: nothing else builds or reads a protobuf message's fields for a domain value. Unset proto fields become the
domain's defaults; an unset or unknown enum raises InvalidRequest naming the field.
"""

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tensorfleet.api.v1 import fleet_pb2, jobs_pb2, values_pb2
from tensorfleet.errors import InvalidRequest
from tensorfleet.model import (
    Amount,
    AttemptRecord,
    BlockRows,
    Cause,
    Failure,
    FieldViolation,
    Garbage,
    JobKind,
    JobSpec,
    JobState,
    KeptFor,
    LogLine,
    Points,
    Ref,
    Resources,
    RetryPolicy,
    TaskState,
    Trained,
    Value,
    WorkerState,
)

E = TypeVar("E", bound=StrEnum)
_MICRO = 1_000_000


def value_to_proto(value: Value) -> values_pb2.Value:
    """A plain value as a Value. Raises TypeError for anything that is not plain."""
    if value is None:
        return values_pb2.Value(null=values_pb2.NULL_VALUE_UNSPECIFIED)
    if isinstance(value, bool):
        return values_pb2.Value(flag=value)
    if isinstance(value, int):
        return values_pb2.Value(integer=value)
    if isinstance(value, float):
        return values_pb2.Value(real=value)
    if isinstance(value, str):
        return values_pb2.Value(text=value)
    if isinstance(value, Mapping):
        fields = {name: value_to_proto(item) for name, item in value.items()}
        return values_pb2.Value(map=values_pb2.MapValue(fields=fields))
    if isinstance(value, list | tuple):
        return values_pb2.Value(list=list_to_proto(value))
    raise TypeError(f"not a plain value: {type(value).__name__}")


def value_from_proto(value: values_pb2.Value, name: str = "value") -> Value:
    """A Value as a plain value; InvalidRequest naming `name` where it is unset."""
    kind = value.WhichOneof("kind")
    if kind is None:
        expected = "expected a value: one of integer, real, flag, text, list, map or null"
        raise InvalidRequest([FieldViolation(name, expected)])
    if kind == "null":
        return None
    if kind == "list":
        return list_from_proto(value.list, name)
    if kind == "map":
        return values_from_proto(value.map.fields, name)
    plain: Value = getattr(value, kind)
    return plain


def list_to_proto(values: Iterable[Value]) -> values_pb2.ListValue:
    return values_pb2.ListValue(values=[value_to_proto(item) for item in values])


def list_from_proto(values: values_pb2.ListValue, name: str = "value") -> list[Value]:
    return [value_from_proto(item, f"{name}[{index}]") for index, item in enumerate(values.values)]


def values_from_proto(fields: Mapping[str, values_pb2.Value], name: str = "value") -> dict[str, Value]:
    return {key: value_from_proto(fields[key], f"{name}.{key}") for key in sorted(fields)}


def values_to_proto(values: Mapping[str, Value]) -> dict[str, values_pb2.Value]:
    return {key: value_to_proto(value) for key, value in values.items()}


def timestamp(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    micros = round(seconds * _MICRO)
    return Timestamp(seconds=micros // _MICRO, nanos=micros % _MICRO * 1000)


def seconds_of(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9


def duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    micros = round(seconds * _MICRO)
    whole = int(math.fabs(micros)) // _MICRO * (1 if micros >= 0 else -1)
    return Duration(seconds=whole, nanos=(micros - whole * _MICRO) * 1000)


def duration_seconds(span: Duration) -> float:
    return span.seconds + span.nanos / 1e9


def ref_to_proto(ref: Ref) -> values_pb2.ArtifactRef:
    return values_pb2.ArtifactRef(digest=ref.digest, size_bytes=ref.size)


def ref_from_proto(ref: values_pb2.ArtifactRef) -> Ref:
    return Ref(ref.digest, ref.size_bytes)


def trained_to_proto(trained: Trained) -> jobs_pb2.TrainedRows:
    blocks = (jobs_pb2.BlockRows(block=each.block, rows=each.rows, digest=each.digest) for each in trained.blocks)
    return jobs_pb2.TrainedRows(first_epoch=trained.first, last_epoch=trained.last, blocks=blocks)


def trained_from_proto(trained: jobs_pb2.TrainedRows) -> Trained:
    blocks = tuple(BlockRows(each.block, each.rows, each.digest) for each in trained.blocks)
    return Trained(trained.first_epoch, trained.last_epoch, blocks)


@cache
def _to_enum(wrapper: Any, prefix: str, value: StrEnum | None) -> Any:
    return wrapper.Value(f"{prefix}_{value.name if value else 'UNSPECIFIED'}")


@cache
def _members(wrapper: Any, prefix: str, kind: type[StrEnum]) -> dict[int, Any]:
    return {wrapper.Value(f"{prefix}_{member.name}"): member for member in kind}


def _from_enum(wrapper: Any, prefix: str, number: int, kind: type[E], name: str) -> E:
    known: dict[int, E] = _members(wrapper, prefix, kind)
    if number not in known:
        expected = f"expected one of {', '.join(f'{prefix}_{member.name}' for member in kind)}"
        raise InvalidRequest([FieldViolation(name, expected)])
    return known[number]


def cause_to_proto(cause: Cause | None) -> jobs_pb2.FailureCause.ValueType:
    number: jobs_pb2.FailureCause.ValueType = _to_enum(jobs_pb2.FailureCause, "FAILURE_CAUSE", cause)
    return number


def cause_from_proto(number: int) -> Cause | None:
    return _from_enum(jobs_pb2.FailureCause, "FAILURE_CAUSE", number, Cause, "cause") if number else None


def job_state_to_proto(state: JobState) -> jobs_pb2.JobState.ValueType:
    number: jobs_pb2.JobState.ValueType = _to_enum(jobs_pb2.JobState, "JOB_STATE", state)
    return number


def job_state_from_proto(number: int) -> JobState:
    return _from_enum(jobs_pb2.JobState, "JOB_STATE", number, JobState, "state")


def task_state_to_proto(state: TaskState) -> jobs_pb2.TaskState.ValueType:
    number: jobs_pb2.TaskState.ValueType = _to_enum(jobs_pb2.TaskState, "TASK_STATE", state)
    return number


def task_state_from_proto(number: int) -> TaskState:
    return _from_enum(jobs_pb2.TaskState, "TASK_STATE", number, TaskState, "state")


def worker_state_to_proto(state: WorkerState) -> fleet_pb2.WorkerState.ValueType:
    number: fleet_pb2.WorkerState.ValueType = _to_enum(fleet_pb2.WorkerState, "WORKER_STATE", state)
    return number


def worker_state_from_proto(number: int) -> WorkerState:
    return _from_enum(fleet_pb2.WorkerState, "WORKER_STATE", number, WorkerState, "state")


def amount_to_proto(amount: Amount) -> fleet_pb2.BlobCount:
    return fleet_pb2.BlobCount(count=amount.count, size_bytes=amount.size)


def amount_from_proto(amount: fleet_pb2.BlobCount) -> Amount:
    return Amount(amount.count, amount.size_bytes)


def garbage_to_proto(garbage: Garbage) -> fleet_pb2.CollectGarbageResponse:
    kept = [
        fleet_pb2.KeptBlobs(reason=_to_enum(fleet_pb2.KeptFor, "KEPT_FOR", why), blobs=amount_to_proto(amount))
        for why, amount in garbage.kept.items()
    ]
    return fleet_pb2.CollectGarbageResponse(
        blobs=amount_to_proto(garbage.blobs),
        unfinished=amount_to_proto(garbage.unfinished),
        results=garbage.results,
        kept=kept,
    )


def garbage_from_proto(garbage: fleet_pb2.CollectGarbageResponse) -> Garbage:
    return Garbage(
        blobs=amount_from_proto(garbage.blobs),
        unfinished=amount_from_proto(garbage.unfinished),
        results=garbage.results,
        kept={
            _from_enum(fleet_pb2.KeptFor, "KEPT_FOR", kept.reason, KeptFor, "kept.reason"): amount_from_proto(
                kept.blobs
            )
            for kept in garbage.kept
        },
    )


def resources_to_proto(resources: Resources) -> jobs_pb2.Resources:
    return jobs_pb2.Resources(
        cpus=resources.cpus, memory_bytes=resources.memory, gpus=resources.gpus, labels=resources.labels
    )


def resources_from_proto(resources: jobs_pb2.Resources) -> Resources:
    return Resources(
        cpus=resources.cpus or 1,
        memory=resources.memory_bytes,
        gpus=resources.gpus,
        labels=dict(resources.labels),
    )


def spec_to_proto(spec: JobSpec) -> jobs_pb2.JobSpec:
    return jobs_pb2.JobSpec(
        kind=_to_enum(jobs_pb2.JobKind, "JOB_KIND", spec.kind),
        algorithm=spec.algorithm,
        dataset=spec.dataset,
        target=spec.target,
        exclude_features=spec.exclude_features,
        hyperparameters=values_to_proto(spec.hyperparameters),
        workers=spec.workers,
        validation_split=spec.validation_split,
        validation_dataset=spec.validation_dataset,
        seed=spec.seed,
        model_name=spec.model_name,
        resources=resources_to_proto(spec.resources),
        priority=spec.priority,
        submitter=spec.submitter,
        deadline=duration(spec.deadline),
        task_timeout=duration(spec.task_timeout),
        retry_policy=jobs_pb2.RetryPolicy(
            max_attempts=spec.retry.max_attempts,
            backoff=duration(spec.retry.backoff),
            max_backoff=duration(spec.retry.max_backoff),
        ),
        model=spec.model,
        dataset_name=spec.dataset_name,
        ignore_known_results=spec.ignore_known_results,
        allow_mixed_numerics=spec.allow_mixed_numerics,
        replace_dataset=spec.replace_dataset,
    )


def spec_from_proto(spec: jobs_pb2.JobSpec) -> JobSpec:
    """A spec with the defaults filled in where the protos leave them to the server."""
    default = JobSpec()
    kind = spec.kind or jobs_pb2.JOB_KIND_TRAIN
    return JobSpec(
        kind=_from_enum(jobs_pb2.JobKind, "JOB_KIND", kind, JobKind, "spec.kind"),
        algorithm=spec.algorithm,
        dataset=spec.dataset,
        target=spec.target,
        exclude_features=tuple(spec.exclude_features),
        hyperparameters=values_from_proto(spec.hyperparameters, "spec.hyperparameters"),
        workers=spec.workers,
        validation_split=spec.validation_split if spec.HasField("validation_split") else default.validation_split,
        validation_dataset=spec.validation_dataset,
        seed=spec.seed if spec.HasField("seed") else default.seed,
        model_name=spec.model_name,
        resources=resources_from_proto(spec.resources),
        priority=spec.priority,
        submitter=spec.submitter,
        deadline=duration_seconds(spec.deadline) if spec.HasField("deadline") else None,
        task_timeout=duration_seconds(spec.task_timeout) if spec.HasField("task_timeout") else default.task_timeout,
        retry=_retry_from_proto(spec.retry_policy),
        model=spec.model,
        dataset_name=spec.dataset_name,
        ignore_known_results=spec.ignore_known_results,
        allow_mixed_numerics=spec.allow_mixed_numerics,
        replace_dataset=spec.replace_dataset,
    )


def _retry_from_proto(policy: jobs_pb2.RetryPolicy) -> RetryPolicy:
    default = RetryPolicy()
    return RetryPolicy(
        max_attempts=policy.max_attempts or default.max_attempts,
        backoff=duration_seconds(policy.backoff) if policy.HasField("backoff") else default.backoff,
        max_backoff=duration_seconds(policy.max_backoff) if policy.HasField("max_backoff") else default.max_backoff,
    )


def points_to_proto(points: Points) -> jobs_pb2.MetricPoints:
    return jobs_pb2.MetricPoints(names=points.names, series=points.series, steps=points.steps, values=points.values)


def points_from_proto(points: jobs_pb2.MetricPoints, name: str = "points") -> Points:
    """InvalidRequest where the columns do not fit together."""
    found = Points(tuple(points.names), tuple(points.series), tuple(points.steps), tuple(points.values))
    places = len(found.series) if len(found.names) > 1 else len(found.steps)
    if not len(found.steps) == len(found.values) == places or (found.steps and not found.names):
        raise InvalidRequest([FieldViolation(name, "expected a series, a step and a value for each point")])
    if found.series and max(found.series) >= len(found.names):
        raise InvalidRequest([FieldViolation(f"{name}.series", "expected places in names")])
    return found


def line_to_proto(line: LogLine) -> jobs_pb2.LogLine:
    return jobs_pb2.LogLine(time=timestamp(line.time), stream=line.stream, text=line.text)


def line_from_proto(line: jobs_pb2.LogLine) -> LogLine:
    return LogLine(seconds_of(line.time), line.stream, line.text)


def attempt_to_proto(attempt: AttemptRecord) -> jobs_pb2.AttemptRecord:
    return jobs_pb2.AttemptRecord(
        token=attempt.token,
        worker_id=attempt.worker,
        assigned_at=timestamp(attempt.assigned_at),
        duration=duration(attempt.duration),
        cause=cause_to_proto(attempt.cause),
        message=attempt.message,
        log_tail=attempt.log_tail,
    )


def attempt_from_proto(attempt: jobs_pb2.AttemptRecord) -> AttemptRecord:
    return AttemptRecord(
        token=attempt.token,
        worker=attempt.worker_id,
        assigned_at=seconds_of(attempt.assigned_at),
        duration=duration_seconds(attempt.duration) if attempt.HasField("duration") else None,
        cause=cause_from_proto(attempt.cause),
        message=attempt.message,
        log_tail=tuple(attempt.log_tail),
    )


def failure_to_proto(failure: Failure | None) -> jobs_pb2.Failure | None:
    if failure is None:
        return None
    return jobs_pb2.Failure(
        cause=cause_to_proto(failure.cause),
        reason=failure.reason,
        message=failure.message,
        code=failure.code,
        stage=failure.stage,
        task_index=failure.index,
        attempts=[attempt_to_proto(attempt) for attempt in failure.attempts],
    )


def failure_from_proto(failure: jobs_pb2.Failure) -> Failure:
    return Failure(
        cause=cause_from_proto(failure.cause) or Cause.EXCEPTION,
        reason=failure.reason,
        message=failure.message,
        code=failure.code,
        stage=failure.stage,
        index=failure.task_index,
        attempts=tuple(attempt_from_proto(attempt) for attempt in failure.attempts),
    )
