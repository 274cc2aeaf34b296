"""The process that trains: takes one task at a time from its agent, runs it, and says what came of it.

The rule: one thread does what it is told, and keeps nothing but the points of a moment. It takes an order out of its
pipe only when the end of the one before was told. All it prints goes to the agent by pipes that only the agent reads,
so that even a crash's last words arrive.
"""

import ctypes
import faulthandler
import logging
import mmap
import os
import select
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, time
from types import FrameType
from typing import NamedTuple, TextIO
from warnings import catch_warnings

from tensorfleet.errors import BadInput, TensorFleetError
from tensorfleet.model import Cause, LogLine
from tensorfleet.operators import PeerLost, Unsuited
from worker import disk, numerics, sandbox
from worker.control import Line, Parted, Reached
from worker.measured import PointsOut
from worker.messages import (
    MAX_MESSAGE,
    TOKEN_BYTES,
    Failed,
    Fork,
    FromSlot,
    GaveUp,
    Lines,
    Run,
    Succeeded,
    Unfit,
    encode,
    frame,
    to_slot,
)
from worker.prints import printed
from worker.words import LOADED, PAGE

_LIBC = ctypes.CDLL(None)
_IOLBF = 1
"""Of stdio.h: a line at a time."""
TRACEBACK_LINES = 40
"""Last lines of a traceback that are logged."""


class Stopped(BaseException):
    """The agent wants the task to end; what is open is closed on the way out."""


class AgentGone(BaseException):
    """The agent's socket is closed: there is nobody to work for."""


class Ends(NamedTuple):
    """Its descriptors: socket, standard output and error, the page where the agent counts what it has read of these,
    the ends that it reads them from, and orders."""

    connection: int
    stdout: int
    stderr: int
    page: int
    printed: int
    printed_errors: int
    orders: int


