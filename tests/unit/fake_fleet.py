"""A fleet of scripts: the generated servicers on loopback, each answering what a test tells it to.

The rule: a script is a list of steps; a step is a message to answer with, or an error of the catalogue to raise.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from tensorfleet.api.v1 import (
    artifacts_pb2_grpc,
    datasets_pb2_grpc,
    fleet_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    models_pb2_grpc,
)
from tensorfleet.errors import TensorFleetError
from tensorfleet.rpc.status import to_status

Step = Message | TensorFleetError
SERVICES = (
    (jobs_pb2_grpc.JobServiceServicer, jobs_pb2_grpc.add_JobServiceServicer_to_server),
    (datasets_pb2_grpc.DatasetServiceServicer, datasets_pb2_grpc.add_DatasetServiceServicer_to_server),
    (models_pb2_grpc.ModelServiceServicer, models_pb2_grpc.add_ModelServiceServicer_to_server),
    (fleet_pb2_grpc.FleetServiceServicer, fleet_pb2_grpc.add_FleetServiceServicer_to_server),
    (artifacts_pb2_grpc.ArtifactServiceServicer, artifacts_pb2_grpc.add_ArtifactServiceServicer_to_server),
)
STREAMS = {"WatchJob", "RunJob", "WaitForJobs", "GetArtifact", "DownloadModel"}
UPLOADS = {"UploadDataset", "PutArtifact"}


class FakeFleet:
    """scripts: by method, one list of steps a call; the last list is used again. requests: what came, by method."""

    def __init__(self) -> None:
        self.address = ""
        self.scripts: dict[str, list[Sequence[Step]]] = {}
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.metadata: dict[str, str] = {}

    def answer(self, method: str, *calls: Step | Sequence[Step]) -> None:
        """What each call of a method gets, in turn."""
        self.scripts[method] = [call if isinstance(call, Sequence) else [call] for call in calls]

    def steps(self, method: str, request: Any, context: Any) -> Sequence[Step]:
        self.requests[method].append(request)
        self.metadata = dict(context.invocation_metadata())
        script = self.scripts[method]
        return script.pop(0) if len(script) > 1 else script[0]

    async def one(self, method: str, request: Any, context: Any) -> Any:
        for step in self.steps(method, request, context):
            if isinstance(step, TensorFleetError):
                await _abort(context, step)
            return step
        return None

    async def many(self, method: str, request: Any, context: Any) -> AsyncIterator[Any]:
        for step in self.steps(method, request, context):
            if isinstance(step, TensorFleetError):
                await _abort(context, step)
            yield step


async def _abort(context: Any, error: TensorFleetError) -> None:
    status = rpc_status.to_status(to_status(error))
    context.set_trailing_metadata(status.trailing_metadata)
    await context.abort(status.code, status.details)


def _servicer(kind: type, fake: FakeFleet) -> Any:
    def method(name: str) -> Any:
        async def unary(self: Any, request: Any, context: Any) -> Any:
            return await fake.one(name, request, context)

        async def stream(self: Any, request: Any, context: Any) -> AsyncIterator[Any]:
            async for step in fake.many(name, request, context):
                yield step

        async def upload(self: Any, request: Any, context: Any) -> Any:
            return await fake.one(name, [part async for part in request], context)

        return stream if name in STREAMS else upload if name in UPLOADS else unary

    names = [name for name in vars(kind) if name[0].isupper()]
    return type(kind.__name__, (kind,), {name: method(name) for name in names})()


@asynccontextmanager
async def serving(fake: FakeFleet, address: str = "127.0.0.1:0") -> AsyncIterator[FakeFleet]:
    """Serves a fake fleet meanwhile, with gRPC's health service."""
    server = grpc.aio.server()
    for kind, add in SERVICES:
        add(_servicer(kind, fake), server)  # type: ignore[operator]
    checks = health.aio.HealthServicer()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    fake.address = f"127.0.0.1:{server.add_insecure_port(address)}"
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(None)


def job(state: str = "QUEUED", **fields: Any) -> jobs_pb2.Job:
    """A job in a state."""
    spec = jobs_pb2.JobSpec(kind="JOB_KIND_TRAIN", algorithm="random_forest", dataset="iris")
    return jobs_pb2.Job(id="job-1", spec=spec, state=f"JOB_STATE_{state}", **fields)


def event(cursor: str, **what: Any) -> jobs_pb2.WatchJobResponse:
    """A message of one event of the job, with one kind of content."""
    return jobs_pb2.WatchJobResponse(events=[jobs_pb2.JobEvent(cursor=cursor, job_id="job-1", **what)])


def together(*messages: jobs_pb2.WatchJobResponse) -> jobs_pb2.WatchJobResponse:
    """The events of some messages in one."""
    return jobs_pb2.WatchJobResponse(events=[event for message in messages for event in message.events])


def reported(cursor: str, number: int) -> jobs_pb2.WatchJobResponse:
    """A report with one point, whose step is its number."""
    points = jobs_pb2.MetricPoints(names=["loss"], steps=[number], values=[1.0 / number])
    told = jobs_pb2.TaskReported(stage="fit", index=0, token=1, number=number, points=points)
    return event(cursor, task_reported=told)
