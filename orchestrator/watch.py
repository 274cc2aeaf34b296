"""What happened to a job, from a cursor on: each event once and in order, to any number of watchers.

The rule: a watcher is shown what is durable, at its own pace. One that keeps up is handed what each commit brought, and
reads nothing; one that falls behind is handed nothing more, and reads the store from its cursor on until it is up to
date. So a slow one costs bounded memory, and one that comes back with its cursor misses and repeats nothing.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from orchestrator.drawing import Drawing
from tensorfleet.errors import InvalidRequest
from tensorfleet.model import FieldViolation
from tensorfleet.stores.contract import DocumentStore

PAGE = 200
HELD_BYTES = 1024 * 1024
"""Of journaled records, whose events are held for a watcher; one entry is held whatever its size."""
END = "JobEnded"
LULL = 0.01
"""Seconds that what happened waits for company, unless it is the end: so a short job is told in one message."""


class Cursor(Struct, frozen=True, order=True):
    """A journal entry, and the place of the event among those that the entry has of the job."""

    entry: int = 0
    index: int = -1

    def __str__(self) -> str:
        return f"{self.entry}.{self.index}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """InvalidRequest where it is not one that an event carried."""
        if not text:
            return cls()
        entry, dot, index = text.partition(".")
        if not (dot and entry.isdecimal() and index.isdecimal()):
            raise InvalidRequest([FieldViolation("after", f"expected an event's cursor such as 17.0, not {text!r}")])
        return cls(int(entry), int(index))


BEGINNING = Cursor()


class Happening(Struct, frozen=True):
    """An event of a job. ended: the job's document, where this is its end and nobody put it back in the queue since."""

    cursor: Cursor
    event: dict[str, Any]
    ended: dict[str, Any] | None = None


class Told(Struct, frozen=True):
    """What a journal entry has of a job. job: its document, where the entry was handed on and not read. size: bytes of
    the whole entry's records."""

    number: int
    events: list[dict[str, Any]]
    job: dict[str, Any] | None = None
    size: int = 0


class Hearer(Protocol):
    def hear(self, job: str, told: Told) -> None:
        """Takes in what an entry has of a job. It comes while its commit is spoken, so it takes no time."""
        ...


class EventFeed:
    """Hands watchers the durable events of their jobs, and reads those to them that they were not handed.

    spoken: the last entry that was announced. What is newer is handed on when it is, and not read: of that the store
    may have one document, and another not yet.
    """

    def __init__(self, documents: DocumentStore) -> None:
        self.spoken = 0
        self._documents = documents
        self._hearers: dict[str, dict[Hearer, None]] = {}  # told in the order they came

    def announce(self, number: int, drawing: Drawing, size: int) -> None:
        """An entry is durable: whoever keeps up is handed what it drew. size: of its records, in bytes."""
        self.spoken = number
        for job, events in drawing.events.items():
            if hearers := self._hearers.get(job):
                told = Told(number, events, drawing.documents.get(("jobs", job)), size)
                for hearer in hearers:
                    hearer.hear(job, told)

    @property
    def watched(self) -> set[str]:
        """The jobs of which somebody is told."""
        return set(self._hearers)

    def join(self, job: str, hearer: Hearer) -> None:
        """From now on it is told of what is announced of a job."""
        self._hearers.setdefault(job, {})[hearer] = None

    def leave(self, job: str, hearer: Hearer) -> None:
        hearers = self._hearers.get(job, {})
        hearers.pop(hearer, None)
        if not hearers:
            self._hearers.pop(job, None)

    async def read(self, job: str, after: Cursor) -> list[Told]:
        """What the store has of a job from a cursor's entry on, of what was announced when this began: a page of it."""
        spoken = self.spoken
        found = await self._documents.find(
            "events", {"job_id": job}, above=("number", after.entry - 1), order=("number",), limit=PAGE
        )
        return [Told(document["number"], document["events"]) for document in found if document["number"] <= spoken]

    async def jobs(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The documents of those of some jobs that there are."""
        return await self._documents.get("jobs", names)


class Watch:
    """Goes through the events of one job after a cursor, all that are there at a time; ends with the job.

    It is up to date while all that it has not told yet is among what it was handed, or still to be announced. So it is
    from before its last look into the store on, until it falls behind: then what it was handed is let go of. held: the
    bytes of that. document: the job's, as of the last entry that was announced since the watch began. new: nothing of
    the job has been announced yet.
    """

    def __init__(self, feed: EventFeed, job: str, after: Cursor, *, new: bool) -> None:
        self.job = job
        self.document: dict[str, Any] | None = None
        self._feed = feed
        self._after = after
        self._up_to_date = new
        self._handed: deque[Told] = deque()
        self.held = 0
        self._more = asyncio.Event()
        self._over = False
        feed.join(job, self)

    def close(self) -> None:
        self._feed.leave(self.job, self)

    def hear(self, job: str, told: Told) -> None:
        self.document = told.job
        if not self._up_to_date:
            return
        if self._handed and self.held + told.size > HELD_BYTES:
            self._let_go(up_to_date=False)
        else:
            self._handed.append(told)
            self.held += told.size
        if not self._up_to_date or told.events[-1]["type"] == END:
            self._more.set()
        elif len(self._handed) == 1:
            asyncio.get_running_loop().call_later(LULL, self._more.set)

    def _let_go(self, *, up_to_date: bool) -> list[Told]:
        """What it was handed."""
        handed = list(self._handed)
        self._handed.clear()
        self.held, self._up_to_date = 0, up_to_date
        self._more.clear()
        return handed

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> list[Happening]:
        """One or more events, in order."""
        while not self._over:
            if self._up_to_date:
                await self._more.wait()
            told = self._let_go(up_to_date=True) if self._up_to_date else await self._caught_up()
            happenings = self._after_cursor(told)
            if happenings and happenings[-1].event["type"] == END:
                await self._look_at_end(happenings, told[-1])
            if happenings:
                self._after = happenings[-1].cursor
                return happenings
        raise StopAsyncIteration

    async def _caught_up(self) -> list[Told]:
        """A page of the store and, where it is the last, what was handed since it was begun."""
        self._let_go(up_to_date=True)
        page = await self._feed.read(self.job, self._after)
        if len(page) < PAGE and self._up_to_date:
            return page + self._let_go(up_to_date=True)
        self._let_go(up_to_date=False)
        return page

    def _after_cursor(self, told: Iterable[Told]) -> list[Happening]:
        after, happenings = self._after, []
        for each in told:
            if each.number >= after.entry:
                first = after.index + 1 if each.number == after.entry else 0
                places = range(first, len(each.events))
                happenings += [Happening(Cursor(each.number, place), each.events[place]) for place in places]
        return happenings

    async def _look_at_end(self, happenings: list[Happening], told: Told) -> None:
        """Gives the last of them, an end, the job as it then stood, unless the job's story went on.

        Where that is not known yet, the end is left out, and read again.
        """
        end, job = happenings[-1], told.job
        if not self._up_to_date:
            happenings.pop()
            return
        if job is None:
            job = (await self._feed.jobs([self.job]))[self.job]
            if job["ended_at"] != end.event["at"] or self._handed or not self._up_to_date:
                return  # put back in the queue
        happenings[-1] = replace(end, ended=job)
        self._over = True
