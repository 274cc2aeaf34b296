"""What a worker has to say, until its stream can take it.

The rule: an attempt's end is never said before its reports, and ends travel together: the next are said when those
before them were heard.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from worker.lanes import Attempt, Lanes, Phase
from worker.messages import Blob, Ending
from worker.reports import Report

MAX_BATCH = 1 << 20
"""Bytes of reports in one batch, roughly."""


class Ended(Struct, frozen=True):
    """An attempt's end; `last_report` is the number of its last report."""

    token: int
    ending: Ending
    last_report: int
    started: bool


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

    def __init__(self) -> None:
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

    def report(self, attempt: Attempt) -> None:
        self._reported[attempt.order.token] = attempt

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
                self.report(attempt)
            if attempt.phase is Phase.ENDED:
                self.end(attempt)
            elif attempt.saved is not None:
                self.save(attempt)
            if attempt.address:
                self.ready(attempt)
        self._leaving_told = False
        self._unheard = 0

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
