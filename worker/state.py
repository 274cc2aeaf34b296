"""What a worker holds and what it still has to say: pure, driven by events, with no clock and no sockets.

The rule: an event changes the state and returns actions; what is to be said is collected when the stream can take it,
and kept until the orchestrator says that it is durable. After a lost stream everything unacknowledged is said again,
in order, and an attempt's end is never said before its reports.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import TypeAlias

from msgspec import Struct

from tensorfleet.model import Cause, LogLine, Point
from worker.messages import Ending, Order

MAX_UNACKED = 1 << 20
"""Bytes of an attempt's unacknowledged reports beyond which its slot is no longer read, so that the training waits."""
MAX_REPORT = 256 * 1024
"""Bytes of points and lines in one report, roughly."""
MAX_BATCH = 1 << 20
"""Bytes of reports in one batch, roughly."""
LOG_TAIL = 50
"""Last lines of a failed attempt that its end tells."""

# --- actions ----------------------------------------------------------------------------------------------------------


class Begin(Struct, frozen=True):
    """Run this on a slot."""

    order: Order


class Prefetch(Struct, frozen=True):
    """This waits for a slot; its inputs may be fetched already."""

    order: Order


class Kill(Struct, frozen=True):
    """End the attempt's process, gently first."""

    token: int


class Pause(Struct, frozen=True):
    """Do not read the attempt's slot."""

    token: int


class Resume(Struct, frozen=True):
    """Read the attempt's slot again."""

    token: int


class Leave(Struct, frozen=True):
    """All is done and said: close the session and exit."""

    code: int


Action: TypeAlias = Begin | Prefetch | Kill | Pause | Resume | Leave

# --- what is said -----------------------------------------------------------------------------------------------------


class Report(Struct, frozen=True):
    """A numbered report of one attempt."""

    token: int
    number: int
    points: tuple[Point, ...]
    lines: tuple[LogLine, ...]
    size: int


class Ended(Struct, frozen=True):
    """An attempt's end; `last_report` is the number of its last report."""

    token: int
    ending: Ending
    last_report: int
    started: bool


class Batch(Struct, frozen=True):
    """What waits to be said, to be sent in the order of the fields."""

    leaving: str = ""
    started: tuple[tuple[int, int], ...] = ()
    released: tuple[int, ...] = ()
    reports: tuple[Report, ...] = ()
    ended: tuple[Ended, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.leaving or self.started or self.released or self.reports or self.ended)


class Holdings(Struct, frozen=True):
    """What a hello tells: the attempts held with whether they began, and the ends that were never acknowledged."""

    held: tuple[tuple[int, bool], ...]
    ended: tuple[Ended, ...]


class Phase(IntEnum):
    QUEUED = 0
    BEGUN = 1
    ENDED = 2


class Attempt:
    """One attempt that the worker holds."""

    __slots__ = (
        "acked", "begun", "ending", "fill", "lines", "number", "order", "paused", "phase", "pid",
        "points", "size", "stopping", "tail", "told_end", "told_start", "unacked", "unsent",
    )  # fmt: skip

    def __init__(self, order: Order) -> None:
        self.order = order
        self.phase = Phase.QUEUED
        self.begun = False
        self.pid = 0
        self.told_start = False
        self.stopping: tuple[Cause, str] | None = None
        self.ending: Ending | None = None
        self.told_end = False
        self.points: list[Point] = []
        self.lines: list[LogLine] = []
        self.fill = 0  # bytes of points and lines that have no number yet
        self.number = 0  # of the last report that has one
        self.acked = 0
        self.unacked: deque[Report] = deque()
        self.unsent = 0  # how many of unacked, from the right, this session has not sent
        self.size = 0  # bytes of unacked
        self.tail: deque[str] = deque(maxlen=LOG_TAIL)
        self.paused = False


