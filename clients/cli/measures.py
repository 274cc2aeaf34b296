"""What a fleet does with work that costs nothing, as its clients see it: rates, times, and whether anything was lost.

The rule: a measure submits jobs that anybody can submit, and counts what has come to the client. When its time is up it
cancels the rest, and tells what came until then.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import grpc
from msgspec import Struct
from msgspec.structs import replace

from tensorfleet import wire
from tensorfleet.api.v1 import artifacts_pb2, artifacts_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from tensorfleet.errors import JobFailed
from tensorfleet.model import JobSpec, JobState, Ref, Value
from tensorfleet.rpc.channels import CHUNK_BYTES, open_channel
from tensorfleet.rpc.status import to_error
from tensorfleet.sdk import reading

CLIENTS = 8
"""Clients that run jobs one by one, each with a connection of its own."""
BATCH = 500
"""Jobs that are submitted in one call."""
AGAIN = 5
"""How often the same bytes are asked for again: a worker that has them may not be the first to be chosen."""
PAGE = 1000
OVER = "its measure is over"


class Came(Struct):
    """What has come of a measure. seconds: from its first request to the last that came. cut: its time was up.

    points: of metrics, whose steps add up to `steps`.
    """

    tasks: int = 0
    points: int = 0
    steps: float = 0.0
    seconds: float = 0.0
    cut: bool = False

    def rate(self, count: int) -> float:
        """So many of them a second."""
        return count / self.seconds if self.seconds else 0.0


class Moved(Struct, frozen=True):
    """Bytes that came to a worker. seconds: of a job of one task that needs them, from its submission to its result;
    again: of the quickest such job later."""

    size: int
    seconds: float
    again: float


def noop(tasks: int = 1, *, name: str = "", workers: int = 0, **parameters: Value) -> JobSpec:
    """A job of so many tasks that do nothing; see `tensorfleet.algorithms.noop`. workers: most at once, 0 for all."""
    given: dict[str, Value] = {"tasks": tasks, **parameters}
    return JobSpec(algorithm="noop", model_name=name, workers=workers, hyperparameters=given)


def request(spec: JobSpec) -> jobs_pb2.RunJobRequest:
    return jobs_pb2.RunJobRequest(spec=wire.spec_to_proto(spec))


@asynccontextmanager
async def calling(address: str) -> AsyncIterator[Any]:
    """A stub of `JobService` over a connection of its own. Raises the catalogue's errors for what its calls raise."""
    async with open_channel(address) as channel:
        try:
            yield jobs_pb2_grpc.JobServiceStub(channel)
        except grpc.RpcError as error:
            raise to_error(error) from error


async def run(stub: Any, job: jobs_pb2.RunJobRequest, limit: float | None = None) -> Came:
    """Runs a job in one call, until each of its tasks' results has come. limit: seconds. JobFailed."""
    came, begun, id = Came(), perf_counter(), ""
    call = stub.RunJob(job)
    try:
        async with asyncio.timeout(limit):
            async for response in call:
                for event in response.events:
                    id = event.job_id
                    count(came, event)
    except TimeoutError:
        came.cut = True
        call.cancel()
    came.seconds = perf_counter() - begun
    if came.cut and id:
        await stub.CancelJob(jobs_pb2.CancelJobRequest(job_id=id, reason=OVER))
    return came


def count(came: Came, event: jobs_pb2.JobEvent) -> None:
    """Adds what an event tells. JobFailed where that is the job's failure."""
    match event.WhichOneof("event"):
        case "tasks_succeeded":
            came.tasks += len(event.tasks_succeeded.indexes)
        case "task_reported":
            steps = event.task_reported.points.steps
            came.points += len(steps)
            came.steps += sum(steps)
        case "ended":
            require_success(event.ended)


def require_success(job: jobs_pb2.Job) -> None:
    """JobFailed where it ended without its result."""
    if job.state == jobs_pb2.JOB_STATE_SUCCEEDED:
        return
    info = reading.job(job)
    message = info.failure.message if info.failure else f"job {info.id} was {info.state}"
    raise JobFailed(message, reason=info.failure.reason if info.failure else None, failure=info.failure)


