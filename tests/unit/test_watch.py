"""Watchers of a job, whatever is announced while they read: nothing is missed or repeated, and the end ends them."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest

from orchestrator import watch as module
from orchestrator.drawing import Drawing
from orchestrator.watch import BEGINNING, END, Cursor, EventFeed, Happening, Watch
from tensorfleet.stores.contract import Entry
from tensorfleet.testing.simulated.documents import Database, MemoryDocuments

SIZE = 100
"""Bytes that each entry's records are said to have."""


async def nothing() -> None:
    pass


class Documents(MemoryDocuments):
    """reads: what was asked for. before, after: what happens once before a look into it, and once after."""

    def __init__(self) -> None:
        super().__init__(Database(), self._way)
        self.reads: list[str] = []
        self.before: Callable[[], Awaitable[None]] = nothing
        self.after: Callable[[], Awaitable[None]] = nothing
        self.delays = random.Random(0)
        self.longest = 0

    async def _way(self) -> None:
        for _ in range(self.delays.randint(0, self.longest)):
            await asyncio.sleep(0)

    async def get(self, collection: str, ids: Any) -> dict[str, dict[str, Any]]:
        return await self._between(collection, lambda: super(Documents, self).get(collection, ids))

    async def find(self, collection: str, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        return await self._between(collection, lambda: super(Documents, self).find(collection, *args, **kwargs))

    async def _between(self, collection: str, read: Callable[[], Awaitable[Any]]) -> Any:
        self.reads.append(collection)
        before, self.before = self.before, nothing
        await before()
        found = await read()
        after, self.after = self.after, nothing
        await after()
        return found


class Journal:
    """A journal of the events of jobs, committed and then announced. whole: all of a job's, with their cursors."""

    def __init__(self) -> None:
        self.documents = Documents()
        self.feed = EventFeed(self.documents)
        self.whole: dict[str, list[tuple[Cursor, dict[str, Any]]]] = {}
        self._number = 0
        self._durable: list[tuple[int, Drawing]] = []

    async def happen(self, *kinds: str, job: str = "j") -> None:
        """An entry with events of one job, spoken as soon as it is durable."""
        await self.commit(*kinds, job=job)
        self.speak()

    async def commit(self, *kinds: str, job: str = "j") -> None:
        self._number += 1
        drawing = Drawing()
        events = [{"type": kind, "at": float(self._number)} for kind in kinds]
        ended = float(self._number) if kinds[-1] == END else None
        drawing.events[job] = events
        state = "succeeded" if ended else "running"
        drawing.put("jobs", job, {"id": job, "state": state, "ended_at": ended})
        told = [(Cursor(self._number, place), event) for place, event in enumerate(events)]
        entry = Entry(self._number, 1, "test", b"")
        await self.documents.commit(entry, drawing.writes(self._number))
        self._durable.append((self._number, drawing))
        self.whole.setdefault(job, []).extend(told)

    def speak(self) -> None:
        """Announces what is durable."""
        durable, self._durable = self._durable, []
        for number, drawing in durable:
            self.feed.announce(number, drawing, SIZE)


@pytest.fixture
async def journal() -> Journal:
    journal = Journal()
    await journal.documents.open()
    return journal


async def rest(watch: Watch) -> list[Happening]:
    """Everything up to the end."""
    return [happening async for happenings in watch for happening in happenings]


def plain(happenings: list[Happening]) -> list[tuple[Cursor, dict[str, Any]]]:
    return [(happening.cursor, happening.event) for happening in happenings]


def ends(happenings: list[Happening]) -> list[Any]:
    """When the job ended, of each that says that it is the end."""
    return [happening.ended["ended_at"] for happening in happenings if happening.ended]


async def test_who_watches_a_new_job_is_handed_it_all_and_nothing_is_read(journal: Journal) -> None:
    with closing(Watch(journal.feed, "j", BEGINNING, new=True)) as watch:
        await journal.happen("JobAccepted", "StageOpened")
        await journal.happen("Reported")
        assert len(await anext(watch)) == 3, "all that is there comes together"
        await journal.happen("Reported", job="another")
        await journal.happen("Reported", END)
        last = await anext(watch)
        assert [happening.event["type"] for happening in last] == ["Reported", END]
        assert ends(last) == [4.0]
        assert await rest(watch) == []
    assert journal.documents.reads == []


async def test_who_comes_later_reads_what_was_and_is_handed_what_follows(journal: Journal) -> None:
    await journal.happen("JobAccepted", "StageOpened")
    with closing(Watch(journal.feed, "j", BEGINNING, new=False)) as watch:
        assert len(await anext(watch)) == 2
        waiting = asyncio.create_task(anext(watch))
        await asyncio.sleep(0)
        await journal.happen("Reported")
        await waiting
        await journal.happen(END)
        assert ends(await rest(watch)) == [4.0 - 1]
    assert journal.documents.reads == ["events"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("last", ["Reported", END])
async def test_what_is_announced_while_the_store_is_read_comes_once(journal: Journal, when: str, last: str) -> None:
    await journal.happen("JobAccepted")

    async def meanwhile() -> None:
        await journal.happen("Reported")
        await journal.happen(last)

    setattr(journal.documents, when, meanwhile)
    with closing(Watch(journal.feed, "j", BEGINNING, new=False)) as watch:
        seen = await anext(watch)
        assert plain(seen) == journal.whole["j"]
        assert ends(seen) == ([3.0] if last == END else [])
    assert journal.documents.reads == ["events"]


async def test_what_is_durable_and_not_announced_is_not_told_yet(journal: Journal) -> None:
    await journal.happen("JobAccepted")
    await journal.commit("Reported")
    with closing(Watch(journal.feed, "j", BEGINNING, new=False)) as watch:
        assert len(await anext(watch)) == 1
        waiting = asyncio.create_task(anext(watch))
        await asyncio.sleep(0)
        assert not waiting.done()
        journal.speak()
        assert [str(happening.cursor) for happening in await waiting] == ["2.0"]


async def test_who_falls_behind_reads_and_keeps_up_again(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 3 * SIZE)
    with closing(Watch(journal.feed, "j", BEGINNING, new=True)) as watch:
        await journal.happen("JobAccepted")
        seen = await anext(watch)
        for _ in range(4):  # one more than is held
            await journal.happen("Reported")
        seen += await anext(watch)
        assert journal.documents.reads == ["events"]
        for _ in range(3):
            await journal.happen("Reported")
        seen += await anext(watch)
        assert journal.documents.reads == ["events"], "it was handed them"
        assert plain(seen) == journal.whole["j"]


async def test_a_large_entry_is_held_alone(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", SIZE // 2)
    with closing(Watch(journal.feed, "j", BEGINNING, new=True)) as watch:
        for _ in range(3):
            await journal.happen("Reported")
            await anext(watch)
    assert journal.documents.reads == []


async def test_what_falls_behind_holds_nothing(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 3 * SIZE)
    with closing(Watch(journal.feed, "j", BEGINNING, new=True)) as watch:
        for _ in range(50):
            await journal.happen("Reported")
            assert watch.held <= 3 * SIZE
        assert watch.held == 0


async def test_a_watcher_that_falls_behind_while_it_reads_reads_again(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", SIZE)
    await journal.happen("JobAccepted")

    async def meanwhile() -> None:
        for _ in range(3):
            await journal.happen("Reported")
        await journal.happen(END)

    journal.documents.after = meanwhile
    with closing(Watch(journal.feed, "j", BEGINNING, new=False)) as watch:
        seen = await rest(watch)
    assert plain(seen) == journal.whole["j"]
    assert ends(seen) == [5.0]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("new", [True, False])
async def test_a_job_that_was_retried_goes_on(journal: Journal, together: bool, new: bool) -> None:
    with closing(Watch(journal.feed, "j", BEGINNING, new=new)) as watch:
        if together:
            await journal.happen("JobAccepted", END, "JobAccepted")
        else:
            await journal.happen("JobAccepted", END)
            await journal.happen("JobAccepted")
        assert ends(await anext(watch)) == []
        await journal.happen(END)
        assert ends(await rest(watch)) == [3.0 - together]


@pytest.mark.parametrize("more", [0, 5])
async def test_a_job_that_is_retried_while_its_end_is_read_goes_on(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    """more: events after that, which the watcher may not be able to hold."""
    monkeypatch.setattr(module, "HELD_BYTES", SIZE)
    await journal.happen("JobAccepted", END)
    looks: list[str] = []

    async def second_look() -> None:
        looks.append("job")
        await journal.happen("JobAccepted")
        for _ in range(more):
            await journal.happen("Reported")

    async def first_look() -> None:
        journal.documents.after = second_look

    journal.documents.after = first_look
    with closing(Watch(journal.feed, "j", BEGINNING, new=False)) as watch:
        seen = await anext(watch)
        assert looks, "the job's document was read"
        assert ends(seen) == []
        await journal.happen(END)
        seen += await rest(watch)
    assert plain(seen) == journal.whole["j"]
    assert ends(seen) == [3.0 + more]


async def test_a_retry_that_is_durable_and_not_announced_is_no_end(journal: Journal) -> None:
    await journal.happen("JobAccepted", END)
    await journal.commit("JobAccepted")
    with closing(Watch(journal.feed, "j", BEGINNING, new=False)) as watch:
        assert ends(await anext(watch)) == []
        journal.speak()
        await journal.happen(END)
        assert ends(await rest(watch)) == [3.0]


async def test_who_comes_after_the_end_reads_the_job(journal: Journal) -> None:
    await journal.happen("JobAccepted")
    await journal.happen(END)
    with closing(Watch(journal.feed, "j", Cursor(1, 0), new=False)) as watch:
        assert ends(await rest(watch)) == [2.0]
    assert journal.documents.reads == ["events", "jobs"]


async def test_watchers_with_different_cursors_see_what_follows_theirs(journal: Journal) -> None:
    await journal.happen("JobAccepted", "StageOpened", "Reported")
    await journal.happen("Reported")
    whole = journal.whole["j"]
    watches = [Watch(journal.feed, "j", cursor, new=False) for cursor, _ in whole]
    watching = [asyncio.create_task(rest(watch)) for watch in watches]
    await journal.happen("Reported")
    await journal.happen(END)
    for place, task in enumerate(watching):
        assert plain(await task) == journal.whole["j"][place + 1 :]
    for watch in watches:
        watch.close()


@pytest.mark.parametrize("entries", range(1, 9))
async def test_an_end_between_two_pages_is_the_end(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    for _ in range(entries):
        await journal.happen("Reported")
    await journal.happen(END)
    with closing(Watch(journal.feed, "j", BEGINNING, new=False)) as watch:
        seen = await rest(watch)
    assert plain(seen) == journal.whole["j"]
    assert ends(seen) == [entries + 1.0]


@pytest.mark.parametrize("seed", range(300))
async def test_whatever_the_interleaving_each_event_comes_once(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Entries are committed and announced in bursts while watchers come, are slow, hang up and come back."""
    chance = random.Random(seed)
    monkeypatch.setattr(module, "PAGE", chance.randint(3, 6))
    monkeypatch.setattr(module, "HELD_BYTES", chance.choice([SIZE, 3 * SIZE, 100 * SIZE]))
    journal.documents.delays, journal.documents.longest = chance, chance.randint(0, 3)
    over = asyncio.Event()

    async def pause() -> None:
        for _ in range(chance.choice([0, 0, 1, 2, 10])):
            await asyncio.sleep(0)

    async def write() -> None:
        for _ in range(chance.randint(1, 25)):
            kinds = [chance.choice(["Reported", "Reported", "Reported", END]) for _ in range(chance.randint(1, 3))]
            if END in kinds[:-1]:
                kinds.append("JobAccepted")
            await journal.commit(*kinds, job=chance.choice(["j", "j", "another"]))
            if chance.random() < 0.7:
                journal.speak()
            await pause()
        await journal.commit(END)
        over.set()
        journal.speak()

    async def look(new: bool) -> list[Happening]:
        seen: list[Happening] = []
        while True:
            await pause()
            after = seen[-1].cursor if seen else BEGINNING
            with closing(Watch(journal.feed, "j", after, new=new and not seen)) as watch:
                async for happenings in watch:
                    assert happenings
                    seen += happenings
                    assert [happening for happening in happenings[:-1] if happening.ended] == []
                    if chance.random() < 0.1 and not seen[-1].ended:
                        break
                    await pause()
            if over.is_set() and seen and seen[-1].cursor == journal.whole["j"][-1][0]:
                return seen

    fresh = Watch(journal.feed, "j", BEGINNING, new=True)
    watchers = [asyncio.create_task(look(new=False)) for _ in range(3)]
    await asyncio.gather(write(), *watchers)
    for watcher in watchers:
        seen = watcher.result()
        assert plain(seen) == journal.whole["j"]
        assert seen[-1].ended
    handed = await rest(fresh)
    while handed[-1].cursor != journal.whole["j"][-1][0]:
        handed += await rest(Watch(journal.feed, "j", handed[-1].cursor, new=False))
    assert plain(handed) == journal.whole["j"]
