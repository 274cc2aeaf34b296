"""Where the real code meets the world, and what it meets instead while it is simulated.

The rule: code that runs in a simulated process gets that process's clocks, chance and network; everyone else gets the
real ones. What is replaced is listed here and nowhere else.
"""

import logging
import os
import random
import secrets
import time
from asyncio.events import _get_running_loop
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import orchestrator.admission
import orchestrator.engine
import orchestrator.garbage
import orchestrator.groups
import orchestrator.term
import tensorfleet.rpc.channels
import worker.cache
import worker.session
from orchestrator.core.decide import step
from tensorfleet import catalog
from tensorfleet.logs import fields_of
from tensorfleet.testing.simulated.processes import Process
from tests.simulation import drills
from worker import resources

LIMITS = {
    (orchestrator.engine, "SNAPSHOT_BYTES"): 40_000,
    (orchestrator.engine, "BACKLOG"): 60,
    (orchestrator.garbage, "SKEW"): 0.5,
    (orchestrator.groups, "FULL"): 2500,
    (worker.cache, "INLINE"): 1000,
    (worker.cache, "CAPACITY"): 30_000,
}
"""Limits that a short run can reach."""

FIRST_PID = 10_000_000
"""Of simulated processes; no real one has such a number."""


def here() -> Process | None:
    """The simulated process whose code this is."""
    loop = _get_running_loop()
    return loop if isinstance(loop, Process) else None


@contextmanager
def sealed() -> Iterator[None]:
    """Within this, simulated processes touch nothing real. It costs some milliseconds: enter it once for many seeds."""
    with ExitStack() as stack:
        for module, name, simulated in _seams():
            stack.enter_context(patch.object(module, name, _either(simulated, getattr(module, name))))
        for (module, name), limit in LIMITS.items():
            stack.enter_context(patch.object(module, name, limit))
        stack.enter_context(patch.object(orchestrator.term, "Engine", WatchedEngine))
        stack.enter_context(patch.object(catalog, "_plugins", lambda: (drills,)))
        stack.enter_context(_quiet())
        _forget_catalog()
        stack.callback(_forget_catalog)
        yield


def _seams() -> list[tuple[Any, str, Callable[..., Any]]]:
    """What is replaced; each replacement is given the process first."""
    return [
        (os, "getpid", lambda process: FIRST_PID + process.simulation.processes.index(process)),
        (time, "time", lambda process: process.wall_time()),
        (time, "time_ns", lambda process: int(process.wall_time() * 1e9)),
        (time, "monotonic", lambda process: process.time()),
        (time, "clock_gettime", lambda process, clock: process.time()),
        (random, "uniform", lambda process, low, high: process.simulation.chance.uniform(low, high)),
        (secrets, "randbits", lambda process, bits: process.simulation.chance.getrandbits(bits)),
        (secrets, "token_hex", lambda process, size: f"{process.simulation.chance.getrandbits(8 * size):0{2 * size}x}"),
        (orchestrator.admission, "new_job_id", lambda process: process.belongings["world"].new_job_id()),
        (orchestrator.engine, "step", _step),
        (resources, "load_average", lambda process: 0.5),
        (resources, "memory_in_use", lambda process, pids: 1000),
        (worker.session, "open_channel", _open_channel),
        (tensorfleet.rpc.channels, "open_channel", _open_channel),
    ]


def _either(simulated: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **named: Any) -> Any:
        process = here()
        return real(*args, **named) if process is None else simulated(process, *args, **named)

    return call


def _open_channel(process: Process, address: str, *, watchful: bool = False) -> Any:
    return process.belongings["world"].network.channel(process, address)


def _step(process: Process, state: Any, batch: Any, now: Any, seen: Any, applied: Any) -> Any:
    """The core's step, with what must hold checked after it."""
    return process.belongings["world"].witness.step(process, step, state, batch, now, seen, applied)


class WatchedEngine(orchestrator.engine.Engine):
    """An engine whose recovery is looked at, and that the world can find."""

    async def start(self) -> None:
        await super().start()
        process = here()
        assert process is not None
        process.belongings["engine"] = self
        process.belongings["world"].witness.recovered(process.name, self.state)


def _forget_catalog() -> None:
    for cached in (catalog._all, catalog._by_name):
        cached.cache_clear()


class _Told(logging.Handler):
    """Makes a line of the simulation's story of each log line, if anyone wants it."""

    def emit(self, record: logging.LogRecord) -> None:
        process = here()
        if process is not None and process.belongings["world"].telling:
            fields = " ".join(f"{name}={value}" for name, value in fields_of(record).items())
            line = f"[{record.levelname.lower()}] {record.getMessage()} {fields}"
            process.belongings["world"].tell(f"{process.name} logs: {line}")


@contextmanager
def _quiet() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = [_Told()]
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
