"""What is behind the address: the services of a term, and while there is none, the word who leads.

The rule: nothing of the API leaves the process but while it leads. A call that comes at another time is refused; an
answer or a message that is due at another time waits, and is refused when the term ends first.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, cast

import grpc

from orchestrator.leadership import Leadership
from tensorfleet.rpc.servers import rebuilt

API = "/tensorfleet.api."
CLOSING_SECONDS = 1.0


class Front(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Serves every method of the API. `open` puts services behind it, `close` takes them away."""

    def __init__(self, leadership: Leadership) -> None:
        self._leadership = leadership
        self._handlers: dict[str, Any] | None = None
        self._calls: set[_Call] = set()

    @property
    def leads(self) -> bool:
        return self._handlers is not None and self._leadership.holds()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if not handler_call_details.method.startswith(API):
            return None
        if not self.leads:
            # On the wire a call of any kind is a stream both ways.
            return grpc.stream_stream_rpc_method_handler(self._refuse)
        assert self._handlers is not None
        return self._handlers.get(handler_call_details.method)

    async def _refuse(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        raise self._leadership.refusal()
        yield

    def open(self, add: Callable[[grpc.aio.Server], None]) -> None:
        """add: adds the servicers of a term to a server."""
        shelf = _Shelf()
        add(cast(grpc.aio.Server, shelf))
        self._handlers = {method: rebuilt(handler, self._kept) for method, handler in shelf.handlers.items()}

    async def close(self) -> None:
        """Ends every call: its caller is told who leads now. One that does not read is told when it does."""
        self._handlers = None
        ending = [call.task for call in self._calls if call.working]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending, timeout=CLOSING_SECONDS)

    def _kept(self, inner: Any, yields: bool) -> Any:
        """A servicer's method, so that it keeps the rule."""

        async def one(request: Any, context: Any) -> Any:
            with self._during() as call:
                return await self._due(call, inner(request, context))

        async def many(request: Any, context: Any) -> AsyncIterator[Any]:
            with self._during() as call:
                async with aclosing(inner(request, context)) as items:
                    while (item := await self._due(call, anext(items, _END))) is not _END:
                        yield item

        return many if yields else one

    @contextmanager
    def _during(self) -> Iterator["_Call"]:
        if not self.leads:
            raise self._leadership.refusal()
        call = _Call(self._handlers)
        self._calls.add(call)
        try:
            yield call
        finally:
            self._calls.discard(call)

    async def _due(self, call: "_Call", work: Awaitable[Any]) -> Any:
        """What is to be said next, once it may be said."""
        call.working = True
        try:
            if self._handlers is not call.term:
                raise self._leadership.refusal()
            due = await work
            await self._leadership.held()
        except asyncio.CancelledError:
            if self._handlers is call.term:
                raise  # by its caller
            call.task.uncancel()
            raise self._leadership.refusal() from None
        finally:
            call.working = False
        return due


_END = object()


class _Call:
    """A call that is served. working: not within gRPC, where a cancelled call would end without a word."""

    def __init__(self, term: object) -> None:
        self.term = term
        self.task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.working = False


class _Shelf:
    """Looks like a server to the generated `add_…_to_server`, and keeps what it is given."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        pass  # the same ones

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.handlers.update({f"/{service}/{method}": handler for method, handler in handlers.items()})
