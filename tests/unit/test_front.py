"""What is behind an orchestrator's address: nobody, a term's services, or one that leads for a moment no more."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from orchestrator.front import Front
from tensorfleet.api.v1 import (
    datasets_pb2,
    datasets_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)
from tensorfleet.errors import NotLeader
from tensorfleet.rpc.servers import make_server
from tensorfleet.rpc.status import to_error


class Fleet(fleet_pb2_grpc.FleetServiceServicer):
    async def GetStatus(self, request: Any, context: Any) -> fleet_pb2.GetStatusResponse:
        return fleet_pb2.GetStatusResponse(term=3)


class Workers(worker_pb2_grpc.WorkerServiceServicer):
    """Greets, and listens in a task of its own, as the real one does."""

    async def Session(self, request_iterator: Any, context: Any) -> AsyncIterator[worker_pb2.OrchestratorMessage]:
        await anext(request_iterator)
        reading = asyncio.create_task(anext(request_iterator))
        yield worker_pb2.OrchestratorMessage(welcome=worker_pb2.Welcome(session=1))
        try:
            await asyncio.wait([reading])
        finally:
            reading.cancel()


class Datasets(datasets_pb2_grpc.DatasetServiceServicer):
    """Takes an upload that never ends."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def UploadDataset(self, request_iterator: Any, context: Any) -> datasets_pb2.UploadDatasetResponse:
        async for _ in request_iterator:
            self.begun.set()
        return datasets_pb2.UploadDatasetResponse()


class Jobs(jobs_pb2_grpc.JobServiceServicer):
    """A watch that begins, and waits to be told to go on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.over = asyncio.Event()
        self.filling, self.said = "", 0

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        try:
            for number in range(1000):
                self.said = number
                yield jobs_pb2.WatchJobResponse(events=[jobs_pb2.JobEvent(cursor=str(number), job_id=self.filling)])
                await self.go_on.wait()
        finally:
            self.over.set()


class Leadership:
    """Holds as a test says."""

    def __init__(self) -> None:
        self.leading = asyncio.Event()

    def holds(self) -> bool:
        return self.leading.is_set()

    async def held(self) -> None:
        await self.leading.wait()

    def refusal(self) -> NotLeader:
        return NotLeader("standing by", leader="there:1")


class House:
    def __init__(self) -> None:
        self.leadership = Leadership()
        unchecked: Any = self.leadership
        self.front = Front(unchecked)
        self.jobs, self.datasets = Jobs(), Datasets()

    def open(self) -> None:
        self.leadership.leading.set()
        self.front.open(self._add)

    def _add(self, server: grpc.aio.Server) -> None:
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(Fleet(), server)
        jobs_pb2_grpc.add_JobServiceServicer_to_server(self.jobs, server)
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(Workers(), server)
        datasets_pb2_grpc.add_DatasetServiceServicer_to_server(self.datasets, server)


@pytest_asyncio.fixture
async def house() -> AsyncIterator[tuple[House, grpc.aio.Channel]]:
    house, server = House(), make_server()
    server.add_generic_rpc_handlers((house.front,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield house, channel
    await server.stop(None)


async def status(channel: grpc.aio.Channel) -> int:
    return int((await fleet_pb2_grpc.FleetServiceStub(channel).GetStatus(fleet_pb2.GetStatusRequest())).term)


def watch(channel: grpc.aio.Channel) -> Any:
    return jobs_pb2_grpc.JobServiceStub(channel).WatchJob(jobs_pb2.WatchJobRequest())


async def refused(call: Any) -> str:
    """Where the leader is that the refused caller is told of."""
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await call
    assert told.value.code() is grpc.StatusCode.UNAVAILABLE
    error = to_error(told.value)
    assert isinstance(error, NotLeader)
    return error.leader


async def test_calls_of_every_kind_are_told_who_leads(house: tuple[House, grpc.aio.Channel]) -> None:
    assert await refused(status(house[1])) == "there:1"
    assert await refused(watch(house[1]).read()) == "there:1"


async def test_a_term_is_served_and_its_end_ends_its_streams(house: tuple[House, grpc.aio.Channel]) -> None:
    here, channel = house
    here.open()
    assert await status(channel) == 3
    watching = watch(channel)
    assert (await watching.read()).events[0].cursor == "0"
    await here.front.close()
    assert await refused(watching.read()) == "there:1"
    assert here.jobs.over.is_set()
    assert await refused(status(channel)) == "there:1"
    here.open()
    assert await status(channel) == 3


async def test_a_workers_session_ends_with_the_term(house: tuple[House, grpc.aio.Channel]) -> None:
    here, channel = house
    here.open()
    stub: Any = worker_pb2_grpc.WorkerServiceStub(channel)
    session = stub.Session()
    await session.write(worker_pb2.WorkerMessage())
    assert (await session.read()).welcome.session == 1
    await here.front.close()
    assert await refused(session.read()) == "there:1"


async def test_an_upload_ends_with_the_term(house: tuple[House, grpc.aio.Channel]) -> None:
    here, channel = house
    here.open()
    stub: Any = datasets_pb2_grpc.DatasetServiceStub(channel)
    upload = stub.UploadDataset()
    await upload.write(datasets_pb2.UploadDatasetRequest(chunk=b"x"))
    await here.datasets.begun.wait()
    await here.front.close()
    assert await refused(upload) == "there:1"


async def test_a_watcher_that_does_not_read_is_told_when_it_does(house: tuple[House, grpc.aio.Channel]) -> None:
    here, channel = house
    here.jobs.filling = "x" * 1_000_000
    here.jobs.go_on.set()
    here.open()
    watching = watch(channel)
    await watching.read()
    said = -1
    while said != here.jobs.said:  # until gRPC takes no more
        said = here.jobs.said
        await asyncio.sleep(0.05)
    await here.front.close()

    async def rest() -> None:
        while await watching.read() is not grpc.aio.EOF:
            pass

    assert await refused(rest()) == "there:1"


async def test_nothing_is_served_while_the_lease_is_over(house: tuple[House, grpc.aio.Channel]) -> None:
    here, channel = house
    here.open()
    here.leadership.leading.clear()
    assert await refused(status(channel)) == "there:1"


async def test_what_is_due_while_the_lease_is_over_waits(house: tuple[House, grpc.aio.Channel]) -> None:
    here, channel = house
    here.open()
    watching = watch(channel)
    await watching.read()
    here.leadership.leading.clear()
    here.jobs.go_on.set()
    late = asyncio.create_task(watching.read())
    await refused(status(channel))  # a round trip, in which the message had its chance
    assert not late.done()
    here.leadership.leading.set()
    assert (await late).events[0].cursor == "1"


async def test_what_is_due_after_the_end_is_never_said(house: tuple[House, grpc.aio.Channel]) -> None:
    here, channel = house
    here.open()
    watching = watch(channel)
    await watching.read()
    here.leadership.leading.clear()
    here.jobs.go_on.set()
    await refused(status(channel))
    await here.front.close()
    assert await refused(watching.read()) == "there:1"


async def test_a_method_that_is_none_is_unimplemented(house: tuple[House, grpc.aio.Channel]) -> None:
    here, channel = house
    here.open()
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await channel.unary_unary("/tensorfleet.api.v1.JobService/Nothing")(b"")
    assert told.value.code() is grpc.StatusCode.UNIMPLEMENTED
