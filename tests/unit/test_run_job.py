"""RunJob: a job submitted and watched in one call costs a message a commit, and no look into the store."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from orchestrator.core.state import Settings
from orchestrator.engine import Engine
from orchestrator.services import jobs
from orchestrator.services.jobs import Jobs
from orchestrator.submitting import Submitting
from tensorfleet.api.v1 import jobs_pb2 as pb
from tensorfleet.errors import InvalidRequest
from tensorfleet.testing.simulated.documents import Database, MemoryDocuments
from tests.unit.test_engine import Busy


class Documents(MemoryDocuments):
    """reads: the collections that were looked into."""

    def __init__(self) -> None:
        super().__init__(Database())
        self.reads: list[str] = []

    async def get(self, collection: str, ids: Any) -> dict[str, dict[str, Any]]:
        self.reads.append(collection)
        return await super().get(collection, ids)

    async def find(self, collection: str, where: Mapping[str, Any] | None = None, **how: Any) -> list[dict[str, Any]]:
        self.reads.append(collection)
        return await super().find(collection, where, **how)


class Fleet:
    """The job service over an engine, with one worker that ends each task as soon as it hears of it."""

    def __init__(self) -> None:
        self.documents = Documents()
        self.engine = Engine(self.documents, "test", Settings())
        objects: Any = None
        self.service = Jobs(Submitting(self.engine, self.documents), self.documents, objects)
        self.context: Any = self

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    async def run(self, request_id: str = "", tasks: int = 1) -> list[list[pb.JobEvent]]:
        """The events of each message."""
        spec = pb.JobSpec(algorithm="noop")
        spec.hyperparameters["tasks"].integer = tasks
        request = pb.RunJobRequest(request_id=request_id, spec=spec)
        return [list(message.events) async for message in self.service.RunJob(request, self.context)]


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet()
    await fleet.documents.open()
    await fleet.engine.start()
    Busy(fleet.engine, 1_000_000)
    fleet.documents.reads.clear()
    yield fleet
    await fleet.engine.stop()


def kinds(messages: list[list[pb.JobEvent]]) -> list[str | None]:
    return [event.WhichOneof("event") for events in messages for event in events]


async def test_a_job_of_one_task_is_two_messages_and_no_read(fleet: Fleet) -> None:
    messages = await fleet.run()
    assert len(messages) <= 2
    assert kinds(messages) == [
        *("state_changed", "stage_opened", "state_changed", "tasks_assigned"),
        *("tasks_succeeded", "ended"),
    ]
    assert messages[-1][-1].ended.state == pb.JOB_STATE_SUCCEEDED
    assert messages[-1][-1].ended.tasks.run == 1
    assert fleet.documents.reads == []


async def test_a_submission_is_answered_without_a_read(fleet: Fleet) -> None:
    spec = pb.JobSpec(algorithm="noop", submitter="nobody")
    answer = await fleet.service.SubmitJob(pb.SubmitJobRequest(spec=spec), fleet.context)
    assert (answer.job.id, answer.job.spec.submitter) == (answer.job_id, "")
    assert fleet.documents.reads == []
    again = await fleet.service.GetJob(pb.GetJobRequest(job_id=answer.job_id), fleet.context)
    assert again.job.created_at == answer.job.created_at


async def test_a_submission_that_is_repeated_is_answered_by_its_job(fleet: Fleet) -> None:
    request = pb.SubmitJobRequest(request_id="once", spec=pb.JobSpec(algorithm="noop"))
    one, other = await asyncio.gather(*(fleet.service.SubmitJob(request, fleet.context) for _ in range(2)))
    late = await fleet.service.SubmitJob(request, fleet.context)
    assert one.job.id == other.job.id == late.job.id == one.job_id


async def test_a_request_that_is_repeated_while_its_job_goes_on_tells_the_same_story(fleet: Fleet) -> None:
    one, other = await asyncio.gather(fleet.run("once", 50), fleet.run("once", 50))
    told, again = ([event for events in messages for event in events] for messages in (one, other))
    assert told == again
    assert told[-1].ended.tasks.run == 50


async def test_a_request_that_is_repeated_later_tells_it_too(fleet: Fleet) -> None:
    told = [event for events in await fleet.run("once", 50) for event in events]
    again = [event for events in await fleet.run("once", 50) for event in events]
    assert told == again


async def test_what_is_refused_is_watched_no_more(fleet: Fleet) -> None:
    with pytest.raises(InvalidRequest):
        await fleet.run(tasks=-1)
    await fleet.run()
    assert not fleet.engine.watched


async def test_many_events_are_several_messages(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "CHUNK_BYTES", 200)
    messages = await fleet.run(tasks=300)
    assert all(sum(event.ByteSize() for event in events[:-1]) < 200 for events in messages)
    cursors = [event.cursor for events in messages for event in events]
    whole = [event async for events in fleet.engine.watch(messages[0][0].job_id) for event in events]
    assert cursors == [str(happening.cursor) for happening in whole]
    indexes = [index for events in messages for event in events for index in event.tasks_succeeded.indexes]
    assert sorted(indexes) == list(range(300))
