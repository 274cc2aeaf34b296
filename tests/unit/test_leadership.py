"""The lease: who may take it and when, how long its holder believes in it, and what unclear answers mean."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.leadership import Leased, Led, Tenure, Vigil
from tensorfleet.errors import Deposed, Unavailable
from tensorfleet.stores.contract import Lease

THEIRS = Lease("them", "there:1", 7, 5.0)


class Documents:
    """A lease, in memory. lost_words: how many answers get lost. looked: is called at each look."""

    url = "memory://"

    def __init__(self, lease: Lease | None = None) -> None:
        self.held = lease
        self.looks = 0
        self.looked: Callable[[], None] = lambda: None
        self.lost_words = 0
        self.away = False
        self._asked = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._asked.clear()
            await self._asked.wait()

    async def lease(self) -> Lease | None:
        self.looks += 1
        self._asked.set()
        self.looked()
        if self.away:
            raise Unavailable("the store is away")
        return self.held

    async def take_lease(self, lease: Lease, previous: Lease | None) -> bool:
        if self.away:
            raise Unavailable("the store is away")
        if self.held != previous:
            return False
        self.held = lease
        self._asked.set()
        if self.lost_words:
            self.lost_words -= 1
            raise Unavailable("the answer was lost")
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def leased(documents: Documents, clock: Clock, *, holder: str = "us", standby: bool = False) -> Leased:
    store: Any = documents
    return Leased(store, holder, "here:1", 0.05, standby=standby, clock=clock)


def test_a_holder_believes_for_less_than_the_lease() -> None:
    tenure = Tenure(Lease("us", "here:1", 1, 10.0), since=100.0)
    assert tenure.holds(108.9)
    assert not tenure.holds(109.1)
    assert tenure.renewal < 104


def test_who_waits_counts_from_what_was_seen_last() -> None:
    vigil = Vigil("us")
    assert not vigil.over(THEIRS, 0.0)
    assert not vigil.over(THEIRS, 4.9)
    assert not vigil.moved
    assert not vigil.over(Lease("them", "there:1", 8, 5.0), 4.9)
    assert vigil.moved
    assert not vigil.over(Lease("them", "there:1", 8, 5.0), 9.8)
    assert vigil.over(Lease("them", "there:1", 8, 5.0), 9.9)


def test_the_leases_own_length_counts() -> None:
    vigil = Vigil("us")
    assert not vigil.over(Lease("them", "there:1", 1, 60.0), 0.0)
    assert not vigil.over(Lease("them", "there:1", 1, 60.0), 59.0)


def test_while_nothing_can_be_seen_nobody_can_renew() -> None:
    vigil = Vigil("us")
    assert not vigil.over(THEIRS, 0.0)
    vigil.blind()
    assert not vigil.over(THEIRS, 20.0)
    assert vigil.over(THEIRS, 25.0)


@pytest.mark.parametrize("lease", [None, Lease("", "", 3, 5.0), Lease("us", "here:1", 3, 5.0)])
def test_what_is_nobodys_or_ones_own_is_taken_at_once(lease: Lease | None) -> None:
    assert Vigil("us").over(lease, 0.0)


async def test_the_first_to_come_leads_and_renews() -> None:
    documents, clock = Documents(), Clock()
    us = leased(documents, clock)
    assert not us.holds()
    await us.take()
    assert us.holds()
    keeping = asyncio.create_task(us.keep())
    clock.now += 0.04
    await documents.until(lambda: documents.held == Lease("us", "here:1", 2, 0.05))
    keeping.cancel()
    assert us.holds()


async def test_one_that_was_not_to_wait_is_refused_once_the_leader_shows_life() -> None:
    documents, clock = Documents(THEIRS), Clock()

    def renewed() -> None:
        documents.held = Lease("them", "there:1", 7 + documents.looks, 5.0)

    documents.looked = renewed
    with pytest.raises(Led, match=r"there:1 leads on memory://.*--standby"):
        await leased(documents, clock).take()


async def test_one_that_was_not_to_wait_outwaits_a_dead_leader() -> None:
    documents, clock = Documents(THEIRS), Clock()
    us = leased(documents, clock)
    documents.looked = lambda: setattr(clock, "now", clock.now + 2)
    await us.take()
    assert documents.held == Lease("us", "here:1", 8, 0.05)


async def test_a_standby_tells_who_leads_until_it_does() -> None:
    documents, clock = Documents(THEIRS), Clock()
    us = leased(documents, clock, standby=True)
    taking = asyncio.create_task(us.take())
    await documents.until(lambda: documents.looks == 3)
    assert us.refusal().leader == "there:1"
    assert not us.holds()
    clock.now += 5.0
    await taking
    assert us.holds()
    assert us.refusal().leader == ""


async def test_a_standby_outlasts_a_store_that_is_away() -> None:
    documents, clock = Documents(THEIRS), Clock()
    documents.away = True
    taking = asyncio.create_task(leased(documents, clock, standby=True).take())
    await documents.until(lambda: documents.looks == 3)
    documents.away, documents.held = False, None
    await taking
    documents.away = True
    with pytest.raises(Unavailable):
        await leased(documents, clock).take()


async def test_a_renewal_whose_answer_was_lost_counts_from_its_first_try() -> None:
    documents, clock = Documents(), Clock()
    us = leased(documents, clock)
    await us.take()
    documents.lost_words = 2
    clock.now += 0.02
    keeping = asyncio.create_task(us.keep())
    await documents.until(lambda: documents.held == Lease("us", "here:1", 2, 0.05))
    clock.now += 0.04
    assert not us.holds()
    await us.held()
    assert us.holds()
    clock.now += 0.01
    assert not us.holds()
    keeping.cancel()


async def test_who_finds_another_in_its_place_is_deposed_and_tells_of_it() -> None:
    documents, clock = Documents(), Clock()
    us = leased(documents, clock)
    await us.take()
    documents.held = THEIRS
    clock.now += 1.0
    with pytest.raises(Deposed, match="there:1"):
        await us.keep()
    assert not us.holds()
    assert us.refusal().leader == "there:1"


async def test_who_cannot_renew_leads_no_more_until_it_can() -> None:
    documents, clock = Documents(), Clock()
    us = leased(documents, clock)
    await us.take()
    documents.away = True
    keeping = asyncio.create_task(us.keep())
    clock.now += 1.0
    assert not us.holds()
    assert us.refusal().leader == ""
    held = asyncio.create_task(us.held())
    await asyncio.sleep(0.01)
    assert not held.done()
    documents.away = False
    await held
    assert us.holds()
    keeping.cancel()


async def test_a_lease_that_was_let_go_of_is_taken_at_once() -> None:
    documents, clock = Documents(), Clock()
    us = leased(documents, clock)
    await us.take()
    await us.release()
    assert not us.holds()
    them = leased(documents, clock, holder="them")
    await them.take()
    assert them.holds()
    await us.release()
    assert them.holds()
    assert documents.held is not None
    assert documents.held.holder == "them"
