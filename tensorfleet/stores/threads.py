"""Disk work off the event loop. The rule: whoever awaited it sees it finished, even when cancelled."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Runs work in a thread. When cancelled it first waits for the thread, so that a file is not closed under it."""
    running = _begun(partial(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await _finished(running)
        raise


async def ahead(read: Callable[[], bytes]) -> AsyncGenerator[bytes, None]:
    """What `read` gives, until it gives nothing. The next is read in a thread while one is on its way."""
    running = _begun(read)
    try:
        while chunk := await asyncio.shield(running):
            running = _begun(read)
            yield chunk
    finally:
        await _finished(running)


async def behind(chunks: AsyncIterator[_T], write: Callable[[_T], object]) -> None:
    """Writes all that comes. Each chunk is written in a thread while the next is on its way."""
    running: asyncio.Future[object] | None = None
    try:
        async for chunk in chunks:
            if running is not None:
                await asyncio.shield(running)
            running = _begun(partial(write, chunk))
        if running is not None:
            await asyncio.shield(running)
    finally:
        if running is not None:
            await _finished(running)


def _begun(work: Callable[[], _T]) -> asyncio.Future[_T]:
    return asyncio.ensure_future(asyncio.get_running_loop().run_in_executor(None, work))


async def _finished(running: asyncio.Future[Any]) -> None:
    """Waits for the end of what was begun, and raises nothing of it; being cancelled only once that is waited for."""
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if not running.cancelled():
        running.exception()  # seen, so that asyncio does not complain of it
    if cancelled is not None:
        raise cancelled
