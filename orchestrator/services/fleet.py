"""FleetService: the workers, the fleet at a glance, its garbage."""

from collections import Counter
from typing import Any, TypeAlias

import grpc

from orchestrator import views
from orchestrator.core.events import DrainWorker
from orchestrator.core.state import GONE
from orchestrator.engine import Engine
from orchestrator.garbage import Collector
from tensorfleet import __version__
from tensorfleet.api.v1 import fleet_pb2 as pb
from tensorfleet.api.v1 import fleet_pb2_grpc
from tensorfleet.errors import InvalidRequest
from tensorfleet.model import FieldViolation, JobState, WorkerState
from tensorfleet.stores.contract import DocumentStore, ObjectStore
from tensorfleet.wire import duration_seconds, garbage_to_proto, timestamp

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Fleet(fleet_pb2_grpc.FleetServiceServicer):
    def __init__(
        self,
        engine: Engine,
        documents: DocumentStore,
        objects: ObjectStore,
        collector: Collector,
        started_at: float,
    ) -> None:
        self._engine = engine
        self._collector = collector
        self._documents = documents
        self._objects = objects
        self._started_at = started_at

    async def ListWorkers(self, request: pb.ListWorkersRequest, context: Context) -> pb.ListWorkersResponse:
        state = self._engine.state
        shown = [
            views.worker(state, worker)
            for _, worker in sorted(state.workers.items())
            if request.include_gone or worker.state not in GONE
        ]
        return pb.ListWorkersResponse(workers=shown)

    async def DrainWorker(self, request: pb.DrainWorkerRequest, context: Context) -> pb.DrainWorkerResponse:
        await self._engine.ask(lambda ticket: DrainWorker(ticket, request.worker_id))
        state = self._engine.state
        return pb.DrainWorkerResponse(worker=views.worker(state, state.workers[request.worker_id]))

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        jobs = {kind.value: await self._documents.count("jobs", {"state": kind.value}) for kind in JobState}
        models, datasets = await self._documents.count("models"), await self._documents.count("datasets")
        # From here on nothing is waited for, so that workers and slots are those of one moment.
        state = self._engine.state
        ready = [worker for worker in state.workers.values() if worker.state == WorkerState.READY]
        return pb.GetStatusResponse(
            release=__version__,
            term=state.term,
            started_at=timestamp(self._started_at),
            jobs={name: count for name, count in jobs.items() if count},
            workers=Counter(worker.state.value for worker in state.workers.values()),
            slots=sum(worker.info.slots for worker in ready),
            busy_slots=sum(min(len(worker.held), worker.info.slots) for worker in ready),
            document_store=self._documents.url,
            object_store=self._objects.url,
            journal_entry=self._engine.number,
            models=models,
            datasets=datasets,
        )

    async def CollectGarbage(self, request: pb.CollectGarbageRequest, context: Context) -> pb.CollectGarbageResponse:
        older_than = duration_seconds(request.older_than) if request.HasField("older_than") else None
        if older_than is not None and older_than < 0:
            raise InvalidRequest([FieldViolation("older_than", f"expected 0 seconds or more, not {older_than:g}")])
        return garbage_to_proto(await self._collector.collect(older_than=older_than, dry_run=request.dry_run))
