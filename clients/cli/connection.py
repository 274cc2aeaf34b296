"""Which fleet a command talks to, and how a command runs.

The rule: what a command started it ends, also after Ctrl-C; the second Ctrl-C is quick.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tensorfleet.config import settings
from tensorfleet.errors import Unavailable

if TYPE_CHECKING:
    from clients.cli.options import Options
    from tensorfleet.client import AsyncClient
    from tensorfleet.local import AsyncLocalFleet

PATIENCE = 10.0
"""Seconds that a server may be away before a command gives up."""
FIRST_CONTACT = 2.0
INTERRUPTED = 130
START_ONE = "`tensorfleet up` starts a fleet on this machine."

_local: "list[AsyncLocalFleet]" = []


def _warn(line: str) -> None:
    from clients.cli import output

    output.warn(line)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a command. The first SIGINT, SIGTERM or SIGHUP cancels it, so that it cleans up; the second ends everything
    at once."""

    from tensorfleet import loops

    async def guarded() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, interrupt, task)
        await main

    interrupt = _Interrupt()
    loops.run(guarded())


class _Interrupt:
    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, task: "asyncio.Task[None]") -> None:
        self._calls += 1
        if self._calls == 1:
            task.cancel()
            return
        for fleet in _local:
            fleet.kill()
        os._exit(INTERRUPTED)


@asynccontextmanager
async def connected(
    at: "Options", *, workers: int = 0, slots: int = 1, tell: Callable[[str], None] = _warn
) -> "AsyncIterator[AsyncClient]":
    """A client of the fleet that the options name.

    With no server, of the fleet on this machine over the home: the one that is there, else one of our own, with so
    many workers, that ends with the command.
    """
    server = at.server or (settings().server if at.home is None else "")
    if server:
        from tensorfleet.client import AsyncClient

        async with AsyncClient(server, timeout=PATIENCE) as client:
            await _reached(server)
            yield client
        return
    async with _local_client(at, workers, slots, tell) as client:
        yield client


async def _reached(server: str) -> None:
    """Unavailable, soon, where nobody serves there: a wrong address needs no patience."""
    from tensorfleet.rpc.addresses import split
    from tensorfleet.sdk.seat import answers

    deadline = asyncio.get_running_loop().time() + FIRST_CONTACT
    while not await answers(split(server)):
        if asyncio.get_running_loop().time() >= deadline:
            raise Unavailable(f"no server answers at {server}. Is the address right? {START_ONE}")
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _local_client(
    at: "Options", workers: int, slots: int, tell: Callable[[str], None]
) -> "AsyncIterator[AsyncClient]":
    from tensorfleet.local import AsyncLocalFleet

    fleet = AsyncLocalFleet(at.home, workers=workers, slots=slots, preload=True, tell=tell)
    loading = asyncio.create_task(asyncio.to_thread(import_module, "tensorfleet.client"))  # while the fleet comes up
    async with kept(fleet):
        await loading
        from tensorfleet.client import AsyncClient

        async with AsyncClient(fleet.address, timeout=PATIENCE) as client:
            try:
                yield client
            except Unavailable:
                fleet.raise_failure()  # why it is away says more than that it is
                raise


@asynccontextmanager
async def kept(fleet: "AsyncLocalFleet") -> AsyncIterator[None]:
    """Runs a local fleet meanwhile; the second Ctrl-C knows of it."""
    _local.append(fleet)
    try:
        async with _started(fleet):
            yield
    finally:
        _local.remove(fleet)


@asynccontextmanager
async def _started(fleet: "AsyncLocalFleet") -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        with _said("Starting a fleet on this machine"):
            await stack.enter_async_context(fleet)
        yield


def _said(what: str) -> AbstractContextManager[object]:
    """Shows on a terminal what is being waited for."""
    if not sys.stderr.isatty():
        return nullcontext()
    from clients.cli import output

    return output.console(stderr=True).status(what)


def place(at: "Options") -> str:
    """Where things are kept, for people."""
    from tensorfleet.data.sources import shown

    environment = settings()
    server = at.server or (environment.server if at.home is None else "")
    return server or shown(environment.objects) or str(at.home or environment.home)