class Agent:
    """The slot's ends of what is between it and its agent."""

    def __init__(self, ends: Ends) -> None:
        self._connection = socket.socket(fileno=ends.connection)
        self._orders = socket.socket(fileno=ends.orders)
        self._stdout, self._stderr = ends.stdout, ends.stderr
        self._page = memoryview(mmap.mmap(ends.page, PAGE)).cast("Q")
        self._unread = select.poll()
        self._unread.register(ends.printed, select.POLLIN)
        self._unread.register(ends.printed_errors, select.POLLIN)
        self._printed, self._counted = (0, 0), (0, 0)
        self._points = PointsOut(self._send)

    @property
    def page(self) -> memoryview:
        return self._page

    def next_order(self) -> bytes:
        """Waits for the next order; empty where there will be none."""
        return self._orders.recv(MAX_MESSAGE)

    def printed(self) -> tuple[int, int] | None:
        """How much was printed so far; None where that is as much as when this was last asked."""
        page = self._page
        if not self._unread.poll(0) and (page[0], page[1]) == self._counted:  # nothing is in the pipes, nor was read
            return None
        self._counted, before = (page[0], page[1]), self._printed
        self._printed = printed(page, 0, self._stdout), printed(page, 1, self._stderr)
        return self._printed if self._printed != before else None

    def say(self, message: FromSlot) -> None:
        self.send(frame(message))

    def send(self, data: bytes) -> None:
        """Sends; waits while the agent does not read, which is how a full buffer slows the training."""
        try:
            with self._points.lock:
                self._points.say()
                self._send(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise AgentGone from error

    def _send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def hear(self) -> bytes:
        """Waits for bytes of the agent's."""
        try:
            data = self._connection.recv(MAX_MESSAGE)
        except ConnectionResetError:
            data = b""
        if not data:
            raise AgentGone
        return data

    def report(self, series: str, step: int, value: float) -> None:
        try:
            self._points.add(series, int(step), float(value))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise AgentGone from error

    def log(self, stream: str, text: str) -> None:
        now = time()
        self.say(Lines(tuple(LogLine(now, stream, line) for line in text.splitlines())))


def main(descriptors: Sequence[int], order: Fork) -> None:
    """Becomes a slot, and serves until its agent is gone or it has run as many tasks as it may."""
    ends = Ends(*descriptors)
    for descriptor in ends:
        os.set_inheritable(descriptor, False)
    agent = Agent(ends)
    _settle(ends, order)
    _capture(agent)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tasks = Tasks(agent)
    done = 0
    try:
        while packet := agent.next_order():
            agent.send(tasks.perform(packet))
            done += 1
            if tasks.unfit or (order.max_tasks and done >= order.max_tasks):
                return
    except (AgentGone, Stopped):
        return


class Tasks:
    """Runs one task after another, and keeps what they may have in common: what orders say but for their tokens, and
    how many threads they have. unfit: whether the process can run no more of them."""

    def __init__(self, agent: Agent) -> None:
        from tensorfleet.execution import Pools, execute

        self.unfit = False
        self._agent = agent
        self._line = Line(agent.page, agent.say, agent.hear, lambda text: agent.log("warning", text))
        self._execute, self._pools = execute, Pools()
        self._encoded = b""
        self._run = Run("", {}, (), 1, "")
        self._inputs: list[Path] = []

    def perform(self, packet: bytes) -> bytes:
        """Runs one task and gives the message that says how it ended; whatever the task raises ends here."""
        begun = perf_counter()
        try:
            encoded = packet[TOKEN_BYTES:]
            if encoded != self._encoded:
                self._read(encoded)
            run = self._run
            token = int.from_bytes(packet[:TOKEN_BYTES], "big")
            out = f"{run.scratch}/{token}"
            with catch_warnings():  # so that a warning that an earlier task gave is given again
                done = self._execute(
                    run.operator,
                    run.params,
                    self._inputs,
                    run.threads,
                    self._agent.report,
                    out,
                    self._pools,
                    Reached(self._line, token, out),
                    Path(run.saved) if run.saved else None,
                )
            outputs = tuple([(str(path), ref) for ref, path in done.files])
            if done.summary:
                encode(done.summary)  # it fails here, before it is said that all went well
            _flush()
            return frame(Succeeded(perf_counter() - begun, self._agent.printed(), outputs, done.summary, time()))
        except (Stopped, AgentGone):
            raise
        except Parted as parted:
            _flush()
            return frame(GaveUp(parted.saved, perf_counter() - begun, self._agent.printed(), time()))
        except Unsuited as unsuited:
            self.unfit = True
            _flush()
            return frame(Unfit(str(unsuited), perf_counter() - begun, self._agent.printed(), time()))
        except BaseException as error:
            failure = _failure(self._agent, error)
            _flush()
            return frame(Failed(*failure, perf_counter() - begun, self._agent.printed(), time()))
        finally:
            if numerics.slow_to_load():
                self._agent.page[LOADED] = 1

    def _read(self, encoded: bytes) -> None:
        """Takes in an order that is not like the one before it."""
        self._encoded, self._run = b"", _decoded(encoded)
        self._encoded, self._inputs = encoded, [Path(path) for path in self._run.inputs]


def _decoded(encoded: bytes) -> Run:
    order = to_slot.decode(encoded)
    if isinstance(order, Run):
        return order
    stored = Path(order.path)
    run = to_slot.decode(stored.read_bytes())
    stored.unlink()
    assert isinstance(run, Run)
    return run


def _failure(agent: Agent, error: BaseException) -> tuple[Cause, str, str]:
    """Cause, reason and message of what a task raised, whose traceback is logged where it says more."""
    if isinstance(error, BadInput):
        return Cause.BAD_INPUT, error.reason, error.message
    if isinstance(error, SystemExit):
        return Cause.EXCEPTION, "SystemExit", f"the task left by itself: SystemExit: {error.code}"
    if isinstance(error, PeerLost):
        return Cause.LOST_WORKER, "PEER_LOST", str(error)
    lines = "".join(traceback.format_exception(error)).splitlines()
    agent.log("error", "\n".join(lines[-TRACEBACK_LINES:]))
    summary = "".join(traceback.format_exception_only(error)).strip()
    if isinstance(error, MemoryError):
        return Cause.OUT_OF_MEMORY, "MEMORY_LIMIT", f"the task ran out of memory: {error}".rstrip(": ")
    if disk.is_full(error):
        return Cause.EXCEPTION, disk.REASON, f"the worker's disk is full: {summary}"
    reason = error.reason if isinstance(error, TensorFleetError) else type(error).__name__
    return Cause.EXCEPTION, reason, summary


def _settle(ends: Ends, order: Fork) -> None:
    """Takes its place: standard streams, limits, and random numbers that its siblings do not share."""
    os.dup2(ends.stdout, 1)
    os.dup2(ends.stderr, 2)
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
