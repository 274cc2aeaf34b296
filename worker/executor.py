"""One slot process from the agent's side: the pipe of its orders, its socket, and the pipes of what it prints.

The rule: what a task said is passed on before it is said that the task ended, and while the slot is held nothing is
read, so that a task with too much to say waits.
"""

import asyncio
import mmap
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias

import msgspec

from tensorfleet.logs import Logger
from tensorfleet.model import LogLine
from worker.messages import EMPTY, ENDS, Framer, FromSlot, Lines, Members, frame, from_slot
from worker.prints import MOST_READS, READ, Prints
from worker.words import LOADED, PAGE, SAVES, TOKEN, WISH, Wish

log = Logger(__name__)

LAST_LINES = 20

Said: TypeAlias = list[FromSlot]


class Listener(Protocol):
    """Who hears of a slot's process."""

    def said(self, slot: "Executor", messages: Said) -> None:
        """What it said, in order."""

    def disconnected(self, slot: "Executor") -> None:
        """It has closed its socket, or makes no sense."""


class Executor:
    """The agent's hold on one slot process, from before it is forked. warm: it has the numerics."""

    def __init__(self, number: int, listener: Listener, *, warm: bool) -> None:
        self.number = number
        self.warm = warm
        self.pid = 0
        self.taken = 0
        """Orders that it was given and did not give back."""
        self.ended = self.seen = 0
        """Orders that it ended, and how many those were when somebody last looked."""
        self.idle_since = 0.0
        """Since when it was seen to have nothing to do."""
        self.killed = False
        self.last_errors: deque[str] = deque(maxlen=LAST_LINES)
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._framer = Framer()
        self._reading = self._closed = False
        self.connection, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.setblocking(False)
        self._orders, self._orders_out = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        shared = os.memfd_create("prints", os.MFD_CLOEXEC)
        os.truncate(shared, PAGE)
        page = self._page = memoryview(mmap.mmap(shared, PAGE)).cast("Q")
        self._unsent = b""
        self._outputs: list[Prints] = []
        far_outputs: list[int] = []
        for place, stream in enumerate(("stdout", "stderr")):
            near, far_output = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(near, False)
            self._outputs.append(Prints(stream, near, page, place))
            far_outputs.append(far_output)
        self._far = [far.detach(), *far_outputs, shared]

    def hand_over(self, send: Callable[[list[int]], None]) -> None:
        """Gives the process to be its ends, as `slot.Ends` has them, and closes here what is its alone."""
        try:
            send([*self._far, *(prints.descriptor for prints in self._outputs), self._orders_out.fileno()])
        finally:
            for descriptor in self._far:
                os.close(descriptor)

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do."""
        return self.ended == self.taken

    # --- orders

    def give(self, packets: Sequence[bytes]) -> int:
        """Puts orders into the pipe, as far as there is room; says how many."""
        count = 0
        try:
            for packet in packets:
                self._orders.send(packet, socket.MSG_DONTWAIT)
                count += 1
        except BlockingIOError:
            pass
        self.taken += count
        return count

    def take_back(self) -> int:
        """Takes out of the pipe what the process has not taken; says how many orders that were."""
        count = 0
        try:
            while self._orders_out.recv(1, socket.MSG_DONTWAIT):
                count += 1
        except BlockingIOError:
            pass
        self.taken -= count
        return count

    # --- what is wanted of what it runs

    @property
    def loaded(self) -> bool:
        """Whether its process has loaded what takes seconds to load."""
        return bool(self._page[LOADED])

    def steer(self, token: int, wish: Wish, saves: int) -> None:
        """Has it know what is wanted of an attempt, and how often that is to have saved by now."""
        page = self._page
        if page[TOKEN] != token:  # what was wanted of another is not wanted of this one
            page[WISH] = page[SAVES] = 0
            page[TOKEN] = token
        page[SAVES], page[WISH] = saves, wish
        if not self._unsent:  # else there is something to wake up by
            self._send(EMPTY)

    def tell(self, members: Members) -> None:
        self._send(frame(members))

    def _send(self, data: bytes) -> None:
        """Sends now what there is room for, and the rest once there is more."""
        waited = bool(self._unsent)
        self._unsent += data
        try:
            while self._unsent:
                self._unsent = self._unsent[self.connection.send(self._unsent, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            if not waited:
                self._loop.add_writer(self.connection, self._send, b"")
            return
        except OSError:
            self._unsent = b""  # it is gone, as the next read tells
        if waited:
            self._loop.remove_writer(self.connection)

    # --- what it says

    def listen(self) -> None:
        """Reads what comes."""
        if self._reading or self._closed:
            return
        self._reading = True
        self._loop.add_reader(self.connection, self._read_messages)
        for prints in self._outputs:
            self._loop.add_reader(prints.descriptor, self._read_output, prints)

    def hold(self) -> None:
        """Reads no more, so that the task waits as soon as it has more to say."""
        if not self._reading:
            return
        self._reading = False
        self._loop.remove_reader(self.connection)
        for prints in self._outputs:
            self._loop.remove_reader(prints.descriptor)

    def close(self) -> None:
        """Reads what is still there, and lets go of all but the orders."""
        if self._closed:
            return
        self.hold()
        self._closed = True
        self._loop.remove_writer(self.connection)
        for _ in range(MOST_READS):
            if not self._read_messages():
                break
        self._pass_on([(prints.stream, prints.rest()) for prints in self._outputs])
        self.connection.close()
        for prints in self._outputs:
            os.close(prints.descriptor)
        self._outputs.clear()

    def close_orders(self) -> None:
        self._orders.close()
        self._orders_out.close()

    def _read_messages(self) -> bool:
        """Reads once; False where there was nothing more to read."""
        try:
            data = self.connection.recv(READ)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        try:
            messages: Said = [from_slot.decode(payload) for payload in self._framer.feed(data)]
        except msgspec.MsgspecError as error:
            log.warning("a slot's message makes no sense; the task wrote over it", pid=self.pid, error=str(error))
            data = b""
        else:
            self._hear(messages)
        if not data:
            if self._reading:
                self._loop.remove_reader(self.connection)
                self._listener.disconnected(self)
            return False
        return len(data) == READ

    def _hear(self, messages: Said) -> None:
        if not messages:
            return
        said: Said = []
        for message in messages:
            if isinstance(message, ENDS):
                self.ended += 1
                if message.printed is not None:
                    counts = zip(self._outputs, message.printed, strict=True)
                    said.extend(self._lines([(prints.stream, prints.up_to(count)) for prints, count in counts]))
            said.append(message)
        self._listener.said(self, said)

    # --- what it prints

    def _read_output(self, prints: Prints) -> None:
        """Reads once what was printed. Whose it is shows only once all is heard of who ended before."""
        if prints.read() == 0:
            self._loop.remove_reader(prints.descriptor)
        for _ in range(MOST_READS):
            if not self._reading:
                return
            if not self._read_messages():
                self._pass_on([(prints.stream, prints.so_far()) for prints in self._outputs])
                return

    def _pass_on(self, texts: list[tuple[str, list[str]]]) -> None:
        lines = list(self._lines(texts))
        if lines:
            self._listener.said(self, lines)

    def _lines(self, printed: list[tuple[str, list[str]]]) -> Iterator[FromSlot]:
        now = time.time()
        for stream, texts in printed:
            if stream == "stderr":
                self.last_errors.extend(texts)
            if texts:
                yield Lines(tuple(LogLine(now, stream, text) for text in texts))
