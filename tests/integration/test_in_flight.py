"""Requests that would hold too many bytes at once are told to come back, and clients do."""

import asyncio
from typing import Any

import pytest

from orchestrator.underway import MOST_PUTS, Underway
from tensorfleet.api.v1 import jobs_pb2, jobs_pb2_grpc
from tensorfleet.errors import ResourceExhausted
from tensorfleet.rpc.servers import make_server
from tensorfleet.sdk.calls import Calls

LARGE = jobs_pb2.CancelJobRequest(job_id="j", reason="x" * 6000)


class Jobs(jobs_pb2_grpc.JobServiceServicer):
    """Answers when it is let."""

    def __init__(self) -> None:
        self.begun, self.let, self.served = asyncio.Semaphore(0), asyncio.Semaphore(0), 0

    async def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: Any) -> jobs_pb2.CancelJobResponse:
        self.begun.release()
        await self.let.acquire()
        self.served += 1
        return jobs_pb2.CancelJobResponse()


async def test_what_is_too_much_at_once_comes_back_later() -> None:
    server, jobs = make_server(in_flight_bytes=10_000), Jobs()
    jobs_pb2_grpc.add_JobServiceServicer_to_server(jobs, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        jobs.let.release()
        await first

    patient, other = Calls(address, sleep=sleep), Calls(address)
    first = asyncio.create_task(other.unary(other.jobs.CancelJob, LARGE))
    await jobs.begun.acquire()
    second = asyncio.create_task(patient.unary(patient.jobs.CancelJob, LARGE))
    await jobs.begun.acquire()  # once the first is served: that made room
    jobs.let.release()
    await second
    assert pauses == [1.0]
    assert jobs.served == 2
    for calls in (patient, other):
        await calls.close()
    await server.stop(None)


async def test_one_request_alone_is_always_taken() -> None:
    server, jobs = make_server(in_flight_bytes=10), Jobs()
    jobs_pb2_grpc.add_JobServiceServicer_to_server(jobs, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    jobs.let.release()
    calls = Calls(address)
    await calls.unary(calls.jobs.CancelJob, LARGE)
    await calls.close()
    await server.stop(None)


def test_so_many_uploads_at_once() -> None:
    underway = Underway(lambda: 0.0)
    open_ones = [underway.putting() for _ in range(MOST_PUTS)]
    for one in open_ones:
        one.__enter__()
    with pytest.raises(ResourceExhausted, match="uploads") as told, underway.putting():
        pass
    assert told.value.retry_after == 1.0
    open_ones[0].__exit__(None, None, None)
    with underway.putting():
        pass
