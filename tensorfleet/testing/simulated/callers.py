"""A simulated RPC as its caller holds it, with the methods that `grpc.aio` gives a call.

The rule: whoever lets go of a call that has not ended cancels it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, Any

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]

from tensorfleet.testing.simulated.calls import WINDOW, Call, Status, settle

if TYPE_CHECKING:
    from tensorfleet.testing.simulated.network import Channel


class ClientEnd:
    """What a channel's method gives back when it is called."""

    def __init__(
        self,
        channel: "Channel",
        path: str,
        request: Any,
        shape: tuple[bool, bool],
        serialize: Callable[[Any], bytes] | None,
        deserialize: Callable[[bytes], Any],
        timeout: float | None,
        metadata: Any,
    ) -> None:
        self._process = channel.process
        self._many_up, self._many_down = shape
        self._serialize, self._deserialize = serialize or bytes, deserialize
        self._half_closed = False
        self._sending: asyncio.Task[None] | None = None
        self._call: Call | None = None
        self._failed: Status | None = None
        network = channel.network
        self._network = network
        server = channel.server()
        self._timer = self._process.call_later(timeout, self._too_late) if timeout is not None else None
        if server is None:
            self._refused: asyncio.Future[None] | None = self._process.create_future()
            network.simulation.at(network.simulation.now + network.latency(), self._process, settle, self._refused)
            return
        self._refused = None
        self._call = Call(network, self._process, server, path)
        network.open(self._call)
        self._call.up.send("open", tuple((str(key), value) for key, value in metadata or ()))
        channel.keep(self._call)
        if not self._many_up:
            self._send(request)
            self._half_close()
        elif request is not None:
            self._sending = self._process.create_task(self._send_all(request))

    def __del__(self) -> None:
        if self._process.alive and not self._process.simulation.closed:
            self.cancel()

    # --- as `grpc.aio` has them

    def cancel(self) -> bool:
        self._forget_timer()
        if self._sending is not None:
            self._sending.cancel()
        return self._call is not None and self._call.cancel()

    def done(self) -> bool:
        return self._status() is not None

    async def code(self) -> grpc.StatusCode:
        return (await self._end())[0]

    async def details(self) -> str:
        return (await self._end())[1]

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata(*(await self._end())[2])

    def __await__(self) -> Generator[Any, None, Any]:
        return self._only().__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._all()

    async def read(self) -> Any:
        """The next message, or EOF. Raises how the call failed."""
        call = self._call
        while call is not None:
            if call.answers:
                call.down.unread -= 1
                call.wake_server()
                return self._deserialize(call.answers.popleft())
            if call.status is not None:
                break
            try:
                await call.client_waits()
            except asyncio.CancelledError:
                self.cancel()
                raise
        await self._end()
        self._raise()
        return EOF

    async def write(self, message: Any) -> None:
        call = self._call
        if call is None:
            await self._end()
        if call is None or call.status is not None or self._half_closed:
            raise asyncio.InvalidStateError("RPC already finished.")
        while call.up.unread >= WINDOW and call.status is None:
            try:
                await call.client_waits()
            except asyncio.CancelledError:
                self.cancel()
                raise
        self._raise()
        if call.status is not None:
            raise asyncio.InvalidStateError("RPC already finished.")
        self._send(message)
        await asyncio.sleep(0)

    async def done_writing(self) -> None:
        if self._call is not None and self._call.status is None and not self._half_closed:
            self._half_close()

    # --- within

    def _status(self) -> Status | None:
        return self._failed if self._call is None else self._call.status

    async def _end(self) -> Status:
        """How the call ended, once it has."""
        if self._refused is not None:
            await asyncio.shield(self._refused)
            if self._failed is None:
                self._failed = (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses", ())
            return self._failed
        assert self._call is not None
        while self._call.status is None:
            await self._call.client_waits()
        return self._call.status

    def _raise(self) -> None:
        status = self._status()
        if status is None or status[0] is grpc.StatusCode.OK:
            return
        self._forget_timer()
        if self._call is not None and self._call.cancelled:
            raise asyncio.CancelledError
        raise _failure(*status)

    async def _only(self) -> Any:
        """The answer of a method that has one."""
        message = await self.read()
        if message is EOF:
            raise _failure(grpc.StatusCode.INTERNAL, "no answer", ())
        try:
            await self._end()
        except asyncio.CancelledError:
            self.cancel()
            raise
        self._raise()
        self._forget_timer()
        return message

    async def _all(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not EOF:
            yield message

    def _send(self, message: Any) -> None:
        assert self._call is not None
        self._network.heard(self._call, "up", message)
        self._call.up.unread += 1
        self._call.up.send("message", self._serialize(message))

    def _half_close(self) -> None:
        assert self._call is not None
        self._half_closed = True
        self._call.up.send("half")

    async def _send_all(self, requests: AsyncIterator[Any]) -> None:
        try:
            async for request in requests:
                await self.write(request)
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
            return  # the answer tells
        self._half_close()

    def _too_late(self) -> None:
        if self._call is None:
            self._failed = (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", ())
            assert self._refused is not None
            settle(self._refused)
        elif self._call.status is None:
            self._call.up.send("cancel")
            self._call.finish((grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", ()))

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _failure(code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, Any], ...]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details, "")
