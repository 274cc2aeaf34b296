"""What a slot prints, cut into lines and shared out among its tasks.

The rule: a line belongs to the task that printed it, although a slot goes on to its next task before its agent has
read what the last one printed. So the slot tells with a task's end how much was printed by then: it counts what is in
the pipe, and the agent counts, in a page of memory that both have, what it has read. While it reads, the count is busy.
"""

import fcntl
import os
import sys
import termios
import time

BUSY, ONE = 1, 2
"""In a counter of the page: that bytes are being read, and one byte that was."""
READ = 1 << 16
MOST_READS = 64
"""Reads in a row of one pipe, at most: a process that never stops printing must not keep the agent."""
SHORTLY = 0.00005
"""Seconds that a read may take."""
_NUMBER = bytes(4)

LONGEST_LINE = 8192
"""Bytes of a log line, at most; what is longer is cut into several."""


class LineCutter:
    """Cuts a stream of bytes into lines of text. Of a line redrawn with carriage returns, the last drawing counts."""

    def __init__(self) -> None:
        self._waiting = b""

    def feed(self, data: bytes) -> list[str]:
        *whole, self._waiting = (self._waiting + data).split(b"\n")
        lines = [piece for line in whole for piece in _pieces(line)]
        while len(self._waiting) > LONGEST_LINE:
            lines.append(_text(self._waiting[:LONGEST_LINE]))
            self._waiting = self._waiting[LONGEST_LINE:]
        return lines

    def rest(self) -> list[str]:
        """What waits for a line end that will not come."""
        line, self._waiting = self._waiting, b""
        return _pieces(line) if line else []


def _pieces(line: bytes) -> list[str]:
    shown = line.rstrip(b"\r").rsplit(b"\r", 1)[-1]
    return [_text(shown[at : at + LONGEST_LINE]) for at in range(0, max(len(shown), 1), LONGEST_LINE)]


def _text(line: bytes) -> str:
    return line.decode(errors="backslashreplace")


class Prints:
    """One of a slot's two streams, from its pipe on. place: of its counter in the page that slot and agent share."""

    def __init__(self, stream: str, descriptor: int, page: memoryview, place: int) -> None:
        self.stream = stream
        self.descriptor = descriptor
        self._page = page
        self._place = place
        self._cutter = LineCutter()
        self._unread = b""
        self._taken = 0  # bytes that have a task

    def read(self, most: int = READ) -> int | None:
        """Reads once; says how many bytes, 0 at the end, None where there are none yet."""
        counted = self._page[self._place]
        self._page[self._place] = counted | BUSY
        size = 0
        try:
            data = os.read(self.descriptor, most)
            size = len(data)
            self._unread += data
        except BlockingIOError:
            return None
        finally:
            self._page[self._place] = counted + size * ONE
        return size

    def up_to(self, count: int) -> list[str]:
        """The lines up to where so many bytes were printed, which are in the pipe; a task ended there.

        No more is read than that: of what is behind it, it is not known yet whose it is.
        """
        while (lacking := count - self._taken - len(self._unread)) > 0 and self.read(min(lacking, READ)):
            pass
        size = max(count - self._taken, 0)
        printed, self._unread = self._unread[:size], self._unread[size:]
        self._taken += len(printed)
        return self._cutter.feed(printed) + self._cutter.rest()

    def so_far(self) -> list[str]:
        """The lines that were read, where it is known that all of them are of the task that runs."""
        printed, self._unread = self._unread, b""
        self._taken += len(printed)
        return self._cutter.feed(printed)

    def rest(self) -> list[str]:
        """All that is left of a slot that will print no more."""
        for _ in range(MOST_READS):
            if not self.read():
                break
        return self.so_far() + self._cutter.rest()


def printed(page: memoryview, place: int, descriptor: int) -> int:
    """How many bytes went into a pipe so far: what was read and what is in it, counted between two reads."""
    while True:
        counted = page[place]
        if not counted & BUSY:
            waiting = int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, _NUMBER), sys.byteorder)
            if page[place] == counted:
                return counted // ONE + waiting
        time.sleep(SHORTLY)
