"""A second orchestrator takes over: after a kill, after a silence, in the middle of a commit, after a farewell."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pymongo import AsyncMongoClient

from tensorfleet import AsyncClient
from tensorfleet.api.v1 import fleet_pb2, fleet_pb2_grpc
from tensorfleet.errors import NotLeader
from tensorfleet.rpc.status import to_error
from tensorfleet.sdk.events import AttemptFailed, Event, TasksSucceeded
from tests.campaign.proxy import Proxy
from tests.e2e.pair import Pair
from tests.servers.running import database_url, remove_database

pytestmark = pytest.mark.stores("local")  # It chooses its stores itself.

SPEC = {"algorithm": "random_forest", "hyperparameters": {"n_estimators": 40}}
LONG = "synthetic:classification?rows=12000&features=20&classes=3&seed=1"
FOREVER = 3600.0
"""Seconds of a lease that no test waits out."""


@pytest_asyncio.fixture
async def database() -> AsyncIterator[str]:
    url = database_url("durable_mongo")
    yield url
    await remove_database(url)


@pytest_asyncio.fixture
async def pair(tmp_path: Path, database: str) -> AsyncIterator[Pair]:
    async with Pair(tmp_path, database) as pair:
        yield pair


@pytest_asyncio.fixture
async def client(pair: Pair) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(pair.both) as client:
        yield client


async def struck(client: AsyncClient, strike: Any) -> list[Event]:
    """A job during which something happens, seen by one watcher; its model is that of the same job undisturbed."""
    calm = await (await client.train(LONG, **SPEC)).result()
    job = await client.train(LONG, **SPEC, ignore_known_results=True)
    events: list[Event] = []
    fits, struck = 0, False
    async for event in job.watch():
        events.append(event)
        fits += len(event.indexes) if isinstance(event, TasksSucceeded) and event.stage == "fit" else 0
        if fits >= 2 and not struck:
            struck = True
            await strike()
    assert (await job.result()).sha256 == calm.sha256
    results = [event for event in events if isinstance(event, TasksSucceeded)]
    succeeded = [(event.stage, index) for event in results for index in event.indexes]
    assert len(succeeded) == len(set(succeeded)) == job.tasks.total
    assert len({event.cursor for event in events}) == len(events)
    assert [event.cursor async for event in job.watch()] == [event.cursor for event in events]
    return events


async def test_the_leader_is_killed_and_the_other_goes_on(pair: Pair, client: AsyncClient) -> None:
    async def kill() -> None:
        pair.signal(await pair.leader(), signal.SIGKILL)

    events = await struck(client, kill)
    assert not [event for event in events if isinstance(event, AttemptFailed)]
    assert (await client.status()).term == 2
    terms = {token >> 32 for event in events if isinstance(event, TasksSucceeded) for token in event.tokens}
    assert terms == {1, 2}


async def test_a_stopped_leader_is_replaced_and_knows_it_when_it_goes_on(pair: Pair, client: AsyncClient) -> None:
    """Nothing that it says then is of its term: whoever asked it meanwhile is sent to the new leader."""
    old = await pair.leader()
    async with grpc.aio.insecure_channel(pair.addresses[old]) as channel:
        fleet = fleet_pb2_grpc.FleetServiceStub(channel)
        assert (await fleet.GetStatus(fleet_pb2.GetStatusRequest())).term == 1
        asked = []

        async def stop() -> None:
            pair.signal(old, signal.SIGSTOP)
            asked.extend(asyncio.create_task(told(fleet)) for _ in range(20))

        events = await struck(client, stop)
        assert (await client.status()).term == 2
        pair.signal(old, signal.SIGCONT)
        assert set(await asyncio.gather(*asked)) <= {"", pair.addresses[1 - old]}  # at first it knows of nobody yet
    assert not [event for event in events if isinstance(event, AttemptFailed)]
    # It stands by now, and takes over in its turn.
    pair.signal(1 - old, signal.SIGKILL)
    await pair.leader(old)
    assert (await client.status()).term == 3
    await (await client.train("iris", **SPEC)).result()


async def told(fleet: Any) -> str:
    """Where the leader is that a refused caller is told of."""
    try:
        await fleet.ListWorkers(fleet_pb2.ListWorkersRequest())  # answered from memory: nothing delays it
    except grpc.aio.AioRpcError as failure:
        error = to_error(failure)
        return error.leader if isinstance(error, NotLeader) else repr(error)
    return "served"


class Toll(Proxy):
    """A line that stops at the first piece with a mark in it, until it flows again."""

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream)
        self._mark = b""
        self.stopped = asyncio.Event()

    def stop_at(self, mark: bytes) -> None:
        self._mark = mark

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if self._mark and self._mark in data:
                self._mark = b""
                self.hang()
                self.stopped.set()
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


async def test_a_commit_that_comes_after_the_takeover_is_refused(tmp_path: Path, database: str) -> None:
    """The leader is stopped while its commit is on the way; that arrives when the other has begun its term."""
    base, _, name = database.rpartition("/")
    line = Toll(int(base.rpartition(":")[2]))
    await line.start()
    urls = (f"mongodb://{line.address}/{name}", database)
    try:
        async with Pair(tmp_path, database, urls=urls) as pair, AsyncClient(pair.both) as client:
            await client.status()
            line.stop_at(b"insert\x00\x08\x00\x00\x00journal\x00")
            submitting = asyncio.create_task(client.train("iris", **SPEC))
            await line.stopped.wait()
            pair.signal(0, signal.SIGSTOP)
            await pair.leader(1)
            taken = (await client.status()).journal_entry
            line.flow()
            pair.signal(0, signal.SIGCONT)
            job = await submitting
            await job.result()
            assert [each.id for each in await client.jobs.list()] == [job.id]
            assert (await client.status()).term == 2
            # It has begun anew, and leads again.
            pair.signal(1, signal.SIGKILL)
            await pair.leader(0)
            assert (await client.job(job.id)).state == "succeeded"
        async with AsyncMongoClient[dict[str, Any]](database) as mongo:
            journal = mongo.get_default_database()["journal"]
            entries = [(entry["_id"], entry["term"]) async for entry in journal.find({}).sort("_id", 1)]
        assert [number for number, _ in entries] == list(range(1, len(entries) + 1))
        assert [term for _, term in entries] == sorted(term for _, term in entries)
        assert dict(entries)[taken] == 2
    finally:
        await line.stop()


async def test_a_standby_answers_with_the_leaders_address(pair: Pair) -> None:
    leader = await pair.leader()
    async with grpc.aio.insecure_channel(pair.addresses[1 - leader]) as channel:
        assert await told(fleet_pb2_grpc.FleetServiceStub(channel)) == pair.addresses[leader]
        asking = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        services = {service.name for service in (await asking.read()).list_services_response.service}
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "tensorfleet.api.v1.JobService"):
            asked = health_pb2.HealthCheckRequest(service=name)
            assert (await health.Check(asked)).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert (await health.Watch(asked).read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert "tensorfleet.api.v1.JobService" in services
    async with AsyncClient(pair.addresses[1 - leader]) as client:  # with its address alone
        assert (await client.status()).term == 1


async def test_one_that_was_not_told_to_stand_by_is_refused(tmp_path: Path, database: str) -> None:
    async with Pair(tmp_path, database, workers=0) as pair:
        await pair.leader(0)
        pair.orchestrators[1].kill()
        refused = pair.orchestrator(1, standby=False)
        assert await refused.ended() == 2
        assert f"{pair.addresses[0]} leads" in refused.last_words(1)
        assert "--standby" in refused.last_words(1)


async def test_a_leader_that_ends_hands_over_at_once(tmp_path: Path, database: str) -> None:
    async with Pair(tmp_path, database, workers=0, lease=FOREVER) as pair, AsyncClient(pair.both) as client:
        assert await pair.leader() == 0
        pair.signal(0, signal.SIGTERM)
        assert await pair.orchestrators[0].ended() == 0
        await pair.leader(1)
        assert (await client.status()).term == 2


async def test_a_leader_that_is_started_again_does_not_wait_for_itself(tmp_path: Path, database: str) -> None:
    async with Pair(tmp_path, database, workers=0, lease=FOREVER) as pair, AsyncClient(pair.both) as client:
        pair.signal(0, signal.SIGKILL)
        pair.again(0)
        await pair.leader(0)
        assert (await client.status()).term == 2


async def test_a_standby_needs_stores_that_both_reach(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "orchestrator", "--standby", "--home", str(tmp_path / "home")]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, error = await process.communicate()
    assert process.returncode == 2
    assert b"MONGODB_URL" in error
