"""From coroutines to blocking calls: one event loop on a thread of its own, and three adapters typed from end to end.

The rule: the blocking client has no logic; each of its methods is the asynchronous one, waited for. So the two have
one shape.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from tensorfleet.loops import new_loop

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class Bridge:
    """Runs coroutines on its loop for callers on other threads."""

    def __init__(self) -> None:
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tensorfleet-client", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def run(self, awaitable: Awaitable[R]) -> R:
        """The awaitable's result. An interrupted wait (Ctrl-C) cancels it."""
        future = asyncio.run_coroutine_threadsafe(_waited(awaitable), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, iterator: AsyncIterator[R]) -> Iterator[R]:
        """The iterator's items, one by one; closing the returned one closes it."""
        try:
            while True:
                try:
                    yield self.run(anext(iterator))
                except StopAsyncIteration:
                    return
        finally:
            close: Callable[[], Coroutine[Any, Any, None]] | None = getattr(iterator, "aclose", None)
            if close is not None:
                self.run(close())

    def close(self) -> None:
        """Ends the loop and its thread; what still runs on it is cancelled."""
        if not self._thread.is_alive():
            return
        self.run(_cancel_the_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Blocking(Protocol):
    """An object of the blocking client: its asynchronous twin, and the bridge to it."""

    @property
    def inner(self) -> Any: ...

    @property
    def bridge(self) -> Bridge: ...


def blocking(method: Callable[Concatenate[A, P], Awaitable[R]]) -> Callable[Concatenate[Blocking, P], R]:
    """A coroutine method as a blocking one."""

    @wraps(method)
    def call(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.bridge.run(method(self.inner, *args, **kwargs))

    return call


def blocking_as(
    twin: Callable[[R, Bridge], S], method: Callable[Concatenate[A, P], Awaitable[R]]
) -> Callable[Concatenate[Blocking, P], S]:
    """A coroutine method as a blocking one that returns the blocking twin of what it returns."""

    @wraps(method)
    def call(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> S:
        return twin(self.bridge.run(method(self.inner, *args, **kwargs)), self.bridge)

    return call


def blocking_list(
    twin: Callable[[R, Bridge], S], method: Callable[Concatenate[A, P], Awaitable[Sequence[R]]]
) -> Callable[Concatenate[Blocking, P], Sequence[S]]:
    """A coroutine method as a blocking one that returns the blocking twins of the items it returns."""

    @wraps(method)
    def call(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> Sequence[S]:
        return [twin(item, self.bridge) for item in self.bridge.run(method(self.inner, *args, **kwargs))]

    return call


def iterating(method: Callable[Concatenate[A, P], AsyncIterator[R]]) -> Callable[Concatenate[Blocking, P], Iterator[R]]:
    """An asynchronous generator method as an ordinary one."""

    @wraps(method)
    def call(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        return self.bridge.iterate(method(self.inner, *args, **kwargs))

    return call


async def _waited(awaitable: Awaitable[R]) -> R:
    return await awaitable


async def _cancel_the_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
