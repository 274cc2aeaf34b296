"""What becomes of MongoDB's documents when the server or the way to it breaks, at any command of what is being done."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tensorfleet.errors import Deposed, FailedPrecondition, Unavailable
from tensorfleet.stores import open_documents, open_objects
from tensorfleet.stores.contract import DocumentStore, Entry, Write
from tensorfleet.stores.mongo import MongoDocuments
from tensorfleet.stores.mongo_url import gridfs, place
from tests.servers import programs
from tests.servers.proxy import Command, Fate, Proxy, nth
from tests.servers.running import database_url, remove_database, required

WRITES = ("insert", "update", "delete")


@pytest_asyncio.fixture
async def url() -> AsyncIterator[str]:
    url = database_url("quick_mongo")
    yield url
    await remove_database(url)


@pytest_asyncio.fixture
async def proxy(url: str) -> AsyncIterator[Proxy]:
    async with Proxy(url).running() as proxy:
        yield proxy


@pytest_asyncio.fixture
async def troubled(proxy: Proxy) -> AsyncIterator[DocumentStore]:
    """A store on whose way to the server things go wrong."""
    store = await open_documents(proxy.url)
    yield store
    proxy.decide = lambda command: Fate.PASS
    await store.close()


@pytest_asyncio.fixture
async def other(url: str) -> AsyncIterator[DocumentStore]:
    """Another orchestrator's, with a way of its own."""
    store = await open_documents(url)
    yield store
    await store.close()


def entry(number: int, writer: str = "a", term: int = 1) -> Entry:
    return Entry(number, term, writer, b"%d" % number)


def writes_of(number: int) -> list[Write]:
    """Documents that are new, that change and that go with each entry."""
    return [
        Write("tasks", f"t{number}", {"number": number}),
        Write("jobs", "j", {"number": number}),
        Write("models", f"m{number}", {"name": f"m{number}", "version": "v1"}),
        Write("models", f"m{number - 1}", None),
    ]


async def check_drawn(store: DocumentStore, last: int) -> None:
    """The documents are those of the entries up to the last."""
    assert await store.find("jobs") == [{"number": last}]
    assert [task["number"] for task in await store.find("tasks", order=["number"])] == list(range(1, last + 1))
    assert [model["name"] for model in await store.find("models")] == [f"m{last}"]


def writing(command: Command) -> bool:
    return next(iter(command)) in WRITES


def into_journal(command: Command) -> bool:
    return command.get("insert") == "journal"


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNANSWERED])
async def test_an_entry_whose_fate_is_unclear_is_committed_again(
    troubled: DocumentStore, proxy: Proxy, fate: Fate
) -> None:
    await troubled.commit(entry(1), writes_of(1))
    proxy.decide = nth(1, fate, into_journal)
    with pytest.raises(Unavailable):
        await troubled.commit(entry(2), writes_of(2))
    await troubled.commit(entry(2), writes_of(2))
    assert await troubled.read(0) == [entry(1), entry(2)]
    await check_drawn(troubled, 2)


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNANSWERED])
async def test_an_entry_whose_fate_is_unclear_may_be_anothers(
    troubled: DocumentStore, other: DocumentStore, proxy: Proxy, fate: Fate
) -> None:
    """Who was cut off in the middle of a commit finds out whose its number is."""
    await troubled.commit(entry(1), writes_of(1))
    proxy.decide = nth(1, fate, into_journal)
    with pytest.raises(Unavailable):
        await troubled.commit(entry(2), writes_of(2))
    last = await other.last_number()
    await other.commit(entry(last + 1, "b", term=2), [])
    if fate is Fate.LOST:
        with pytest.raises(Deposed):
            await troubled.commit(entry(2), writes_of(2))
        assert await other.read(1) == [entry(2, "b", term=2)]
    else:
        await troubled.commit(entry(2), writes_of(2))
        with pytest.raises(Deposed):
            await troubled.commit(entry(3), writes_of(3))
        assert await other.read(1) == [entry(2), entry(3, "b", term=2)]


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNANSWERED])
async def test_a_commit_may_be_cut_off_at_any_command(url: str, proxy: Proxy, fate: Fate) -> None:
    """Whoever takes over draws what is missing; whoever tries again ends with the same."""
    store = await open_documents(proxy.url)
    await store.commit(entry(1), writes_of(1))
    last = 1
    for command in range(1, 100):
        proxy.decide = nth(command, fate, writing)
        last += 1
        try:
            await store.commit(entry(last), writes_of(last))
        except Unavailable:
            pass
        else:
            break
        if command % 2:
            await store.commit(entry(last), writes_of(last))
        else:
            await store.close()
            store = await open_documents(proxy.url)
            last = await recovered(store)
        await check_drawn(store, last)
    assert command > 5
    await store.close()


