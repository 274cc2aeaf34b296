"""The process that trains: takes one task at a time from its agent, runs it, and says what came of it.

The rule: it is one thread that does what it is told and keeps nothing. All it prints goes to the agent by pipes that
only the agent reads, so that even a crash's last words arrive.
"""

import ctypes
import faulthandler
import logging
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import TextIO

from tensorfleet.errors import BadInput, TensorFleetError
from tensorfleet.model import Cause, LogLine, Point
from worker import disk, sandbox
from worker.messages import Failed, Fork, Framer, FromSlot, Lines, Points, Run, Succeeded, frame, to_slot

_LIBC = ctypes.CDLL(None)
_IOLBF = 1
"""Of stdio.h: a line at a time."""
TRACEBACK_LINES = 40
"""Last lines of a traceback that are logged."""


class Stopped(BaseException):
    """The agent wants the task to end; what is open is closed on the way out."""


class AgentGone(BaseException):
    """The agent's socket is closed: there is nobody to work for."""


class Agent:
    """The slot's end of its socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._framer = Framer()
        self._orders: list[Run] = []

    def next_order(self) -> Run | None:
        """Waits for the next task; None where there will be none."""
        while not self._orders:
            data = self._connection.recv(1 << 16)
            if not data:
                return None
            self._orders = [to_slot.decode(payload) for payload in self._framer.feed(data)]
        return self._orders.pop(0)

    def say(self, message: FromSlot) -> None:
        self.send(frame(message))

    def send(self, data: bytes) -> None:
        """Sends; waits while the agent does not read, which is how a full buffer slows the training."""
        try:
            self._connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise AgentGone from error

    def report(self, series: str, step: int, value: float) -> None:
        self.say(Points((Point(series, int(step), float(value)),)))

    def log(self, stream: str, text: str) -> None:
        now = time.time()
        self.say(Lines(tuple(LogLine(now, stream, line) for line in text.splitlines())))


def main(connection: int, stdout: int, stderr: int, order: Fork) -> None:
    """Becomes a slot, and serves until its agent is gone or it has run as many tasks as it may."""
    agent = Agent(socket.socket(fileno=connection))
    _settle(stdout, stderr, order)
    _capture(agent)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    done = 0
    try:
        while (run := agent.next_order()) is not None:
            last_words = perform(agent, run)
            _flush()
            agent.send(last_words)
            done += 1
            if order.max_tasks and done >= order.max_tasks:
                return
    except (AgentGone, Stopped):
        return


def perform(agent: Agent, run: Run) -> bytes:
    """Runs one task and gives the message that says how it ended; whatever the task raises ends here."""
    try:
        with warnings.catch_warnings():  # so that a warning that an earlier task gave is given again
            return frame(_execute(agent, run))
    except (Stopped, AgentGone):
        raise
    except BaseException as error:
        return frame(_failure(agent, error))


def _failure(agent: Agent, error: BaseException) -> Failed:
    if isinstance(error, BadInput):
        return Failed(Cause.BAD_INPUT, error.reason, error.message)
    if isinstance(error, SystemExit):
        return Failed(Cause.EXCEPTION, "SystemExit", f"the task left by itself: SystemExit: {error.code}")
    lines = "".join(traceback.format_exception(error)).splitlines()
    agent.log("error", "\n".join(lines[-TRACEBACK_LINES:]))
    summary = "".join(traceback.format_exception_only(error)).strip()
    if isinstance(error, MemoryError):
        return Failed(Cause.OUT_OF_MEMORY, "MEMORY_LIMIT", f"the task ran out of memory: {summary}")
    if disk.is_full(error):
        return Failed(Cause.EXCEPTION, disk.REASON, f"the worker's disk is full: {summary}")
    reason = error.reason if isinstance(error, TensorFleetError) else type(error).__name__
    return Failed(Cause.EXCEPTION, reason, summary)


def _execute(agent: Agent, run: Run) -> Succeeded:
    from tensorfleet.execution import execute

    inputs = [Path(path) for path in run.inputs]
    done = execute(run.operator, run.params, inputs, run.threads, agent.report, Path(run.out))
    return Succeeded(tuple((str(path), ref) for ref, path in done.files), done.summary)


def _settle(stdout: int, stderr: int, order: Fork) -> None:
    """Takes its place: standard streams, limits, and random numbers that its siblings do not share."""
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    sys.stdout, sys.stderr = _writer(1), _writer(2)
    # C's own buffer would else hold a library's lines back until the end, after lines that came later.
    _LIBC.setvbuf(ctypes.c_void_p.in_dll(_LIBC, "stdout"), None, _IOLBF, 0)
    faulthandler.enable()
    sandbox.no_core_dump()
    sandbox.offer_to_kernel()
    if order.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = order.gpus
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if order.memory_limit:
        sandbox.limit_memory(order.memory_limit)


def _writer(descriptor: int) -> TextIO:
    """A new one, since the old one remembers what its descriptor was before."""
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _capture(agent: Agent) -> None:
    """Sends warnings and log records as lines with a stream of their own."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        agent.log("warning", f"{category.__name__}: {message} ({filename}:{lineno})")

    warnings.showwarning = show
    root = logging.getLogger()
    root.handlers = [_LogRecords(agent)]
    root.setLevel(logging.INFO)


class _LogRecords(logging.Handler):
    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self._agent = agent
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._agent.log(record.levelname.lower(), self.format(record))


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def _flush() -> None:
    """Whatever the task printed is with the agent before the agent hears that the task is done."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # the task closed it
    _LIBC.fflush(None)
