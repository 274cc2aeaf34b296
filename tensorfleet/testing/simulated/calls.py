"""One RPC between two simulated processes: what each side sees of it, and the two ways between them.

The rule: a side acts on what has arrived at it, and on nothing else. A call that breaks ends on each side by itself.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc

from tensorfleet.testing.simulated.processes import Process

if TYPE_CHECKING:
    from tensorfleet.testing.simulated.network import Network, Server

WINDOW = 16
"""Messages that one side may leave unread before the other has to wait."""

HALF_OPEN = 1.0
"""Seconds for which one side of a broken connection may not know, at most."""

OK = (grpc.StatusCode.OK, "", ())

Status = tuple[grpc.StatusCode, str, tuple[tuple[str, Any], ...]]


class Handling:
    """What an interceptor is told of a call."""

    def __init__(self, path: str) -> None:
        self.method = path
        self.invocation_metadata = ()


class Way:
    """One direction of a call: in order, with delays, until it breaks."""

    def __init__(self, call: "Call", target: Process, arrive: Callable[[str, Any], None]) -> None:
        self.closed = False
        self.unread = 0
        self._call = call
        self._target = target
        self._receive = arrive
        self._last = 0.0
        self._held: list[tuple[str, Any]] = []

    def send(self, kind: str, item: Any = None) -> None:
        call = self._call
        if call.broken:
            return
        network = call.network
        if network.is_parted(call.client.name, call.server.name):
            self._held.append((kind, item))
            return
        simulation = network.simulation
        self._last = max(self._last, simulation.now + network.latency())
        simulation.at(self._last, self._target, self._arrive, kind, item)

    def resume(self) -> None:
        held, self._held = self._held, []
        for kind, item in held:
            self.send(kind, item)

    def _arrive(self, kind: str, item: Any) -> None:
        if not self.closed:
            self._receive(kind, item)


class Call:
    """Both sides' state of one RPC, and the ways between them."""

    def __init__(self, network: "Network", client: Process, server: "Server", path: str) -> None:
        self.network = network
        self.client = client
        self.server = server.process
        self.path = path
        self.broken = False
        self.silent_since: float | None = None
        self.up = Way(self, self.server, self._at_server)
        self.down = Way(self, client, self._at_client)
        # the client's side
        self.answers: deque[bytes] = deque()
        self.status: Status | None = None
        self.cancelled = False
        self.ended: Callable[[Call], None] = lambda call: None
        self._client_waits: list[asyncio.Future[None]] = []
        # the server's side
        self.requests: deque[bytes] = deque()
        self.metadata: tuple[tuple[str, str], ...] = ()
        self.half_closed = False
        self.served = False
        self._handling: asyncio.Task[None] | None = None
        self._service = server
        self._server_waits: list[asyncio.Future[None]] = []

    def reset(self, reason: str) -> None:
        """The connection is gone; each side learns of it in its own time."""
        if self.broken:
            return
        self.broken = True
        self.network.over(self)
        simulation = self.network.simulation
        simulation.at(simulation.now + self._until_noticed(), self.client, self._client_reset, reason)
        simulation.at(simulation.now + self._until_noticed(), self.server, self._server_reset)

    def _until_noticed(self) -> float:
        """Now and then a side takes the connection for whole for much longer than the other does."""
        chance = self.network.simulation.chance
        return self.network.latency() + (chance.uniform(0.0, HALF_OPEN) if chance.random() < 0.3 else 0.0)

    def resume(self) -> None:
        self.up.resume()
        self.down.resume()

    # --- the client's side

    def finish(self, status: Status) -> None:
        """The call is over for the client."""
        if self.status is not None:
            return
        self.status = status
        self.down.closed = True
        self.ended(self)
        self.wake_client()
        self._look_over()

    def cancel(self) -> bool:
        if self.status is not None:
            return False
        self.cancelled = True
        self.up.send("cancel")
        self.finish((grpc.StatusCode.CANCELLED, "Locally cancelled by application!", ()))
        return True

    def wake_client(self) -> None:
        _wake(self._client_waits)

    async def client_waits(self) -> None:
        """Waits until something has changed."""
        await _waited(self._client_waits, self.client)

    def _at_client(self, kind: str, item: Any) -> None:
        if kind == "message":
            self.answers.append(item)
            self.wake_client()
        else:
            self.finish(item)

    def _client_reset(self, reason: str) -> None:
        self.finish((grpc.StatusCode.UNAVAILABLE, reason, ()))

    # --- the server's side

    def _at_server(self, kind: str, item: Any) -> None:
        if kind == "message":
            self.requests.append(item)
        elif kind == "half":
            self.half_closed = True
        elif kind == "open":
            self.metadata = item
            self._handling = self.server.create_task(self._serve())
        else:
            self._server_reset()
        self.wake_server()

    def wake_server(self) -> None:
        _wake(self._server_waits)

    async def server_waits(self) -> None:
        await _waited(self._server_waits, self.server)

    def _server_reset(self) -> None:
        self.up.closed = True
        self.served = True
        if self._handling is not None:
            self._handling.cancel()
        self._look_over()

    async def _serve(self) -> None:
        """Runs the method's handler, as `grpc.aio` does."""
        context = Context(self)
        try:
            status = await self._handle(context)
        except grpc.aio.AbortError:
            status = context.aborted or (grpc.StatusCode.UNKNOWN, "aborted", ())
        except Exception as error:
            status = (grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}", ())
        if not self.served:
            self.served = True
            self.up.closed = True
            self.down.send("status", status)
            self._look_over()

    async def _handle(self, context: "Context") -> Status:
        handler = await self._service.handler(self.path)
        if handler is None:
            return (grpc.StatusCode.UNIMPLEMENTED, f"no method {self.path}", ())
        requests = Requests(self, handler.request_deserializer)
        given = requests if handler.request_streaming else await anext(requests)
        context.serialize = handler.response_serializer
        if handler.response_streaming:
            serving = (handler.stream_stream or handler.unary_stream)(given, context)
            if inspect.isawaitable(serving):
                await serving  # it writes by itself
            else:
                async for answer in serving:
                    await context.write(answer)
        else:
            await context.write(await (handler.stream_unary or handler.unary_unary)(given, context))
        return OK

    async def answer(self, serialize: Callable[[Any], bytes], answer: Any) -> None:
        while self.down.unread >= WINDOW:
            await self.server_waits()
        self.network.heard(self, "down", answer)
        self.down.unread += 1
        self.down.send("message", serialize(answer))
        await asyncio.sleep(0)

    def _look_over(self) -> None:
        if self.served and self.status is not None:
            self.network.over(self)


