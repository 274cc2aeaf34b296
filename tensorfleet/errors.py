"""The error catalogue: one tree, each error with its reason, its gRPC status and its exit code.

Errors are raised as these and translated once, in `rpc/status.py`. A message says which thing is wrong, what was
expected and what to do; it is public.
"""

from collections.abc import Sequence
from typing import ClassVar

from tensorfleet.model import Cause, Failure, FieldViolation


class TensorFleetError(Exception):
    """Any error of TensorFleet's.

    reason: a stable name for programs. code: the number of the gRPC status. exit_code: of a command that ends by it.
    """

    reason: ClassVar[str] = "INTERNAL"
    code: ClassVar[int] = 13
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason  # type: ignore[misc]


class InvalidRequest(TensorFleetError):  # noqa: N818
    """Fields of a request are bad; all of them are named at once."""

    reason = "INVALID_REQUEST"
    code = 3
    exit_code = 2

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        super().__init__("; ".join(f"{violation.field}: {violation.description}" for violation in violations))
        self.violations = tuple(violations)


class BadInput(TensorFleetError):  # noqa: N818
    """The data cannot be used. Raised by operators; the job fails at once, with no retry."""

    reason = "BAD_INPUT"
    code = 3
    exit_code = 2


class NotFound(TensorFleetError):  # noqa: N818
    """There is no such thing."""

    reason = "NOT_FOUND"
    code = 5
    exit_code = 2


class AlreadyExists(TensorFleetError):  # noqa: N818
    """There is one of that name, with other content."""

    reason = "ALREADY_EXISTS"
    code = 6
    exit_code = 2


class FailedPrecondition(TensorFleetError):  # noqa: N818
    """The thing is not in a state that allows this."""

    reason = "FAILED_PRECONDITION"
    code = 9
    exit_code = 2


class ResourceExhausted(TensorFleetError):  # noqa: N818
    """A limit is reached; the message names it. `retry_after` in seconds, where trying again can help; `cursor`: after
    which event to go on, where a stream was cut off."""

    reason = "RESOURCE_EXHAUSTED"
    code = 8
    exit_code = 1

    def __init__(self, message: str, *, retry_after: float | None = None, cursor: str = "") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.cursor = cursor


class Unavailable(TensorFleetError):  # noqa: N818
    """The server, or a store behind it, cannot be reached."""

    reason = "UNAVAILABLE"
    code = 14
    exit_code = 3


SOURCE_AWAY = "SOURCE_UNAVAILABLE"
"""The reason where the server of a dataset's source is away: for a person to look at, not to be tried again."""
NOT_STARTED = "NOT_STARTED"
"""Reason where the orchestrator of a fleet on this machine ended before it served; its own words say why."""


class NotLeader(Unavailable):
    """This orchestrator does not lead. `leader`: where the one that does serves, as far as is known; else empty."""

    reason = "NOT_LEADER"

    def __init__(self, message: str, *, leader: str = "") -> None:
        super().__init__(message)
        self.leader = leader


class JobFailed(TensorFleetError):  # noqa: N818
    """A job ended without its result. `failure`, where it is known, tells why, with the attempts of the task."""

    reason = "JOB_FAILED"
    code = 10
    exit_code = 1

    def __init__(self, message: str, *, reason: str | None = None, failure: Failure | None = None) -> None:
        super().__init__(message, reason=reason)
        self.failure = failure
        if failure is not None and failure.cause is Cause.BAD_INPUT:
            self.exit_code = BadInput.exit_code  # type: ignore[misc]


class CorruptArtifact(TensorFleetError):  # noqa: N818
    """Stored bytes are not those of their digest."""

    reason = "CORRUPT_ARTIFACT"
    code = 15
    exit_code = 1


class Deposed(TensorFleetError):  # noqa: N818
    """Another orchestrator has written this journal number: this one's term is over."""

    reason = "DEPOSED"
    code = 14
    exit_code = 1
