"""How a program's event loop is made: by uvloop, on which a wake-up costs a fraction of what it does on asyncio's own.

The rule: what we start (orchestrator, worker, command, the blocking client's thread) runs on the loop that is made
here; `AsyncClient` runs on whatever loop its user has, and nothing may need this one.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

R = TypeVar("R")

EARLY = 0.001
"""Seconds by which its timers may ring before their time, since it counts in milliseconds: whoever looks at the clock
when one rang must not find that it is not yet time, and wait for ever."""


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop that nobody runs yet. `add_reader` on it leaves the descriptor non-blocking, for writing as well."""
    return uvloop.new_event_loop()


def run(main: Coroutine[Any, Any, R]) -> R:
    """As `asyncio.run`."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)
