"""What a worker has to say, until its stream can take it.

The rule: an attempt's end is never said before its reports, and ends travel together: the next are said when those
before them were heard. A slot whose task reports more than is taken off is not read for a while.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from tensorfleet.model import LogLine, Points
from worker.actions import Action, Pause, Resume
from worker.lanes import Attempt, Lane, Lanes, Phase
from worker.messages import Blob, Ending
from worker.reports import Report, Reports

MAX_BATCH = 1 << 20
"""Bytes of reports in one batch, roughly."""
MAX_UNACKED = 1 << 20
"""Bytes of an attempt's unacknowledged reports beyond which its slot is no longer read, so that the training waits."""


class Ended(Struct, frozen=True):
    """An attempt's end; `last_report` is the number of its last report."""

    token: int
    ending: Ending
    last_report: int
    started: bool


class Holdings(Struct, frozen=True):
    """What a hello tells: the attempts held with whether they began, and the ends that were never acknowledged."""

    held: tuple[tuple[int, bool], ...]
    ended: tuple[Ended, ...]


class Batch(Struct, frozen=True):
    """What is said together, in the order of the fields.

    started: tokens with their processes. saved: what running attempts saved. ready: members of gangs, with where they
    listen. succeeded: those with nothing to tell but the seconds that each ran.
    """

    leaving: str = ""
    started: Sequence[tuple[int, int]] = ()
    released: Sequence[int] = ()
    reports: Sequence[Report] = ()
    saved: Sequence[tuple[int, Blob]] = ()
    ready: Sequence[tuple[int, str]] = ()
    ended: Sequence[Ended] = ()
    succeeded: Sequence[int] = ()
    seconds: Sequence[float] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in _TOLD)


_TOLD = ("succeeded", "ended", "reports", "started", "released", "leaving", "saved", "ready")


