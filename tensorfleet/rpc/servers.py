"""Servers: options, and the one interceptor that turns errors of the catalogue into statuses."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from tensorfleet.errors import ResourceExhausted, TensorFleetError
from tensorfleet.logs import Logger
from tensorfleet.rpc.channels import OPTIONS, PATIENT
from tensorfleet.rpc.chunks import written_or
from tensorfleet.rpc.status import to_status

log = Logger(__name__)

UNREAD_SECONDS = 30.0
"""How long a stream's next message may wait for a client that does not read; then the stream is cut off."""
RESUME_SECONDS = 0.5
"""When a client that was cut off may come back."""


IN_FLIGHT_BYTES = 256 * 1024 * 1024
"""Bytes of requests that are served at once; more must wait. Streams hold a message each, whatever they carry."""


def make_server(in_flight_bytes: int = IN_FLIGHT_BYTES) -> grpc.aio.Server:
    """A server whose servicers raise errors of the catalogue, and which holds so many bytes of requests at most."""
    # Two servers on one port would share its connections between two homes without a word.
    options = (*OPTIONS, *PATIENT, ("grpc.so_reuseport", 0))
    return grpc.aio.server(interceptors=[Translate(Flight(in_flight_bytes))], options=options)


class Flight:
    """The bytes of requests that are being served. One alone is always taken, whatever its size."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0

    @contextmanager
    def of(self, request: Any) -> Iterator[None]:
        """Counts a request while it is served. ResourceExhausted, with a delay, where there is no room for it."""
        size: int = request.ByteSize() if isinstance(request, Message) else 0
        if self._bytes and size and self._bytes + size > self._most:
            text = (
                f"requests of {self._bytes:,} bytes are being served, of at most {self._most:,}; try again in a second"
            )
            raise ResourceExhausted(text, retry_after=1.0)
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size


class Translate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Turns what a servicer raises into a google.rpc.Status; what is not of the catalogue is logged and INTERNAL."""

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self._rebuilt: dict[str, tuple[Any, Any]] = {}  # by method, a handler and what it was made into

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = handler_call_details.method
        known, made = self._rebuilt.get(method, (None, None))
        if known is not handler:
            made = rebuilt(
                handler, lambda inner, yields: _streaming(inner, method) if yields else self._single(inner, method)
            )
            self._rebuilt[method] = handler, made
        return made

    def _single(self, inner: Any, method: str) -> Any:
        async def call(request: Any, context: Any) -> Any:
            try:
                with self._flight.of(request):
                    return await inner(request, context)
            except Exception as error:
                await _abort(error, context, method)

        return call


def rebuilt(handler: Any, wrap: Callable[[Any, bool], Any]) -> Any:
    """A method's handler around another behaviour: `wrap(behaviour, whether it yields its answers)`.

    An answer may be its message's bytes.
    """
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    inner = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    # gRPC's own streaming services write by themselves, and are awaited like single calls.
    wrapped = wrap(inner, inspect.isasyncgenfunction(inner))
    return make(wrapped, handler.request_deserializer, written_or(handler.response_serializer))


def _streaming(inner: Any, method: str) -> Any:
    async def call(request: Any, context: Any) -> None:
        cursor = ""
        try:
            async with aclosing(inner(request, context)) as items:
                async for item in items:
                    try:
                        async with asyncio.timeout(UNREAD_SECONDS):
                            await context.write(item)
                    except TimeoutError:
                        text = f"the client has read nothing for {UNREAD_SECONDS:g} s; go on from what it read last"
                        raise ResourceExhausted(text, retry_after=RESUME_SECONDS, cursor=cursor) from None
                    if told := getattr(item, "events", None):
                        cursor = told[-1].cursor
        except Exception as error:
            await _abort(error, context, method)

    return call


async def _abort(error: Exception, context: Any, method: str) -> None:
    if isinstance(error, grpc.aio.AbortError | grpc.RpcError):
        raise error
    if not isinstance(error, TensorFleetError):
        log.error("a call failed", method=method, error=repr(error), exc_info=error)
        error = TensorFleetError(f"{method} failed inside the server: {type(error).__name__}; its log has the details")
    status = rpc_status.to_status(to_status(error))
    await context.abort(status.code, status.details, status.trailing_metadata)