class State:
    """A worker's attempts. Methods are events; each returns the actions that follow."""

    def __init__(self, slots: int, max_unacked: int = MAX_UNACKED) -> None:
        self.slots = slots
        self.max_unacked = max_unacked
        self.attempts: dict[int, Attempt] = {}
        self.queue: deque[int] = deque()
        self.busy: set[int] = set()
        self.connected = False
        self.draining = False
        self.left = False
        self.unfit = ""
        """What keeps the machine from taking work for now."""
        self.fitness_told = True
        self._pressing = False  # something else than an end should not wait for company
        self._idling = False  # an end that is not told yet leaves a slot without a next task
        self._unheard = 0  # ends that were told in this session, and not acknowledged yet
        self._leaving = ""
        self._leaving_told = False
        self._released: list[int] = []
        self._dirty: dict[int, None] = {}  # attempts with something to say, in the order they came by it

    # --- the orchestrator speaks

    def welcome(self, keep: Iterable[int], stop: Iterable[int]) -> list[Action]:
        """A session is up. What it says to stop is dropped without a word; all that is unacknowledged is said again."""
        self.connected = True
        actions: list[Action] = [action for token in stop for action in self._drop(token)]
        for attempt in self.attempts.values():
            attempt.told_start = attempt.told_end = False
            attempt.unsent = len(attempt.unacked)
            self._touch(attempt)
        self._leaving_told = False
        self._unheard = 0
        return actions + self._advance()

    def stream_lost(self) -> list[Action]:
        """The session is over; nothing can be said until the next welcome. Releases that it may not have heard of are
        forgotten: the next hello does not hold those attempts."""
        self.connected = False
        self._released.clear()
        return []

    def assign(self, orders: Iterable[Order]) -> list[Action]:
        """Work comes. One that is held already is not taken twice; one that comes while draining or unfit is given
        back."""
        new: list[Order] = []
        for order in orders:
            if order.token in self.attempts:
                continue
            if self.draining or self.unfit:
                self._released.append(order.token)
                self._pressing = True
                continue
            self.attempts[order.token] = Attempt(order)
            self.queue.append(order.token)
            new.append(order)
        actions = self._advance()
        return actions + [Prefetch(order) for order in new if self.attempts[order.token].phase is Phase.QUEUED]

    def cancel(self, tokens: Iterable[int], reason: str) -> list[Action]:
        """Stops attempts; each still says that it ended, so that the orchestrator knows the slot is free."""
        return self._stop(tokens, Cause.CANCELLED, reason)

    def recall(self, tokens: Iterable[int]) -> list[Action]:
        """Gives back what has not begun. What has begun goes on, and its start has been or will be said."""
        for token in tokens:
            attempt = self.attempts.get(token)
            if attempt is not None and attempt.phase is Phase.QUEUED:
                self._forget(token)
                self._released.append(token)
                self._pressing = True
        return self._advance()

    def drain(self, reason: str) -> list[Action]:
        """Takes no more work; leaves when what is held has ended and is acknowledged."""
        self.draining = True
        self._leaving = reason or "drained"
        self._pressing = True
        return self._advance()

    def ack(self, finished: Iterable[int], reports: Mapping[int, int]) -> list[Action]:
        """Forgets what is durable."""
        actions: list[Action] = []
        for token, number in reports.items():
            actions += self._ack_reports(token, number)
        for token in finished:
            attempt = self.attempts.get(token)
            if attempt is not None and attempt.phase is Phase.ENDED:
                self._unheard -= attempt.told_end
                self._forget(token)
        return actions + self._advance()

    # --- the machine speaks

    def fit(self, unfit: str) -> list[Action]:
        """Why no work can be taken for now; empty where it can. What has not begun is given back."""
        if bool(unfit) != bool(self.unfit):
            self.fitness_told = False
            self._pressing = True
        self.unfit = unfit
        return self.recall(list(self.queue)) if unfit else []

    def slot_started(self, token: int, pid: int) -> list[Action]:
        """The attempt runs, in this process."""
        attempt = self.attempts.get(token)
        if attempt is None or attempt.phase is not Phase.BEGUN:
            return []
        attempt.pid = pid
        self._touch(attempt)
        return []

    def slot_report(self, token: int, points: Sequence[Point], lines: Sequence[LogLine]) -> list[Action]:
        """The attempt made points or log lines."""
        attempt = self.attempts.get(token)
        if attempt is None or attempt.phase is not Phase.BEGUN:
            return []
        attempt.points.extend(points)
        attempt.lines.extend(lines)
        attempt.tail.extend(line.text for line in lines)
        attempt.fill += sum(map(_point_size, points)) + sum(map(_line_size, lines))
        if attempt.fill > MAX_REPORT:
            self._number(attempt)
        self._touch(attempt)
        if attempt.size + attempt.fill > self.max_unacked and not attempt.paused:
            attempt.paused = True
            return [Pause(token)]
        return []

    def slot_freed(self, token: int) -> list[Action]:
        """The attempt no longer needs its slot."""
        self.busy.discard(token)
        return self._advance()

    def ended(self, token: int, ending: Ending) -> list[Action]:
        """The attempt ended and its outputs are where they belong. Why it was stopped outweighs how it died."""
        attempt = self.attempts.get(token)
        if attempt is None or attempt.phase is Phase.ENDED:
            return []
        if attempt.stopping is not None and ending.cause is not None:
            cause, message = attempt.stopping
            ending = Ending(
                cause=cause, reason=cause.name, message=message, duration=ending.duration, ended_at=ending.ended_at
            )
        self._end(attempt, ending)
        return self._advance()

    def timed_out(self, token: int, message: str) -> list[Action]:
        """The attempt ran longer than it may."""
        return self._stop([token], Cause.TIMEOUT, message)

    def leave_now(self, reason: str) -> list[Action]:
        """The worker was told to go: what has not begun is given back, what runs ends, and its tasks go elsewhere."""
        self.recall(list(self.queue))
        self.draining = True
        self._leaving = reason
        self._pressing = True
        return self._stop(list(self.attempts), Cause.LOST_WORKER, reason)

    # --- what is to be said

    @property
    def pressing(self) -> bool:
        """Whether what is to be said should not wait for company.

        An end that leaves a slot idle goes at once where all before it were heard; else when they are: so whoever is
        slow to hear is told much at a time.
        """
        return self._pressing or (self._idling and self._unheard == 0)

    def holdings(self) -> Holdings:
        """What a hello tells. An attempt that ended with reports unacknowledged is told as held: they come first."""
        held, ended = [], []
        for token, attempt in self.attempts.items():
            if attempt.phase is Phase.ENDED and not attempt.unacked and not attempt.fill:
                ended.append(self._ended(attempt))
            else:
                held.append((token, attempt.begun))
        return Holdings(tuple(held), tuple(ended))

    def collect(self) -> Batch:
        """Takes what waits to be said: all of it, up to a bound on the bytes of reports. Empty while not connected."""
        if not self.connected:
            return Batch()
        started: list[tuple[int, int]] = []
        reports: list[Report] = []
        ended: list[Ended] = []
        room = MAX_BATCH
        self._pressing = self._idling = False
        for token in list(self._dirty):
            attempt = self.attempts[token]
            if attempt.pid and not attempt.told_start and attempt.phase is not Phase.ENDED:
                attempt.told_start = True
                started.append((token, attempt.pid))
            room -= self._collect_reports(attempt, reports, room)
            if attempt.unsent or attempt.fill:
                continue
            if attempt.phase is Phase.ENDED and not attempt.told_end:
                attempt.told_end = True
                self._unheard += 1
                ended.append(self._ended(attempt))
            del self._dirty[token]
        leaving = "" if self._leaving_told else self._leaving
        self._leaving_told = self._leaving_told or bool(leaving)
        released, self._released = tuple(self._released), []
        return Batch(leaving, tuple(started), released, tuple(reports), tuple(ended))

    def running(self) -> list[tuple[int, int]]:
        """Token and process of each attempt that runs."""
        return [
            (token, attempt.pid)
            for token, attempt in self.attempts.items()
            if attempt.phase is Phase.BEGUN and attempt.pid
        ]

    # --- within

    def _advance(self) -> list[Action]:
        """Begins what has a slot; leaves when a drained worker holds nothing."""
        actions: list[Action] = []
        while self.queue and len(self.busy) < self.slots:
            token = self.queue.popleft()
            attempt = self.attempts[token]
            attempt.phase, attempt.begun = Phase.BEGUN, True
            self.busy.add(token)
            actions.append(Begin(attempt.order))
        if self.draining and not self.left and not self.attempts and not self.busy:
            self.left = True
            actions.append(Leave(0))
        return actions

    def _stop(self, tokens: Iterable[int], cause: Cause, message: str) -> list[Action]:
        actions: list[Action] = []
        for token in tokens:
            attempt = self.attempts.get(token)
            if attempt is None or attempt.stopping is not None or attempt.phase is Phase.ENDED:
                continue
            attempt.stopping = (cause, message)
            if attempt.phase is Phase.QUEUED:
                self.queue.remove(token)
                self._end(attempt, Ending(cause=cause, reason=cause.name, message=message))
            else:
                actions.append(Kill(token))
        return actions + self._advance()

    def _end(self, attempt: Attempt, ending: Ending) -> None:
        if ending.cause is not None:
            ending = _with_tail(ending, tuple(attempt.tail))
        attempt.phase, attempt.ending = Phase.ENDED, ending
        self._idling = self._idling or len(self.queue) < self.slots
        self._touch(attempt)

    def _drop(self, token: int) -> list[Action]:
        if token not in self.attempts:
            return []
        running = self.attempts[token].phase is Phase.BEGUN
        self._forget(token)
        return [Kill(token)] if running else []

    def _forget(self, token: int) -> None:
        attempt = self.attempts.pop(token)
        self._dirty.pop(token, None)
        if attempt.phase is Phase.QUEUED:
            self.queue.remove(token)

    def _touch(self, attempt: Attempt) -> None:
        self._dirty[attempt.order.token] = None

    def _ended(self, attempt: Attempt) -> Ended:
        assert attempt.ending is not None
        return Ended(attempt.order.token, attempt.ending, attempt.number, attempt.begun)

    def _number(self, attempt: Attempt) -> None:
        """Makes one report of the points and lines that wait."""
        attempt.number += 1
        report = Report(attempt.order.token, attempt.number, tuple(attempt.points), tuple(attempt.lines), attempt.fill)
        attempt.unacked.append(report)
        attempt.unsent += 1
        attempt.size += attempt.fill
        attempt.points, attempt.lines, attempt.fill = [], [], 0

    def _collect_reports(self, attempt: Attempt, into: list[Report], room: int) -> int:
        if attempt.fill and room > 0:
            self._number(attempt)
        taken = 0
        while attempt.unsent and taken < room:
            report = attempt.unacked[-attempt.unsent]
            attempt.unsent -= 1
            taken += report.size
            into.append(report)
        return taken

    def _ack_reports(self, token: int, number: int) -> list[Action]:
        attempt = self.attempts.get(token)
        if attempt is None:
            return []
        while attempt.unacked and attempt.unacked[0].number <= number:
            attempt.size -= attempt.unacked.popleft().size
        attempt.unsent = min(attempt.unsent, len(attempt.unacked))
        attempt.acked = max(attempt.acked, number)
        if attempt.paused and attempt.size + attempt.fill <= self.max_unacked // 2:
            attempt.paused = False
            return [Resume(token)]
        return []


def _with_tail(ending: Ending, tail: tuple[str, ...]) -> Ending:
    return Ending(
        cause=ending.cause,
        reason=ending.reason,
        message=ending.message,
        log_tail=tail,
        duration=ending.duration,
        ended_at=ending.ended_at,
    )


def _point_size(point: Point) -> int:
    return 24 + len(point.series)


def _line_size(line: LogLine) -> int:
    return 32 + len(line.text)
