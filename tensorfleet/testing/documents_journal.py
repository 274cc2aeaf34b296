"""The contract of a `DocumentStore`, as to its journal: entries, who may write the next, snapshots, the lease."""

import asyncio

import pytest

from tensorfleet.errors import Deposed, Unavailable
from tensorfleet.stores import open_documents
from tensorfleet.stores.contract import MAX_RECORDS, DocumentStore, Entry, Lease, Write
from tensorfleet.testing.documents_steps import entry, fill, read


async def test_an_empty_store_has_nothing(documents: DocumentStore) -> None:
    assert await documents.last_number() == 0
    assert await documents.projected() == 0
    assert await documents.read(0) == []
    assert await documents.snapshot() is None


async def test_entries_come_back_in_order_and_in_pages(documents: DocumentStore) -> None:
    entries = [entry(number, records=bytes([number, 0, 255])) for number in range(1, 8)]
    for one in entries:
        await documents.commit(one, [])
    assert await documents.read(0) == entries
    assert await documents.read(2, limit=3) == entries[2:5]
    assert await documents.read(7) == []
    assert await documents.last_number() == await documents.projected() == 7


async def test_an_entry_and_its_writes_survive_closing(documents: DocumentStore, documents_url: str) -> None:
    await documents.commit(entry(1), [Write("jobs", "j", {"state": "queued"})])
    await documents.close()
    again = await open_documents(documents_url)
    assert await again.read(0) == [entry(1)]
    assert await read(again, "j") == {"state": "queued"}
    await again.close()


async def test_many_may_open_a_new_store_at_once(documents_url: str) -> None:
    stores = await asyncio.gather(*(open_documents(documents_url) for _ in range(4)))
    await stores[0].commit(entry(1), [Write("jobs", "j", {"state": "queued"})])
    assert await stores[0].projected() == 1  # so it is there for all of them
    for store in stores:
        assert await read(store, "j") == {"state": "queued"}
        await store.close()


async def test_a_closed_store_says_so(documents: DocumentStore) -> None:
    await documents.close()
    with pytest.raises(Unavailable):
        await documents.last_number()
    with pytest.raises(Unavailable):
        await documents.commit(entry(1), [])


async def test_the_same_entry_is_accepted_again(documents: DocumentStore) -> None:
    await documents.commit(entry(1), [Write("jobs", "j", {"state": "queued"})])
    await documents.commit(entry(2), [Write("jobs", "j", {"state": "running"})])
    await documents.commit(entry(1), [Write("jobs", "j", {"state": "queued"})])
    assert await documents.read(0) == [entry(1), entry(2)]
    assert await read(documents, "j") == {"state": "running"}


@pytest.mark.parametrize("other", [entry(1, writer="b"), entry(1, records=b"others"), entry(1, term=2)])
async def test_a_taken_number_deposes_and_writes_nothing(documents: DocumentStore, other: Entry) -> None:
    await documents.commit(entry(1), [])
    with pytest.raises(Deposed):
        await documents.commit(other, [Write("jobs", "j", {"state": "queued"})])
    assert await documents.read(0) == [entry(1)]
    assert await read(documents, "j") is None


