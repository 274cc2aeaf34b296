"""A client that does not read is cut off, and comes back where it was: with real streams, whose windows fill."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tensorfleet.api.v1 import jobs_pb2, jobs_pb2_grpc
from tensorfleet.errors import ResourceExhausted
from tensorfleet.rpc import servers
from tensorfleet.rpc.channels import open_channel
from tensorfleet.rpc.status import to_error
from tensorfleet.sdk.calls import Calls

EVENTS, SIZE = 200, 100_000
TOGETHER = 3
"""Events in a message."""


class Jobs(jobs_pb2_grpc.JobServiceServicer):
    """Tells far more events than a stream's window holds. ahead: how many were made; closed: streams that are over."""

    def __init__(self) -> None:
        self.ahead = 0
        self.closed = asyncio.Semaphore(0)

    async def WatchJob(self, request: jobs_pb2.WatchJobRequest, context: Any) -> AsyncIterator[Any]:
        try:
            for first in range(int(request.after or 0) + 1, EVENTS + 1, TOGETHER):
                numbers = range(first, min(first + TOGETHER, EVENTS + 1))
                self.ahead = numbers[-1]
                told = jobs_pb2.TaskReported(lines=[jobs_pb2.LogLine(text="x" * SIZE)])
                events = [jobs_pb2.JobEvent(cursor=str(each), job_id="j", task_reported=told) for each in numbers]
                yield jobs_pb2.WatchJobResponse(events=events)
        finally:
            self.closed.release()


async def read_all(call: Any, into: list[str]) -> None:
    while True:
        into += [event.cursor for event in (await call.read()).events]


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Jobs, str]]:
    monkeypatch.setattr(servers, "UNREAD_SECONDS", 0.3)
    server, jobs = servers.make_server(), Jobs()
    jobs_pb2_grpc.add_JobServiceServicer_to_server(jobs, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield jobs, address
    await server.stop(None)


async def test_a_watcher_that_never_reads_is_cut_off_with_a_cursor(served: tuple[Jobs, str]) -> None:
    jobs, address = served
    async with open_channel(address) as channel:
        call = jobs_pb2_grpc.JobServiceStub(channel).WatchJob(jobs_pb2.WatchJobRequest(job_id="j"))
        await jobs.closed.acquire()  # though nothing was read
        assert jobs.ahead < EVENTS, "what it does not read is not made"
        read: list[str] = []
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await read_all(call, read)
        error = to_error(raised.value)
        assert isinstance(error, ResourceExhausted)
        assert error.retry_after
        assert 0 < int(error.cursor) <= jobs.ahead
        assert int(error.cursor) % TOGETHER == 0, "that of a message's last event"
        assert read == [str(number) for number in range(1, len(read) + 1)]


async def test_the_client_comes_back_by_itself_where_it_was(served: tuple[Jobs, str]) -> None:
    jobs, address = served
    calls = Calls(address)
    seen = []

    def open_from(cursor: str) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        return aiter(calls.jobs.WatchJob(jobs_pb2.WatchJobRequest(job_id="j", after=cursor)))

    async for message in calls.stream(open_from, lambda message: message.events[-1].cursor, ""):
        seen += [int(event.cursor) for event in message.events]
        if seen[-1] == TOGETHER:
            await jobs.closed.acquire()  # slow enough to be cut off
        if seen[-1] == EVENTS:
            break
    await calls.close()
    assert seen == list(range(1, EVENTS + 1))
