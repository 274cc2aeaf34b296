"""The contract of a `DocumentStore` at work: many at once, cut short, and killed."""

import asyncio
import sys
from itertools import count as counting

import pytest

from tensorfleet.stores import open_documents
from tensorfleet.stores.contract import DocumentStore, Write
from tensorfleet.testing.documents_steps import entry, read


async def test_reads_go_on_while_entries_are_committed(documents: DocumentStore) -> None:
    last = 60

    async def write() -> None:
        for number in range(1, last + 1):
            await documents.commit(entry(number), [Write("tasks", f"{number}", {"job_id": "j", "index": number})])
            assert await documents.get("tasks", [f"{number}"]) == {f"{number}": {"job_id": "j", "index": number}}

    async def follow() -> list[int]:
        seen: list[int] = []
        while len(seen) < last:
            seen += [one.number for one in await documents.read(len(seen))]
            found = await documents.find("tasks", {"job_id": "j"}, order=["index"])
            assert [document["index"] for document in found] == list(range(1, len(found) + 1))
        return seen

    _, *followed = await asyncio.gather(write(), follow(), follow())
    assert followed == [list(range(1, last + 1))] * 2


async def test_a_cancelled_commit_is_there_whole_or_not_at_all(documents: DocumentStore) -> None:
    committing = asyncio.create_task(documents.commit(entry(1), [Write("jobs", "j", {"turn": 1})]))
    await asyncio.sleep(0)
    committing.cancel()
    await asyncio.gather(committing, return_exceptions=True)
    await documents.commit(entry(1), [Write("jobs", "j", {"turn": 1})])  # committed again, as after Unavailable
    assert await documents.read(0) == [entry(1)]
    assert await read(documents, "j") == {"turn": 1}


def writes_of(number: int) -> list[Write]:
    return [Write("results", str(number), {"number": number}), Write("jobs", "newest", {"number": number})]


async def commit_until_killed(url: str) -> None:
    """Commits and takes snapshots without end, and prints each number once it is acknowledged."""
    store = await open_documents(url)
    for number in counting(await store.last_number() + 1):
        await store.commit(entry(number, records=b"%d" % number), writes_of(number))
        print(number, flush=True)
        if number % 20 == 0:
            await store.save_snapshot(number, b"state after %d" % number)


@pytest.mark.parametrize("enough", [1, 19, 70])
async def test_what_was_acknowledged_survives_a_kill(documents_url: str, enough: int) -> None:
    program = f"import asyncio, {__name__} as suite; asyncio.run(suite.commit_until_killed({documents_url!r}))"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    lines = [await child.stdout.readline() for _ in range(enough)]
    child.kill()
    lines += (await child.stdout.read()).splitlines()
    await child.wait()
    acknowledged = int(lines[-1])
    assert acknowledged >= enough

    store = await open_documents(documents_url)
    last = await store.last_number()
    assert last in (acknowledged, acknowledged + 1)
    number, state = await store.snapshot() or (0, b"state after 0")
    assert state == b"state after %d" % number
    assert [(one.number, one.records) for one in await store.read(number)] == [
        (later, b"%d" % later) for later in range(number + 1, last + 1)
    ]
    projected = await store.projected()
    assert number <= projected <= last
    assert await store.count("results") >= projected
    for later in range(projected + 1, last + 1):
        await store.project(later, writes_of(later))
    assert await read(store, "newest") == {"number": last}
    assert await store.count("results") == await store.projected() == last
    await store.commit(entry(last + 1), [])
    await store.close()