async def test_of_two_who_commit_at_once_one_is_deposed(documents: DocumentStore, documents_url: str) -> None:
    other = await open_documents(documents_url)
    for number in range(1, 11):
        outcomes = await asyncio.gather(
            documents.commit(entry(number, writer="a"), []),
            other.commit(entry(number, writer="b"), []),
            return_exceptions=True,
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Deposed", "NoneType"]
    assert [one.number for one in await other.read(0)] == list(range(1, 11))
    await other.close()


async def test_a_gap_is_refused(documents: DocumentStore) -> None:
    await fill(documents, 2)
    for number in (4, 0, -1):
        with pytest.raises(ValueError, match="cannot follow"):
            await documents.commit(entry(number), [])
    assert await documents.last_number() == 2


async def test_records_have_a_limit(documents: DocumentStore) -> None:
    with pytest.raises(ValueError, match=str(MAX_RECORDS)):
        await documents.commit(entry(1, records=bytes(MAX_RECORDS + 1)), [])
    await documents.commit(entry(1, records=bytes(MAX_RECORDS)), [])
    assert [len(one.records) for one in await documents.read(0)] == [MAX_RECORDS]


async def test_empty_records_are_an_entry(documents: DocumentStore) -> None:
    await documents.commit(entry(1, records=b""), [])
    assert await documents.read(0) == [entry(1, records=b"")]


async def test_a_snapshot_lets_entries_go(documents: DocumentStore) -> None:
    await fill(documents, 6)
    await documents.save_snapshot(4, b"state after 4")
    assert await documents.snapshot() == (4, b"state after 4")
    assert [one.number for one in await documents.read(0)] == [1, 5, 6]  # 1 is the first of its term
    assert [one.number for one in await documents.read(4)] == [5, 6]


async def test_the_first_entry_of_each_term_stays(documents: DocumentStore) -> None:
    for last, term in ((3, 1), (6, 2), (9, 5)):
        await fill(documents, last, term, f"leader {term}")
    await documents.save_snapshot(9, b"1")
    assert [(one.number, one.term) for one in await documents.read(0)] == [(1, 1), (4, 2), (7, 5)]
    await fill(documents, 12, 5, "leader 5")
    await documents.save_snapshot(12, b"2")
    assert [one.number for one in await documents.read(0)] == [1, 4, 7]
    with pytest.raises(Deposed):  # the leader of term 1 has seen entry 3, and would go on with 4
        await documents.commit(entry(4, 1, "leader 1"), [])


async def test_numbers_go_on_after_a_snapshot(documents: DocumentStore, documents_url: str) -> None:
    await fill(documents, 3)
    await documents.save_snapshot(3, b"state")
    await documents.close()
    again = await open_documents(documents_url)
    assert await again.last_number() == await again.projected() == 3
    await again.commit(entry(4), [])
    assert [one.number for one in await again.read(3)] == [4]
    await again.close()


async def test_a_number_that_a_snapshot_holds_is_taken(documents: DocumentStore) -> None:
    await fill(documents, 5)
    await documents.save_snapshot(4, b"state")
    for number in (2, 4):
        with pytest.raises(Deposed):
            await documents.commit(entry(number, writer="b"), [Write("jobs", "j", {})])
    assert await read(documents, "j") is None


async def test_a_snapshot_never_goes_back(documents: DocumentStore) -> None:
    await fill(documents, 5)
    await documents.save_snapshot(4, b"4")
    await documents.save_snapshot(2, b"2")
    assert await documents.snapshot() == (4, b"4")
    await documents.save_snapshot(5, b"5")
    assert await documents.snapshot() == (5, b"5")


async def test_a_snapshot_needs_its_entry(documents: DocumentStore) -> None:
    await fill(documents, 2)
    with pytest.raises(ValueError, match="3"):
        await documents.save_snapshot(3, b"state")
    assert await documents.snapshot() is None
    assert len(await documents.read(0)) == 2


async def test_a_snapshot_may_be_larger_than_an_entry(documents: DocumentStore) -> None:
    await fill(documents, 1)
    state = bytes(range(256)) * (MAX_RECORDS // 256 + 1024)
    await documents.save_snapshot(1, state)
    assert await documents.snapshot() == (1, state)


async def test_a_lease_is_taken_by_one(documents: DocumentStore) -> None:
    """Of two that saw the same, one takes it; who holds it renews it; the other learns who it is."""
    assert await documents.lease() is None
    first, second = Lease("a", "127.0.0.1:1", 1, 5.0), Lease("b", "127.0.0.1:2", 1, 2.5)
    assert sorted(await asyncio.gather(documents.take_lease(first, None), documents.take_lease(second, None))) == [
        False,
        True,
    ]
    held = await documents.lease()
    assert held in (first, second)
    renewed = Lease(held.holder, held.address, 2, 7.5)
    assert await documents.take_lease(renewed, held)
    assert not await documents.take_lease(Lease("c", "127.0.0.1:3", 2, 5.0), held)
    assert await documents.lease() == renewed


async def test_a_lease_survives_reopening(documents: DocumentStore, documents_url: str) -> None:
    lease = Lease("a", "127.0.0.1:1", 7, 5.0)
    await documents.take_lease(lease, None)
    other = await open_documents(documents_url)
    assert await other.lease() == lease
    await other.close()