async def recovered(store: DocumentStore) -> int:
    """Projects what was not, as an orchestrator does when it starts; the last number."""
    projected = await store.projected()
    for one in await store.read(0):
        if one.number > projected:
            await store.project(one.number, writes_of(one.number))
    last = await store.last_number()
    assert await store.projected() == last
    assert projected >= last - 1
    return last


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNANSWERED])
async def test_a_snapshot_may_be_cut_off_at_any_command(
    url: str, proxy: Proxy, other: DocumentStore, fate: Fate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tensorfleet.stores.mongo_journal.PART", 4)
    store = await open_documents(proxy.url)
    for command in range(1, 100):
        last = await store.last_number()
        for number in range(last + 1, last + 5):
            await store.commit(entry(number), [])
        before = await store.snapshot()
        proxy.decide = nth(command, fate, writing)
        after = (last + 3, b"the state after %d" % (last + 3))
        try:
            await store.save_snapshot(*after)
        except Unavailable:
            pass
        else:
            break
        kept = await other.snapshot()
        assert kept in (before, after)
        assert [one.number for one in await other.read(kept[0] if kept else 0)] == list(
            range((kept[0] if kept else 0) + 1, last + 5)
        )
        assert await other.last_number() == last + 4
        await store.close()
        store = await open_documents(proxy.url)
    assert command > 5
    assert await store.snapshot() == after
    assert isinstance(store, MongoDocuments)
    assert store._opened is not None
    database = store._opened.connected.database
    assert await database["snapshots"].count_documents({}) == 1
    assert b"".join([part["data"] async for part in database["snapshot_parts"].find().sort("index")]) == after[1]
    assert [one.number for one in await store.read(0)] == [1, last + 4]
    await store.close()


async def test_a_snapshot_is_read_whole_while_others_take_its_place(
    url: str, other: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tensorfleet.stores.mongo_journal.PART", 1)
    store = await open_documents(url)
    last = 25

    async def take() -> None:
        for number in range(1, last + 1):
            await store.commit(entry(number), [])
            await store.save_snapshot(number, b"%d" % number * (1 + number % 3))

    async def follow() -> int:
        seen = 0
        while seen < last:
            kept = await other.snapshot()
            if kept is not None:
                assert kept[1] == b"%d" % kept[0] * (1 + kept[0] % 3)
                assert kept[0] >= seen
                seen = kept[0]
        return seen

    assert await asyncio.gather(take(), follow(), follow()) == [None, last, last]
    assert isinstance(store, MongoDocuments)
    assert store._opened is not None
    await store._opened.connected.database["snapshot_parts"].delete_one({})
    with pytest.raises(FailedPrecondition, match="damaged"):
        await other.snapshot()
    await store.close()


async def test_a_majority_that_does_not_confirm_is_no_commit(troubled: DocumentStore, proxy: Proxy) -> None:
    """The server has done it, and cannot say that it stays."""
    unconfirmed = {"ok": 1.0, "n": 1, "writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}
    for collection in ("journal", "tasks"):
        proxy.decide = lambda command: unconfirmed if command.get("insert") == collection else Fate.PASS  # noqa: B023
        with pytest.raises(Unavailable, match="replication"):
            await troubled.commit(entry(1), writes_of(1))
    proxy.decide = lambda command: Fate.PASS
    await troubled.commit(entry(1), writes_of(1))
    await check_drawn(troubled, 1)


async def test_a_server_that_leads_no_more_is_unavailable(troubled: DocumentStore, proxy: Proxy) -> None:
    refusal = {"ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary", "errmsg": "not primary"}
    proxy.decide = lambda command: refusal if writing(command) or "find" in command else Fate.PASS
    for work in (troubled.commit(entry(1), []), troubled.last_number(), troubled.lease(), troubled.find("jobs")):
        with pytest.raises(Unavailable, match="not primary"):
            await work
    proxy.decide = lambda command: Fate.PASS
    await troubled.commit(entry(1), [])


async def test_what_the_server_forbids_is_no_matter_of_patience(troubled: DocumentStore, proxy: Proxy) -> None:
    refusal = {"ok": 0.0, "code": 13, "codeName": "Unauthorized", "errmsg": "not authorized on fleet"}
    proxy.decide = lambda command: refusal if writing(command) else Fate.PASS
    with pytest.raises(FailedPrecondition, match="not authorized on fleet"):
        await troubled.commit(entry(1), [])


# At start


Opening = Callable[[str], Awaitable[Any]]


async def _open_gridfs(url: str) -> Any:
    return await open_objects(gridfs(url))


@pytest.fixture(params=[open_documents, _open_gridfs], ids=["documents", "gridfs"])
def opening(request: pytest.FixtureRequest) -> Opening:
    open_store: Opening = request.param
    return open_store


def with_password(url: str) -> str:
    return url.replace("mongodb://", "mongodb://fleet:hunter2@")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_a_server_that_is_not_there_is_named(opening: Opening) -> None:
    port = programs.free_port()
    with pytest.raises(Unavailable) as caught:
        await opening(f"mongodb://fleet:hunter2@127.0.0.1:{port}/own?serverSelectionTimeoutMS=50")
    assert f"127.0.0.1:{port}" in caught.value.message
    assert "'own'" in caught.value.message
    assert "Connect call failed" in caught.value.message
    assert "hunter2" not in caught.value.message
    assert len(caught.value.message) < 200
    del caught
    gc.collect()  # the driver leaves a socket that it was connecting when it was closed


async def test_a_user_who_is_not_known_is_refused(proxy: Proxy, opening: Opening) -> None:
    refusal = {"ok": 0.0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "Authentication failed."}
    proxy.decide = lambda command: refusal if "saslStart" in command else Fate.PASS
    with pytest.raises(FailedPrecondition, match=r"Authentication failed\.") as caught:
        await opening(with_password(proxy.url))
    assert urlsplit(proxy.url).netloc in caught.value.message
    assert "hunter2" not in caught.value.message


async def test_a_server_that_is_too_old_is_refused(proxy: Proxy, opening: Opening) -> None:
    old = {"ok": 1.0, "ismaster": True, "maxWireVersion": 6, "minWireVersion": 0, "maxBsonObjectSize": 16777216}
    proxy.decide = lambda command: old if {"hello", "ismaster", "isMaster"} & command.keys() else Fate.PASS
    with pytest.raises(FailedPrecondition, match="wire version") as caught:
        await opening(proxy.url)
    assert urlsplit(proxy.url).netloc in caught.value.message


@pytest.mark.parametrize("option", ["authMechanism=hunter2", "connectTimeoutMS=hunter2", "tls=hunter2"])
async def test_a_url_that_cannot_be_is_refused_and_not_told(opening: Opening, option: str) -> None:
    with pytest.raises(FailedPrecondition, match=r"127\.0\.0\.1") as caught:
        await opening(f"mongodb://fleet:hunter2@127.0.0.1/own?{option}")
    assert "hunter2" not in str(caught.value)


async def test_nothing_shows_a_password(url: str) -> None:
    store = MongoDocuments(place(with_password(url)))
    assert store.url == url
    assert "hunter2" not in str(store.where)


async def test_a_newer_database_is_refused_and_left_alone(url: str) -> None:
    store = await open_documents(url)
    await store.commit(entry(1), writes_of(1))
    assert isinstance(store, MongoDocuments)
    assert store._opened is not None
    database = store._opened.connected.database
    await database["about"].update_one({"_id": "schema"}, {"$set": {"schema": 7}})
    await database["tokens"].drop()
    with pytest.raises(FailedPrecondition, match=r"newer release.*7"):
        await open_documents(url)
    assert "tokens" not in await database.list_collection_names()
    await database["journal"].update_one({"_id": 1}, {"$set": {"schema": 7}})
    with pytest.raises(FailedPrecondition, match=r"newer release.*7"):
        await store.read(0)
    await store.close()


# A server that dies


@pytest.mark.parametrize("kills", [3])
async def test_what_was_acknowledged_survives_the_servers_death(tmp_path: Path, kills: int) -> None:
    """While it is away the store says so; when it is back the store goes on by itself."""
    required()
    server = programs.durable_mongo(tmp_path)
    server.start()
    try:
        store = await open_documents(f"{server.url}/fleet?serverSelectionTimeoutMS=200")
        acknowledged = 0
        for _ in range(kills):
            killing = asyncio.get_running_loop().call_later(0.05, server.kill)
            with suppress(Unavailable):
                while True:
                    await store.commit(entry(acknowledged + 1), writes_of(acknowledged + 1))
                    acknowledged += 1
            killing.cancel()
            for work in (store.last_number(), store.find("jobs"), store.lease()):
                with pytest.raises(Unavailable, match=str(server.port)):
                    await work
            server.start()
            await committed(store, acknowledged + 1)
            acknowledged += 1
            assert await store.read(0, limit=10_000) == [entry(number) for number in range(1, acknowledged + 1)]
            await check_drawn(store, acknowledged)
        await store.close()
    finally:
        server.kill()


async def committed(store: DocumentStore, number: int) -> None:
    """Tries until it is, as the engine does."""
    while True:
        try:
            return await store.commit(entry(number), writes_of(number))
        except Unavailable:
            await asyncio.sleep(0.01)