class Outbox:
    """Keeps its own account of what this session was told; what an attempt itself has to tell stays with it."""

    def __init__(self, max_unacked: int = MAX_UNACKED) -> None:
        self._max_unacked = max_unacked
        self._hurried = False  # something else than an end should not wait for company
        self._unheard = 0  # ends that were told in this session, and not acknowledged yet
        self._leaving = ""
        self._leaving_told = False
        self._released: list[int] = []
        self._reported: dict[int, Attempt] = {}  # attempts with reports to say, in the order they came by them
        self._ended: list[Attempt] = []
        self._saved: dict[int, Attempt] = {}
        self._ready: dict[int, Attempt] = {}

    def leave(self, reason: str) -> None:
        self._leaving = reason
        self._hurried = True

    def hurry(self) -> None:
        """There is something that should not wait."""
        self._hurried = True

    def release(self, token: int) -> None:
        self._released.append(token)
        self._hurried = True

    def report(self, lane: Lane, points: Points, lines: Sequence[LogLine], actions: list[Action]) -> None:
        """What a slot runs has reported."""
        attempt = lane.given[0]
        if attempt.dropped:
            return
        if attempt.reports is None:
            attempt.reports = Reports(attempt.order.token)
        attempt.reports.add(points, lines)
        self._reported[attempt.order.token] = attempt
        if attempt.reports.held > self._max_unacked and not attempt.reports.paused:
            attempt.reports.paused = lane.paused = True
            actions.append(Pause(lane.number))

    def ack(self, attempt: Attempt, number: int, actions: list[Action]) -> None:
        """An attempt's reports are durable up to this number."""
        reports, lane = attempt.reports, attempt.lane
        if reports is None:
            return
        reports.ack(number)
        if not reports.paused or reports.held > self._max_unacked // 2:
            return
        reports.paused = False
        if lane is not None:
            lane.paused = False
            actions.append(Resume(lane.number))

    def save(self, attempt: Attempt) -> None:
        self._saved[attempt.order.token] = attempt
        self._hurried = True

    def ready(self, attempt: Attempt) -> None:
        self._ready[attempt.order.token] = attempt
        self._hurried = True

    def end(self, attempt: Attempt) -> None:
        self._ended.append(attempt)

    def durable(self, attempts: Iterable[Attempt]) -> None:
        """The ends of these were heard, and nothing is to be said of them any more."""
        for attempt in attempts:
            if attempt.told_end:
                self._unheard -= 1
            else:
                self._ended.remove(attempt)
            if attempt.reports is not None:
                self._reported.pop(attempt.order.token, None)

    def lose_session(self) -> None:
        """Releases that it may not have heard of are forgotten: the next hello does not hold those attempts."""
        self._released.clear()

    def begin_session(self, attempts: Iterable[Attempt]) -> None:
        """All that is unacknowledged is to be said again."""
        self._reported, self._ended, self._saved, self._ready = {}, [], {}, {}
        for attempt in attempts:
            attempt.told_start = attempt.told_end = False
            if attempt.reports is not None:
                attempt.reports.begin_session()
                self._reported[attempt.order.token] = attempt
            if attempt.phase is Phase.ENDED:
                self.end(attempt)
            elif attempt.saved is not None:
                self.save(attempt)
            if attempt.address:
                self.ready(attempt)
        self._leaving_told = False
        self._unheard = 0

    def holdings(self, attempts: Iterable[Attempt]) -> Holdings:
        """What a hello tells. An attempt that ended with reports unacknowledged is told as held: they come first."""
        held, ended = [], []
        for attempt in attempts:
            if attempt.phase is Phase.ENDED and (attempt.reports is None or not attempt.reports.held):
                ended.append(told(attempt))
            else:
                begun = attempt.begun or (attempt.lane is not None and attempt.lane.given[0] is attempt)
                held.append((attempt.order.token, begun))
        return Holdings(tuple(held), tuple(ended))

    def pressing(self, lanes: Lanes) -> bool:
        """Whether what is to be said should not wait for company.

        An end goes at once where all before it were heard, or where no slot has anything to do; else when they are
        heard: so whoever is slow to hear is told much at a time.
        """
        return self._hurried or (bool(self._ended) and (self._unheard == 0 or lanes.dry))

    def collect(self, lanes: Lanes, starts: bool) -> Batch:
        """Takes what waits to be said: all of it, up to a bound on the bytes of reports.

        starts: whether to tell what has begun, too. Of what has begun and ended meanwhile, the end tells.
        """
        self._hurried = False
        reports = self._collect_reports()
        ended, succeeded, seconds = self._collect_ends()
        leaving = "" if self._leaving_told else self._leaving
        self._leaving_told = self._leaving_told or bool(leaving)
        released, self._released = self._released, []
        started = self._collect_starts(lanes) if starts else []
        saved = [(token, attempt.saved) for token, attempt in self._saved.items() if attempt.saved is not None]
        ready = [(token, attempt.address) for token, attempt in self._ready.items() if attempt.address]
        self._saved, self._ready = {}, {}
        return Batch(leaving, started, released, reports, saved, ready, ended, succeeded, seconds)

    def _collect_reports(self) -> list[Report]:
        reports: list[Report] = []
        room = MAX_BATCH
        for token, attempt in list(self._reported.items()):
            assert attempt.reports is not None
            room -= attempt.reports.collect(reports, room)
            if not attempt.reports.unsaid:
                del self._reported[token]
        return reports

    def _collect_ends(self) -> tuple[list[Ended], list[int], list[float]]:
        ended, succeeded, seconds = [], [], []
        waiting, self._ended = self._ended, []
        for attempt in waiting:
            if attempt.reports is not None and attempt.reports.unsaid:
                self._ended.append(attempt)
                continue
            attempt.told_end = True
            ending = attempt.ending
            assert ending is not None
            if attempt.reports is None and _is_bare(ending):
                succeeded.append(attempt.order.token)
                seconds.append(ending.duration)
            else:
                ended.append(told(attempt))
        self._unheard += len(ended) + len(succeeded)
        return ended, succeeded, seconds

    def _collect_starts(self, lanes: Lanes) -> list[tuple[int, int]]:
        started = []
        for lane in lanes.by_slot.values():
            first = lane.given[0] if lane.given else None
            if first is not None and lane.pid and not (first.told_start or first.dropped):
                first.told_start = True
                started.append((first.order.token, lane.pid))
        return started


def _is_bare(ending: Ending) -> bool:
    return ending.cause is None and not (ending.outputs or ending.summary or ending.gave_up)


def told(attempt: Attempt) -> Ended:
    """The end of an attempt that has one."""
    assert attempt.ending is not None
    last_report = attempt.reports.number if attempt.reports is not None else 0
    return Ended(attempt.order.token, attempt.ending, last_report, attempt.begun)
