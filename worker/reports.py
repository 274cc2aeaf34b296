"""What one attempt has reported and what of it is not durable yet.

The rule: a report gets its number when it is said for the first time, is said again under that number after a lost
stream, and is kept until it is durable.
"""

from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from tensorfleet.model import LogLine, Points

MAX_REPORT = 256 * 1024
"""Bytes of points and lines in one report, roughly."""
LOG_TAIL = 50
"""Last lines of a failed attempt that its end tells."""


class Report(Struct, frozen=True):
    """A numbered report of one attempt."""

    token: int
    number: int
    points: Points
    lines: tuple[LogLine, ...]
    size: int


class Reports:
    """An attempt's reports, from its slot to their acknowledgement."""

    __slots__ = ("_fill", "_lines", "_points", "_size", "_token", "_unacked", "_unsent", "number", "paused", "tail")

    def __init__(self, token: int) -> None:
        self.number = 0  # of the last report that has one
        self.paused = False
        self.tail: deque[str] = deque(maxlen=LOG_TAIL)
        self._token = token
        self._points: list[Points] = []
        self._lines: list[LogLine] = []
        self._fill = 0  # bytes of points and lines that have no number yet
        self._unacked: deque[Report] = deque()
        self._unsent = 0  # how many of the unacknowledged, from the right, this session has not sent
        self._size = 0  # bytes of the unacknowledged

    @property
    def held(self) -> int:
        """Bytes that are not durable yet."""
        return self._size + self._fill

    @property
    def unsaid(self) -> bool:
        return bool(self._unsent or self._fill)

    def add(self, points: Points, lines: Sequence[LogLine]) -> None:
        if points:
            self._points.append(points)
        self._lines.extend(lines)
        self.tail.extend(line.text for line in lines)
        self._fill += _points_size(points) + sum(map(_line_size, lines))
        if self._fill > MAX_REPORT:
            self._close()

    def collect(self, into: list[Report], room: int) -> int:
        """Takes what this session has not said yet, as far as there is room; gives the bytes that it took."""
        if self._fill and room > 0:
            self._close()
        taken = 0
        while self._unsent and taken < room:
            report = self._unacked[-self._unsent]
            self._unsent -= 1
            taken += report.size
            into.append(report)
        return taken

    def ack(self, number: int) -> None:
        """Forgets what is durable."""
        while self._unacked and self._unacked[0].number <= number:
            self._size -= self._unacked.popleft().size
        self._unsent = min(self._unsent, len(self._unacked))

    def begin_session(self) -> None:
        """All that is unacknowledged is to be said again."""
        self._unsent = len(self._unacked)

    def _close(self) -> None:
        """Makes one report of the points and lines that wait."""
        self.number += 1
        report = Report(self._token, self.number, Points.joined(self._points), tuple(self._lines), self._fill)
        self._unacked.append(report)
        self._unsent += 1
        self._size += self._fill
        self._points, self._lines, self._fill = [], [], 0


def _points_size(points: Points) -> int:
    return 24 * len(points) + sum(map(len, points.names))


def _line_size(line: LogLine) -> int:
    return 32 + len(line.text)
