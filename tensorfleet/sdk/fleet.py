"""Workers and the fleet at a glance, as the client sees them."""

from collections.abc import Sequence

from tensorfleet import wire
from tensorfleet.api.v1 import fleet_pb2
from tensorfleet.model import Garbage, Resources
from tensorfleet.sdk.calls import Calls
from tensorfleet.sdk.reading import moment
from tensorfleet.sdk.values import FleetStatus, RunningAttempt, WorkerInfo


class AsyncWorkers:
    """The workers of a fleet."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def list(self, *, gone: bool = False) -> Sequence[WorkerInfo]:
        """Workers by id; gone: also those that left or were lost."""
        request = fleet_pb2.ListWorkersRequest(include_gone=gone)
        response = await self._calls.unary(self._calls.fleet.ListWorkers, request)
        return [read(worker) for worker in response.workers]

    async def drain(self, worker_id: str) -> WorkerInfo:
        """Lets a worker finish what it holds and leave. NotFound where there is none of that id."""
        request = fleet_pb2.DrainWorkerRequest(worker_id=worker_id)
        response = await self._calls.unary(self._calls.fleet.DrainWorker, request)
        return read(response.worker)


async def collect_garbage(calls: Calls, older_than: float | None, dry_run: bool) -> Garbage:
    request = fleet_pb2.CollectGarbageRequest(dry_run=dry_run, older_than=wire.duration(older_than))
    return wire.garbage_from_proto(await calls.unary(calls.fleet.CollectGarbage, request, works=True))


async def status(calls: Calls) -> FleetStatus:
    response = await calls.unary(calls.fleet.GetStatus, fleet_pb2.GetStatusRequest())
    return FleetStatus(
        release=response.release,
        term=response.term,
        started_at=moment(response, "started_at"),
        jobs=dict(sorted(response.jobs.items())),
        workers=dict(sorted(response.workers.items())),
        slots=response.slots,
        busy_slots=response.busy_slots,
        document_store=response.document_store,
        object_store=response.object_store,
        journal_entry=response.journal_entry,
        models=response.models,
        datasets=response.datasets,
    )


def read(proto: fleet_pb2.Worker) -> WorkerInfo:
    return WorkerInfo(
        id=proto.id,
        state=wire.worker_state_from_proto(proto.state),
        pid=proto.pid,
        host=proto.host,
        slots=proto.slots,
        labels=dict(sorted(proto.labels.items())),
        running=tuple(_running(attempt) for attempt in proto.running),
        resources=Resources(cpus=proto.resources.cpus, memory=proto.resources.memory_bytes, gpus=proto.resources.gpus),
        capabilities=tuple(proto.capabilities),
        fingerprint=proto.fingerprint,
        joined_at=moment(proto, "joined_at"),
        heard_at=moment(proto, "heard_at"),
        load=proto.load,
        memory=proto.memory_bytes,
        release=proto.release,
    )


def _running(proto: fleet_pb2.RunningAttempt) -> RunningAttempt:
    return RunningAttempt(
        job=proto.job_id,
        task=f"{proto.stage}/{proto.index}",
        token=proto.token,
        pid=proto.pid,
        age=wire.duration_seconds(proto.age),
    )
