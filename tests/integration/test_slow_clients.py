"""A client that does not read is cut off, and comes back where it was: with real streams, whose windows fill."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest

from orchestrator.core import commands as c
from orchestrator.core import events as e
from orchestrator.core.state import Settings
from orchestrator.engine import Engine
from orchestrator.services.jobs import Jobs as JobService
from orchestrator.submitting import Submitting
from tensorfleet.api.v1 import jobs_pb2, jobs_pb2_grpc
from tensorfleet.errors import ResourceExhausted
from tensorfleet.model import LogLine, Points, TaskResult
from tensorfleet.rpc import servers
from tensorfleet.rpc.channels import open_channel
from tensorfleet.rpc.status import to_error
from tensorfleet.sdk import watching
from tensorfleet.sdk.calls import Calls
from tensorfleet.stores.contract import ObjectStore
from tensorfleet.testing.simulated.documents import Database, MemoryDocuments
from tests.simulation.fleet import info

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


class Talkative:
    """A worker that reports a large piece of a log once the one before is acknowledged, and then ends its task."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._token = 0
        engine.to_worker = self._hear
        engine.feed(e.OpenSession(1, info("w", slots=1, credit=1), 1, 1, {}, (), ()))

    def _hear(self, command: c.ToWorker) -> None:
        if isinstance(command, c.Assign):
            self._token = command.token
            self._report(1)
        elif isinstance(command, c.AckReport) and command.number < EVENTS:
            self._report(command.number + 1)
        elif isinstance(command, c.AckReport):
            ended = {"cause": None, "reason": "", "message": "", "log_tail": (), "duration": 0.1, "started": True}
            self._engine.feed(e.Finished("w", 1, self._token, TaskResult(), last_report=EVENTS, **ended))

    def _report(self, number: int) -> None:
        self._engine.feed(e.Report("w", 1, self._token, number, Points(), (LogLine(0.0, "stdout", "x" * SIZE),)))


@pytest.fixture
async def talking(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Engine, MemoryDocuments, str]]:
    """An engine, its documents, and the address of a job service over it."""
    monkeypatch.setattr(servers, "UNREAD_SECONDS", 0.3)
    documents = MemoryDocuments(Database())
    await documents.open()
    engine = Engine(documents, "test", Settings())
    await engine.start()
    Talkative(engine)
    server, objects = servers.make_server(), cast(ObjectStore, None)
    service = JobService(Submitting(engine, documents), documents, objects)
    jobs_pb2_grpc.add_JobServiceServicer_to_server(service, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield engine, documents, address
    await server.stop(None)
    await engine.stop()


async def test_who_reads_too_slowly_sees_each_event_once(talking: tuple[Engine, MemoryDocuments, str]) -> None:
    """It runs a job that says far more than it reads: it falls behind, is cut off, comes back, and catches up."""
    engine, documents, address = talking
    calls, seen = Calls(address), list[jobs_pb2.JobEvent]()
    spec = jobs_pb2.JobSpec(algorithm="noop")
    async for message in watching.run(calls, jobs_pb2.RunJobRequest(request_id="once", spec=spec)):
        seen += message.events
        if len(seen) == len(message.events):
            while engine.watched:  # until it is cut off
                await asyncio.sleep(0.05)
        if seen[-1].HasField("ended"):
            break
    await calls.close()
    entries = await documents.find("events", {"job_id": seen[0].job_id}, order=("number",))
    there = [f"{entry['number']}.{index}" for entry in entries for index in range(len(entry["events"]))]
    assert [event.cursor for event in seen] == there
    assert [event.task_reported.number for event in seen if event.HasField("task_reported")] == [*range(1, EVENTS + 1)]
