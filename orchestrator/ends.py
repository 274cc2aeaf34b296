"""The ends of some jobs: each job is told of once, as soon as its end is durable, to whoever waits for it.

The rule: who waits is handed what a commit drew, and looks only for jobs that had ended before. A slow one costs
bounded memory: of many ends it is handed the names alone, and reads the documents when they are to be told.
"""

import asyncio
from collections.abc import Container, Iterable
from typing import Any

from orchestrator.watch import END, EventFeed, Told
from tensorfleet.errors import NotFound
from tensorfleet.model import JobState

PAGE = 500
HELD = 1_000
"""Documents of ended jobs that are held for one who waits."""


class Ends:
    """Goes through jobs as they end, all that are there at a time. active: jobs whose end is not decided yet."""

    def __init__(self, feed: EventFeed, jobs: Iterable[str], active: Container[str]) -> None:
        self._feed = feed
        self._left = dict.fromkeys(jobs)
        self._ended: dict[str, dict[str, Any] | None] = {}
        self._more = asyncio.Event()
        for job in self._left:
            feed.join(job, self)
        # What may have ended before. The others are heard of.
        self._unsure = [job for job in self._left if job not in active]

    def close(self) -> None:
        for job in self._left:
            self._feed.leave(job, self)

    def hear(self, job: str, told: Told) -> None:
        if told.events[-1]["type"] == END:
            self._ended[job] = told.job if len(self._ended) < HELD else None
            self._more.set()

    def __aiter__(self) -> "Ends":
        return self

    async def __anext__(self) -> list[dict[str, Any]]:
        """Documents of one or more jobs that have ended. NotFound where a job is none."""
        while self._left:
            if self._unsure:
                some, self._unsure = self._unsure[:PAGE], self._unsure[PAGE:]
                found = await self._read(some)
            else:
                await self._more.wait()
                handed = [document for document in self._ended.values() if document is not None]
                found = handed or await self._read(self._names())
            told = [document for document in found if self._tell(document["id"])]
            if told:
                return told
        raise StopAsyncIteration

    def _names(self) -> list[str]:
        """Jobs of whose end only that is known. It is forgotten: another may come while the document is read."""
        names = list(self._ended)[:PAGE]
        for job in names:
            self._forget(job)
        return names

    async def _read(self, jobs: list[str]) -> list[dict[str, Any]]:
        found = await self._feed.jobs(jobs)
        for job in jobs:
            if job not in found:
                raise NotFound(f"there is no job {job!r}; `tensorfleet jobs list` shows them")
        return [document for document in found.values() if JobState(document["state"]).ended]

    def _tell(self, job: str) -> bool:
        """Whether it is to be told; then it is done with."""
        self._forget(job)
        if job not in self._left:
            return False
        del self._left[job]
        self._feed.leave(job, self)
        return True

    def _forget(self, job: str) -> None:
        self._ended.pop(job, None)
        if not self._ended:
            self._more.clear()
