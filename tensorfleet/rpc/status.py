"""Errors of the catalogue to gRPC statuses and back, with google.rpc details; the only place that does it."""

from typing import cast

import grpc
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tensorfleet import errors
from tensorfleet.model import FieldViolation
from tensorfleet.wire import duration, duration_seconds

DOMAIN = "tensorfleet"
CURSOR = "cursor"
"""The name in ErrorInfo's metadata under which a stream that was cut off tells after which event to go on."""
LEADER = "leader"
"""The name in ErrorInfo's metadata under which one that does not lead tells who does."""

_BY_CODE: dict[int, type[errors.TensorFleetError]] = {
    kind.code: kind
    for kind in (
        errors.BadInput,
        errors.NotFound,
        errors.AlreadyExists,
        errors.FailedPrecondition,
        errors.Unavailable,
        errors.JobFailed,
        errors.CorruptArtifact,
    )
}


def to_status(error: errors.TensorFleetError) -> status_pb2.Status:
    """An error as google.rpc.Status: ErrorInfo, and BadRequest or RetryInfo where they apply."""
    known = {LEADER: error.leader} if isinstance(error, errors.NotLeader) and error.leader else {}
    if isinstance(error, errors.ResourceExhausted) and error.cursor:
        known[CURSOR] = error.cursor
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=known)]
    if isinstance(error, errors.InvalidRequest):
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=violation.field, description=violation.description)
            for violation in error.violations
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if isinstance(error, errors.ResourceExhausted) and error.retry_after is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=duration(error.retry_after)))
    packed = [AnyProto() for _ in details]
    for any_detail, detail in zip(packed, details, strict=True):
        any_detail.Pack(detail)
    return status_pb2.Status(code=error.code, message=error.message, details=packed)


def to_error(error: grpc.RpcError) -> errors.TensorFleetError:
    """What a call raised, as the catalogue's error with its reason and details."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return errors.TensorFleetError(str(error))
    code: int = error.code().value[0]
    text = error.details() or error.code().name
    info, violations, retry_after = _details(error)
    if code == errors.InvalidRequest.code and violations:
        return errors.InvalidRequest(violations)
    if code == errors.ResourceExhausted.code:
        return errors.ResourceExhausted(text, retry_after=retry_after, cursor=info.metadata.get(CURSOR, ""))
    if info.reason == errors.NotLeader.reason:
        return errors.NotLeader(text, leader=info.metadata.get(LEADER, ""))
    if code in (1, 4):  # CANCELLED and DEADLINE_EXCEEDED come from the transport
        return errors.Unavailable(text, reason=error.code().name)
    kind = _BY_CODE.get(code, errors.TensorFleetError)
    return kind(text, reason=info.reason or error.code().name)


async def ended(call: "grpc.aio.Call") -> errors.TensorFleetError:
    """What a stream has ended with, as the catalogue's error."""
    code, details = await call.code(), await call.details()
    if code is grpc.StatusCode.OK:
        return errors.Unavailable("the server ended the stream")
    metadata = await call.initial_metadata(), await call.trailing_metadata()
    return to_error(grpc.aio.AioRpcError(code, *metadata, details, None))


def _details(
    error: grpc.Call | grpc.aio.AioRpcError,
) -> tuple[error_details_pb2.ErrorInfo, list[FieldViolation], float | None]:
    try:
        status = rpc_status.from_call(cast(grpc.Call, error))
    except ValueError:  # the trailing status disagrees with the code: not of our making
        status = None
    info, violations, retry_after = error_details_pb2.ErrorInfo(), [], None
    for packed in status.details if status else ():
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            packed.Unpack(info)
        elif packed.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            packed.Unpack(bad)
            violations = [FieldViolation(field.field, field.description) for field in bad.field_violations]
        elif packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            packed.Unpack(retry)
            retry_after = duration_seconds(retry.retry_delay)
    return info, violations, retry_after
