"""Who waits for the ends of jobs is told of each once, whatever had ended before and whatever ends meanwhile."""

import asyncio
import random
from contextlib import closing
from typing import Any

import pytest

from orchestrator import ends as module
from orchestrator.ends import Ends
from orchestrator.watch import END
from tensorfleet.errors import NotFound
from tests.unit.test_watch import Journal


@pytest.fixture
async def journal() -> Journal:
    journal = Journal()
    await journal.documents.open()
    return journal


async def told(ends: Ends) -> list[str]:
    """The jobs of all that is told until it ends."""
    return [document["id"] async for documents in ends for document in documents]


async def test_jobs_are_told_as_they_end_and_nothing_is_read(journal: Journal) -> None:
    with closing(Ends(journal.feed, ["a", "b", "c"], active={"a", "b", "c"})) as ends:
        await journal.happen("JobAccepted", job="a")
        await journal.happen(END, job="b")
        assert [document["id"] for document in await anext(ends)] == ["b"]
        await journal.happen("Reported", END, job="c")
        await journal.happen(END, job="a")
        await journal.happen(END, job="another")
        assert await told(ends) == ["c", "a"]
    assert journal.documents.reads == []
    assert not journal.feed.watched


async def test_what_had_ended_is_read(journal: Journal) -> None:
    await journal.happen(END, job="a")
    with closing(Ends(journal.feed, ["a", "b"], active={"b"})) as ends:
        assert [document["id"] for document in await anext(ends)] == ["a"]
        await journal.happen(END, job="b")
        assert await told(ends) == ["b"]
    assert journal.documents.reads == ["jobs"]


async def test_a_job_that_is_none_is_not_found(journal: Journal) -> None:
    await journal.happen(END, job="a")
    with closing(Ends(journal.feed, ["a", "nobody"], active=())) as ends, pytest.raises(NotFound, match="nobody"):
        await told(ends)
    assert not journal.feed.watched


async def test_a_job_is_told_once_however_often_it_is_named(journal: Journal) -> None:
    await journal.happen(END, job="a")
    with closing(Ends(journal.feed, ["a", "a"], active=())) as ends:
        await journal.happen("JobAccepted", END, job="a")
        assert await told(ends) == ["a"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_end_that_is_announced_while_it_is_looked_for_is_told_once(journal: Journal, when: str) -> None:
    await journal.happen("JobAccepted", job="a")

    async def meanwhile() -> None:
        await journal.happen(END, job="a")

    setattr(journal.documents, when, meanwhile)
    with closing(Ends(journal.feed, ["a", "b"], active={"b"})) as ends:  # its end was decided
        assert [document["id"] for document in await anext(ends)] == ["a"]
        await journal.happen(END, job="b")
        assert await told(ends) == ["b"]


async def test_of_many_ends_the_documents_are_read_when_they_are_told(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD", 3)
    monkeypatch.setattr(module, "PAGE", 2)
    names = [f"job-{number}" for number in range(9)]
    with closing(Ends(journal.feed, names, active=set(names))) as ends:
        for name in names:
            await journal.happen(END, job=name)
        assert await told(ends) == names
    assert journal.documents.reads == ["jobs"] * 3


async def test_a_job_that_was_retried_before_it_could_be_told_is_told_when_it_ends(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD", 0)
    with closing(Ends(journal.feed, ["a"], active={"a"})) as ends:
        await journal.happen(END, job="a")
        await journal.happen("JobAccepted", job="a")
        waiting = asyncio.create_task(told(ends))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await journal.happen(END, job="a")
        assert await waiting == ["a"]


@pytest.mark.parametrize("seed", range(100))
async def test_whatever_the_interleaving_each_is_told_once(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(module, "HELD", chance.choice([0, 2, 100]))
    monkeypatch.setattr(module, "PAGE", chance.choice([1, 3]))
    journal.documents.delays, journal.documents.longest = chance, chance.randint(0, 3)
    names = [f"job-{number}" for number in range(12)]
    active: dict[str, None] = dict.fromkeys(names)
    for name in names:
        await journal.happen("JobAccepted", job=name)

    async def end(name: str) -> None:
        del active[name]  # decided, and durable a little later
        await asyncio.sleep(0)
        await journal.commit(END, job=name)
        if chance.random() < 0.7:
            journal.speak()

    async def write(waiting: list[str]) -> None:
        for name in waiting:
            await end(name)
            for _ in range(chance.choice([0, 0, 3])):
                await asyncio.sleep(0)
        journal.speak()

    chance.shuffle(names)
    before = chance.randint(0, len(names))
    await write(names[:before])
    writing: Any = asyncio.create_task(write(names[before:]))
    with closing(Ends(journal.feed, sorted(names), active)) as ends:
        assert sorted(await told(ends)) == sorted(names)
    await writing
    assert not journal.feed.watched