async def clear(stub: Any, name: str) -> None:
    """Cancels all jobs of a name."""
    for state in (JobState.QUEUED, JobState.RUNNING):
        left = jobs_pb2.ListJobsRequest(page_size=PAGE, filter=f"state={state} AND model_name={name}")
        while jobs := (await stub.ListJobs(left)).jobs:
            for job in jobs:
                await stub.CancelJob(jobs_pb2.CancelJobRequest(job_id=job.id, reason=OVER))


async def many_jobs(stub: Any, spec: JobSpec, count: int, limit: float | None = None) -> Came:
    """Many jobs of one task, submitted in batches, until each has come as it ended. spec: named as no others are."""
    single = jobs_pb2.SubmitJobRequest(spec=wire.spec_to_proto(spec))
    came, begun = Came(), perf_counter()

    async def submitted(jobs: int) -> None:
        """Submits some and waits for them."""
        answer = await stub.SubmitJobs(jobs_pb2.SubmitJobsRequest(requests=[single] * jobs))
        async for ended in stub.WaitForJobs(jobs_pb2.WaitForJobsRequest(job_ids=answer.job_ids)):
            for job in ended.jobs:
                require_success(job)
                came.tasks += 1

    try:
        async with asyncio.timeout(limit):
            await asyncio.gather(*(submitted(min(BATCH, count - start)) for start in range(0, count, BATCH)))
    except TimeoutError:
        came.cut = True
        await clear(stub, spec.model_name)
    came.seconds = perf_counter() - begun
    return came


async def one_by_one(address: str, spec: JobSpec, count: int, limit: float | None = None) -> Came:
    """Many jobs of one task, each run by one of several clients, which has the result before it runs the next."""
    numbers, job = iter(range(count)), request(spec)
    came, begun = Came(), perf_counter()

    async def client() -> None:
        async with calling(address) as stub:
            for _ in numbers:
                left = None if limit is None else begun + limit - perf_counter()
                one = await run(stub, job, left)
                came.tasks += one.tasks
                if one.cut:
                    came.cut = True
                    return

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    came.seconds = perf_counter() - begun
    return came


async def round_trips(stub: Any, spec: JobSpec, count: int, limit: float | None = None) -> list[float]:
    """Seconds of each of some jobs of one task, one after another, from submission to the end of the job's stream."""
    job, times, begun = request(spec), list[float](), perf_counter()
    while len(times) < count:
        left = None if limit is None else begun + limit - perf_counter()
        one = await run(stub, job, left)
        if one.cut:
            break
        times.append(one.seconds)
    return times


async def bytes_to_worker(stub: Any, spec: JobSpec, ref: Ref) -> Moved:
    """Takes stored bytes as an input of jobs of one task."""
    spec = replace(spec, hyperparameters={**spec.hyperparameters, "inputs": {ref.digest: ref.size}})
    first = await run(stub, request(spec))
    return Moved(ref.size, first.seconds, min(await round_trips(stub, spec, AGAIN)))


async def put(address: str, size: int) -> Ref:
    """Stores random bytes, which no worker has."""

    async def parts() -> AsyncIterator[artifacts_pb2.PutArtifactRequest]:
        for start in range(0, size, CHUNK_BYTES):
            yield artifacts_pb2.PutArtifactRequest(chunk=secrets.token_bytes(min(CHUNK_BYTES, size - start)))

    async with open_channel(address) as channel:
        try:
            response = await artifacts_pb2_grpc.ArtifactServiceStub(channel).PutArtifact(parts())
        except grpc.RpcError as error:
            raise to_error(error) from error
    return Ref(response.ref.digest, response.ref.size_bytes)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed."""
    listed = sorted(values)
    return listed[min(len(listed) - 1, max(0, -(-int(share * 1000) * len(listed) // 1000) - 1))]