class Requests:
    """The messages of a client, as the handler reads them."""

    def __init__(self, call: Call, deserialize: Callable[[bytes], Any] | None) -> None:
        self._call = call
        self._deserialize = deserialize

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        call = self._call
        while not call.requests:
            if call.half_closed:
                raise StopAsyncIteration
            await call.server_waits()
        call.up.unread -= 1
        call.wake_client()
        request = call.requests.popleft()
        return request if self._deserialize is None else self._deserialize(request)


class Context:
    """What a servicer is given beside the request."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.serialize: Callable[[Any], bytes] = bytes
        self.aborted: Status | None = None

    async def write(self, answer: Any) -> None:
        """Sends an answer; waits where the client has not read what it was sent."""
        await self._call.answer(self.serialize, answer)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        self.aborted = (code, details, tuple(trailing_metadata))
        raise grpc.aio.AbortError(details)

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._call.metadata

    def peer(self) -> str:
        return self._call.client.name


def _wake(waiting: "list[asyncio.Future[None]]") -> None:
    for future in waiting:
        settle(future)
    waiting.clear()


async def _waited(waiting: "list[asyncio.Future[None]]", process: Process) -> None:
    future: asyncio.Future[None] = process.create_future()
    waiting.append(future)
    await future


def settle(future: "asyncio.Future[None]") -> None:
    """Ends a wait, where nothing has ended it yet."""
    if not future.done():
        future.set_result(None)
