"""Calls: what is tried again, with what, for how long; and which errors come out."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from tensorfleet.api.v1 import fleet_pb2, jobs_pb2
from tensorfleet.client import AsyncClient
from tensorfleet.errors import InvalidRequest, NotFound, NotLeader, ResourceExhausted, Unavailable
from tensorfleet.model import FieldViolation, JobSpec
from tensorfleet.sdk.calls import Calls
from tests.unit.fake_fleet import FakeFleet, job, reported, serving


@pytest.fixture
async def fake() -> AsyncIterator[FakeFleet]:
    async with serving(FakeFleet()) as fleet:
        yield fleet


@pytest.fixture(autouse=True)
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are as long as they may be."""
    monkeypatch.setattr("tensorfleet.rpc.pauses.random.uniform", lambda _low, high: high)


class Naps:
    """A sleep that only remembers."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


async def submit(calls: Calls) -> jobs_pb2.SubmitJobResponse:
    request = jobs_pb2.SubmitJobRequest(request_id="once", spec=jobs_pb2.JobSpec(dataset="iris"))
    return await calls.unary(calls.jobs.SubmitJob, request)


async def test_what_is_unavailable_is_tried_again_with_growing_pauses(fake: FakeFleet) -> None:
    away = Unavailable("the store is away")
    fake.answer("SubmitJob", away, away, away, jobs_pb2.SubmitJobResponse(job_id="job-1"))
    calls = Calls(fake.address, sleep=(naps := Naps()))
    assert (await submit(calls)).job_id == "job-1"
    assert naps.taken == [0.05, 0.1, 0.2]
    await calls.close()


async def test_a_submission_that_is_tried_again_has_the_same_request_id(fake: FakeFleet) -> None:
    fake.answer("SubmitJob", Unavailable("away"), jobs_pb2.SubmitJobResponse(job_id="job-1", job=job()))
    async with AsyncClient(fake.address, user="ada") as client:
        assert (await client.submit(JobSpec(dataset="iris"))).id == "job-1"
        await client.submit(JobSpec(dataset="iris"))
    first, again, other = [request.request_id for request in fake.requests["SubmitJob"]]
    assert first == again != other
    assert fake.metadata["x-user-id"] == "ada"


async def test_the_servers_delay_is_honoured(fake: FakeFleet) -> None:
    full = ResourceExhausted("the inbox is full", retry_after=1.5)
    fake.answer("SubmitJob", full, jobs_pb2.SubmitJobResponse(job_id="job-1"))
    calls = Calls(fake.address, sleep=(naps := Naps()))
    await submit(calls)
    assert naps.taken == [1.5]
    await calls.close()


async def test_a_limit_without_a_delay_is_told_at_once(fake: FakeFleet) -> None:
    fake.answer("SubmitJob", ResourceExhausted("at most 64 MiB"))
    calls = Calls(fake.address, sleep=(naps := Naps()))
    with pytest.raises(ResourceExhausted, match="at most 64 MiB"):
        await submit(calls)
    assert naps.taken == []
    await calls.close()


async def test_every_bad_field_comes_out_and_nothing_is_tried_again(fake: FakeFleet) -> None:
    bad = [FieldViolation("spec.algorithm", "no such one"), FieldViolation("spec.dataset", "expected one")]
    fake.answer("SubmitJob", InvalidRequest(bad))
    async with AsyncClient(fake.address) as client:
        with pytest.raises(InvalidRequest) as told:
            await client.submit(JobSpec())
    assert told.value.violations == tuple(bad)
    assert len(fake.requests["SubmitJob"]) == 1


async def test_an_error_keeps_its_reason(fake: FakeFleet) -> None:
    fake.answer("GetJob", NotFound("there is no job job-9", reason="NO_SUCH_JOB"))
    async with AsyncClient(fake.address) as client:
        with pytest.raises(NotFound) as told:
            await client.job("job-9")
    assert (told.value.reason, told.value.message) == ("NO_SUCH_JOB", "there is no job job-9")


async def test_a_server_that_stays_away_is_given_up_on(fake: FakeFleet) -> None:
    fake.answer("GetStatus", Unavailable("the store is away"))
    calls = Calls(fake.address, timeout=0.01, sleep=Naps())
    with pytest.raises(Unavailable, match="the store is away"):
        await calls.unary(calls.fleet.GetStatus, fleet_pb2.GetStatusRequest(), works=True)
    await calls.close()


async def test_nobody_there_says_what_to_do() -> None:
    async with AsyncClient("127.0.0.1:1", timeout=0.01) as client:
        with pytest.raises(Unavailable) as told:
            await client.status()
    assert told.value.exit_code == 3


@pytest.mark.parametrize("address", ["", "nowhere", "host:", ":80", "host:0", "host:99999", "a:1,b"])
def test_an_address_that_is_none_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENSORFLEET_SERVER", raising=False)
    with pytest.raises(InvalidRequest):
        AsyncClient(address)


async def test_a_stream_that_speaks_is_believed_anew(fake: FakeFleet) -> None:
    away = Unavailable("away")
    fake.answer("WatchJob", [reported("1", 1), away], [away], [reported("2", 2), away], [reported("3", 3)])
    calls = Calls(fake.address, sleep=(naps := Naps()))

    def open_from(cursor: str) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        return aiter(calls.jobs.WatchJob(jobs_pb2.WatchJobRequest(job_id="job-1", after=cursor)))

    stream = calls.stream(open_from, lambda message: message.events[-1].cursor, "")
    assert [(await anext(stream)).events[-1].cursor for _ in range(3)] == ["1", "2", "3"]
    assert naps.taken == [0.05, 0.1, 0.05]
    await calls.close()


async def test_a_call_goes_to_the_leader_that_a_standby_tells_of(fake: FakeFleet) -> None:
    fake.answer("SubmitJob", jobs_pb2.SubmitJobResponse(job_id="job-1"))
    async with serving(FakeFleet()) as standby:
        standby.answer("SubmitJob", NotLeader("standing by", leader=fake.address))
        calls = Calls(standby.address, sleep=(naps := Naps()))
        assert (await submit(calls)).job_id == "job-1"
        assert (await submit(calls)).job_id == "job-1"
        await calls.close()
    assert naps.taken == []
    assert len(standby.requests["SubmitJob"]) == 1


async def test_who_was_asked_everywhere_in_vain_knows_that_nobody_serves(fake: FakeFleet) -> None:
    seen: list[bool] = []

    async def sleep(seconds: float) -> None:
        seen.append(calls.away)

    fake.answer("SubmitJob", Unavailable("away"), jobs_pb2.SubmitJobResponse(job_id="job-1"))
    calls = Calls(fake.address, sleep=sleep)
    await submit(calls)
    assert seen == [True]
    assert not calls.away
    await calls.close()


async def test_calls_turn_to_the_other_address_when_one_is_away(fake: FakeFleet) -> None:
    fake.answer("SubmitJob", jobs_pb2.SubmitJobResponse(job_id="job-1"))
    calls = Calls(f"127.0.0.1:1,{fake.address}", sleep=(naps := Naps()))
    assert (await submit(calls)).job_id == "job-1"
    assert naps.taken == []
    await calls.close()


async def test_a_stream_goes_on_at_the_new_leader(fake: FakeFleet) -> None:
    fake.answer("WatchJob", [reported("2", 2)])
    async with serving(FakeFleet()) as old:
        old.answer("WatchJob", [reported("1", 1), NotLeader("deposed", leader=fake.address)])
        calls = Calls(old.address, sleep=Naps())

        def open_from(cursor: str) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
            return aiter(calls.jobs.WatchJob(jobs_pb2.WatchJobRequest(job_id="job-1", after=cursor)))

        stream = calls.stream(open_from, lambda message: message.events[-1].cursor, "")
        assert [(await anext(stream)).events[-1].cursor for _ in range(2)] == ["1", "2"]
        await calls.close()
    assert [request.after for request in fake.requests["WatchJob"]] == ["1"]


async def test_a_stream_that_was_quiet_for_long_is_still_opened_again(fake: FakeFleet) -> None:
    """Only the time without a server counts, and a quiet server is one."""

    async def broken_after_a_while() -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        await asyncio.sleep(0.25)
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())
        yield

    async def speaking() -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        yield reported("1", 1)

    opened = iter([broken_after_a_while, speaking])
    calls = Calls(fake.address, timeout=0.2, sleep=Naps())
    stream = calls.stream(lambda _: next(opened)(), lambda message: message.events[-1].cursor, "")
    assert (await anext(stream)).events[-1].cursor == "1"
