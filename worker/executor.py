"""One slot process from the agent's side: its socket, and the pipes of what it prints.

The rule: what a task said is passed on before it is said that the task ended, and while the slot is held nothing is
read, so that a task with too much to say waits.
"""

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from tensorfleet.logs import Logger
from tensorfleet.model import LogLine, Point
from worker.messages import Died, Failed, Framer, LineCutter, Lines, Points, Succeeded, from_slot

log = Logger(__name__)

READ = 1 << 16
MOST_READS = 64
"""Reads in a row of one pipe, at most: a process that never stops printing must not keep the agent."""
LAST_LINES = 20

Outcome: TypeAlias = Succeeded | Failed | Died
Heard: TypeAlias = Callable[[Sequence[Point], Sequence[LogLine]], None]


class Running:
    """The task that a slot runs: who hears what it reports, and its outcome to come."""

    def __init__(self, heard: Heard, outcome: asyncio.Future[Outcome]) -> None:
        self.heard = heard
        self.outcome = outcome
        self.killed = False

    def conclude(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Executor:
    """The agent's hold on one slot process."""

    def __init__(self, number: int, gone: Callable[["Executor"], None]) -> None:
        self.number = number
        self.pid = 0
        self.running: Running | None = None
        self.done = 0
        self.last_errors: deque[str] = deque(maxlen=LAST_LINES)
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._framer = Framer()
        self._unsent = bytearray()
        self._reading = False
        self.connection, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.setblocking(False)
        self._outputs: dict[int, tuple[str, LineCutter]] = {}
        self._far_outputs: list[int] = []
        for stream in ("stdout", "stderr"):
            near, far = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(near, False)
            self._outputs[near] = (stream, LineCutter())
            self._far_outputs.append(far)

    def hand_over(self, send: Callable[[list[int]], None]) -> None:
        """Gives the far ends to the process to be, and closes them here."""
        try:
            send([self._far.fileno(), *self._far_outputs])
        finally:
            self._far.close()
            for descriptor in self._far_outputs:
                os.close(descriptor)

    def listen(self) -> None:
        """Reads what comes."""
        if self._reading or not self._outputs:
            return
        self._reading = True
        self._loop.add_reader(self.connection, self._read_messages)
        for descriptor in self._outputs:
            self._loop.add_reader(descriptor, self._read_output, descriptor)

    def hold(self) -> None:
        """Reads no more, so that the task waits as soon as it has more to say."""
        if not self._reading:
            return
        self._reading = False
        self._loop.remove_reader(self.connection)
        for descriptor in self._outputs:
            self._loop.remove_reader(descriptor)

    def send(self, data: bytes) -> None:
        """Sends, as fast as the process takes it. One that is gone takes nothing; how it ended is heard elsewhere."""
        self._unsent += data
        self._write()

    def close(self) -> None:
        """Reads what is still there, and lets go."""
        self.hold()
        if not self._outputs:
            return
        for _ in range(MOST_READS):
            if not self._read_messages():
                break
        self._drain_outputs()
        self._loop.remove_writer(self.connection)
        self.connection.close()
        for descriptor in self._outputs:
            os.close(descriptor)
        self._outputs.clear()

    def _write(self) -> None:
        try:
            del self._unsent[: self.connection.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()
        if self._unsent:
            self._loop.add_writer(self.connection, self._write)
        else:
            self._loop.remove_writer(self.connection)

    def _read_messages(self) -> bool:
        try:
            data = self.connection.recv(READ)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        try:
            for payload in self._framer.feed(data):
                self._hear(from_slot.decode(payload))
        except msgspec.MsgspecError as error:
            log.warning("a slot's message makes no sense; the task wrote over it", pid=self.pid, error=str(error))
            data = b""
        if not data:
            if self._reading:
                self._loop.remove_reader(self.connection)
                self._gone(self)
            return False
        return True

    def _hear(self, message: Points | Lines | Succeeded | Failed) -> None:
        if self.running is None:
            return
        if isinstance(message, Points):
            self.running.heard(message.points, ())
        elif isinstance(message, Lines):
            self.running.heard((), message.lines)
        else:
            self._drain_outputs()
            self.running.conclude(message)

    def _read_output(self, descriptor: int) -> bool:
        try:
            data = os.read(descriptor, READ)
        except BlockingIOError:
            return False
        if not data:
            if self._reading:
                self._loop.remove_reader(descriptor)
            return False
        stream, cutter = self._outputs[descriptor]
        self._pass_on(stream, cutter.feed(data))
        return True

    def _drain_outputs(self) -> None:
        for descriptor, (stream, cutter) in self._outputs.items():
            for _ in range(MOST_READS):
                if not self._read_output(descriptor):
                    break
            self._pass_on(stream, cutter.rest())

    def _pass_on(self, stream: str, texts: list[str]) -> None:
        if not texts:
            return
        if stream == "stderr":
            self.last_errors.extend(texts)
        if self.running is None:
            log.debug("an idle slot said something", pid=self.pid, lines=texts)
            return
        now = time.time()
        self.running.heard((), [LogLine(now, stream, text) for text in texts])
