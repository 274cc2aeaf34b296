"""What happened to a job, from a cursor on: each event once and in order, to any number of watchers.

The rule: a watcher reads what is durable, at its own pace; it is only told that there is more. So a slow one costs no
memory, and one that comes back with its cursor misses and repeats nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tensorfleet.errors import InvalidRequest
from tensorfleet.model import FieldViolation
from tensorfleet.stores.contract import DocumentStore

PAGE = 200


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


class Happening(Struct, frozen=True):
    """An event of a job. last: it is the job's end, and nobody put it back in the queue since."""

    cursor: Cursor
    event: dict[str, Any]
    last: bool = False


class EventFeed:
    """Wakes watchers when their job has new durable events, and reads these to them."""

    def __init__(self, documents: DocumentStore) -> None:
        self._documents = documents
        self._watchers: dict[str, dict[asyncio.Event, None]] = {}  # woken in the order they came

    def announce(self, jobs: Iterable[str]) -> None:
        for job in jobs:
            for more in self._watchers.get(job, ()):
                more.set()

    async def watch(self, job: str, after: Cursor) -> AsyncIterator[Happening]:
        """Events after a cursor; ends after the job's end."""
        more = asyncio.Event()
        self._watchers.setdefault(job, {})[more] = None
        try:
            while True:
                more.clear()
                async for happening in self._read(job, after):
                    after = happening.cursor
                    if happening.event["type"] == "JobEnded" and not await self._retried(job, after):
                        yield replace(happening, last=True)
                        return
                    yield happening
                if not more.is_set():
                    await more.wait()
        finally:
            del self._watchers[job][more]
            if not self._watchers[job]:
                del self._watchers[job]

    async def _read(self, job: str, after: Cursor) -> AsyncIterator[Happening]:
        while True:
            page = await self._documents.find(
                "events", {"job_id": job}, above=("number", after.entry - 1), order=("number",), limit=PAGE
            )
            for document in page:
                for index, event in enumerate(document["events"]):
                    cursor = Cursor(document["number"], index)
                    if cursor > after:
                        yield Happening(cursor, event)
            if len(page) < PAGE:
                return
            after = max(after, Cursor(page[-1]["number"], len(page[-1]["events"])))

    async def _retried(self, job: str, ended: Cursor) -> bool:
        """Whether the job was put back in the queue after that end: then its story goes on."""
        later = await self._documents.find("events", {"job_id": job}, above=("number", ended.entry), limit=1)
        return bool(later)
