"""How the client calls: whoever leads, with retries, an overall deadline, and errors of the catalogue.

The rule: whatever is sent can be sent again without harm, so what is unavailable is tried again until the deadline,
there or where the leader is now; every other error is raised at once as the catalogue's own.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, cast

import grpc

from tensorfleet import errors
from tensorfleet.rpc.addresses import Addresses, split
from tensorfleet.rpc.channels import LeaderChannel
from tensorfleet.rpc.pauses import pauses
from tensorfleet.rpc.status import to_error

if TYPE_CHECKING:
    from tensorfleet.api.v1.artifacts_pb2_grpc import ArtifactServiceAsyncStub
    from tensorfleet.api.v1.datasets_pb2_grpc import DatasetServiceAsyncStub
    from tensorfleet.api.v1.fleet_pb2_grpc import FleetServiceAsyncStub
    from tensorfleet.api.v1.jobs_pb2_grpc import JobServiceAsyncStub
    from tensorfleet.api.v1.models_pb2_grpc import ModelServiceAsyncStub

Request = TypeVar("Request")
Response = TypeVar("Response")

PAGE = 1000
LONGEST_PAUSE = 1.0
DEFAULT_TIMEOUT = 30.0
_FINAL = ("DEADLINE_EXCEEDED", errors.SOURCE_AWAY)
"""Why something is unavailable that another try, here or elsewhere, would find so too."""


class Calls:
    """The services' stubs, at the one of the addresses (`host:port`, several joined by commas) that leads.

    timeout: seconds that a call may take with all of its tries; for calls that have work to do, such as reading a
    dataset, seconds that the server may be away. sleep: waits between tries. away: nobody served the last call yet,
    wherever it was tried.
    """

    def __init__(
        self,
        address: str,
        *,
        user: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.metadata = (("x-user-id", user),) if user else ()
        self._sleep = sleep
        self.away = False
        self._addresses = Addresses(split(address))
        self._leader = LeaderChannel(self._addresses)

    @property
    def channel(self) -> grpc.aio.Channel:
        return cast(grpc.aio.Channel, self._leader)

    @cached_property
    def jobs(self) -> "JobServiceAsyncStub":
        from tensorfleet.api.v1.jobs_pb2_grpc import JobServiceStub

        return JobServiceStub(self.channel)

    @cached_property
    def datasets(self) -> "DatasetServiceAsyncStub":
        from tensorfleet.api.v1.datasets_pb2_grpc import DatasetServiceStub

        return DatasetServiceStub(self.channel)

    @cached_property
    def models(self) -> "ModelServiceAsyncStub":
        from tensorfleet.api.v1.models_pb2_grpc import ModelServiceStub

        return ModelServiceStub(self.channel)

    @cached_property
    def fleet(self) -> "FleetServiceAsyncStub":
        from tensorfleet.api.v1.fleet_pb2_grpc import FleetServiceStub

        return FleetServiceStub(self.channel)

    @cached_property
    def artifacts(self) -> "ArtifactServiceAsyncStub":
        from tensorfleet.api.v1.artifacts_pb2_grpc import ArtifactServiceStub

        return ArtifactServiceStub(self.channel)

    @property
    def leader(self) -> str:
        """The address at which calls are made: the one that led last."""
        return self._addresses.current

    async def close(self) -> None:
        await self._leader.close()

    async def unary(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request, *, works: bool = False
    ) -> Response:
        """One answer to one request. works: the server has work to do for it, which takes what it takes."""
        return await self.retried(lambda left: method(request, timeout=None if works else left, metadata=self.metadata))

    async def retried(self, attempt: Callable[[float], Awaitable[Response]]) -> Response:
        """What `attempt(seconds left)` answers, tried again while the server is unavailable or asks for it."""
        patience = Patience(self.timeout, self._sleep, self.address)
        while True:
            began, at = patience.now(), self._addresses.current
            try:
                answer = await attempt(patience.left())
                self._served()
                return answer
            except grpc.RpcError as error:
                failure = to_error(error)
            await self._elsewhere(patience, at, failure, patience.now() - began)

    def _served(self) -> None:
        self.away = False
        self._addresses.served()

    async def _elsewhere(self, patience: "Patience", at: str, failure: errors.TensorFleetError, took: float) -> None:
        """Turns to where the leader may be now, after a pause where everyone was asked; raises what is final."""
        patience.check(failure, took)
        if not isinstance(failure, errors.Unavailable):
            await patience.pause(failure)
        elif self._addresses.failed(at, failure):
            self.away = True
            await patience.pause(failure)

    async def stream(
        self, open_from: Callable[[str], AsyncIterator[Response]], cursor_of: Callable[[Response], str], after: str
    ) -> AsyncIterator[Response]:
        """Messages after a cursor, each once and in order, across broken streams. Ends only by its reader.

        open_from: opens the stream after a cursor. Raises Unavailable where nothing came for the whole timeout.
        """
        patience = Patience(self.timeout, self._sleep, self.address)
        while True:
            began, at = patience.now(), self._addresses.current
            failure: errors.TensorFleetError = errors.Unavailable("the stream ended before the job did")
            try:
                async for message in open_from(after):
                    after = cursor_of(message)
                    patience.renew()
                    self._served()
                    yield message
            except grpc.RpcError as error:
                failure = to_error(error)
            await self._elsewhere(patience, at, failure, patience.now() - began)


async def paged(limit: int, page: Callable[[int, str], Awaitable[tuple[Sequence[Response], str]]]) -> list[Response]:
    """Items of `page(size, token)`, page after page, until there are no more or `limit` of them."""
    found: list[Response] = []
    token = ""
    while len(found) < limit:
        items, token = await page(min(PAGE, limit - len(found)), token)
        found += items
        if not token:
            break
    return found


class Patience:
    """How long the server may be away, and how long to wait before each next try."""

    def __init__(self, timeout: float, sleep: Callable[[float], Awaitable[None]], address: str) -> None:
        self._timeout, self._sleep, self._address = timeout, sleep, address
        self.renew()

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def renew(self) -> None:
        """The server is there: begin to count anew."""
        self._deadline = self.now() + self._timeout
        self._pauses = pauses(LONGEST_PAUSE)

    def left(self) -> float:
        return max(0.001, self._deadline - self.now())

    def check(self, failure: errors.TensorFleetError, took: float) -> None:
        """Raises the failure where another try cannot help, or has no time left. took: seconds, of the try."""
        if not _passes(failure):
            raise failure
        # A try that waited long for its answer was served for that long: only the time without a server counts.
        if took > self._timeout / 2:
            self.renew()
        if self.now() >= self._deadline:
            raise _told(failure, self._address, self._timeout)

    async def pause(self, failure: errors.TensorFleetError) -> None:
        """Waits before the next try; raises the failure where there is no time for it."""
        pause = next(self._pauses)
        if isinstance(failure, errors.ResourceExhausted) and failure.retry_after is not None:
            pause = failure.retry_after
        if self.now() + pause >= self._deadline:
            raise _told(failure, self._address, self._timeout)
        await self._sleep(pause)


def _passes(failure: errors.TensorFleetError) -> bool:
    if isinstance(failure, errors.ResourceExhausted):
        return failure.retry_after is not None
    return isinstance(failure, errors.Unavailable) and failure.reason not in _FINAL


def _told(failure: errors.TensorFleetError, address: str, timeout: float) -> errors.TensorFleetError:
    if not isinstance(failure, errors.Unavailable):
        return failure
    if "failed to connect" in failure.message.lower() or "name resolution" in failure.message.lower():
        return errors.Unavailable(
            f"no server answers at {address}. Is the address right? `tensorfleet up` starts a fleet on this machine."
        )
    return errors.Unavailable(f"the server at {address} was away for {timeout:g} s: {failure.message}")
