"""What the server tells of one job, message by message: from a cursor on, or from its submission on.

The rule: a stream that broke goes on after the last event that came, so every event is told once and in order.
"""

from collections.abc import AsyncIterator, Iterable
from typing import TypeAlias

from tensorfleet.api.v1 import jobs_pb2
from tensorfleet.sdk import reading
from tensorfleet.sdk.calls import Calls
from tensorfleet.sdk.values import JobInfo

Message: TypeAlias = jobs_pb2.RunJobResponse | jobs_pb2.WatchJobResponse
"""One or more events, in order."""


def watch(calls: Calls, job_id: str, after: str) -> AsyncIterator[Message]:
    """What happens to a job after a cursor; an empty one begins at the beginning. Ends only by its reader."""

    def open_from(cursor: str) -> AsyncIterator[Message]:
        return _watch(calls, job_id, cursor)

    return calls.stream(open_from, _cursor, after)


async def run(calls: Calls, request: jobs_pb2.RunJobRequest) -> AsyncIterator[Message]:
    """Submits a job and tells what happens to it. request: with an id, so that it is submitted once."""
    job_id = ""

    def open_from(cursor: str) -> AsyncIterator[Message]:
        if cursor:
            return _watch(calls, job_id, cursor)
        return aiter(calls.jobs.RunJob(request, metadata=calls.metadata))

    async for message in calls.stream(open_from, _cursor, ""):
        job_id = message.events[-1].job_id
        yield message


async def end(messages: AsyncIterator[Message]) -> JobInfo:
    """Reads to the job's end, and gives the job as it then stood; of all else nothing is decoded."""
    async for message in messages:
        if message.events[-1].HasField("ended"):
            return reading.job(message.events[-1].ended)
    raise AssertionError("a watch ends by its reader")


async def ends(calls: Calls, job_ids: Iterable[str]) -> AsyncIterator[jobs_pb2.Job]:
    """Each of some jobs, once it has ended, in the order in which they end."""
    left = set(job_ids)

    def open_anew(_: str) -> AsyncIterator[jobs_pb2.WaitForJobsResponse]:
        request = jobs_pb2.WaitForJobsRequest(job_ids=sorted(left))
        return aiter(calls.jobs.WaitForJobs(request, metadata=calls.metadata))

    messages = calls.stream(open_anew, lambda _: "", "")
    while left:
        for job in (await anext(messages)).jobs:
            if job.id in left:
                left.discard(job.id)
                yield job


def _watch(calls: Calls, job_id: str, after: str) -> AsyncIterator[Message]:
    request = jobs_pb2.WatchJobRequest(job_id=job_id, after=after)
    return aiter(calls.jobs.WatchJob(request, metadata=calls.metadata))


def _cursor(message: Message) -> str:
    return message.events[-1].cursor
