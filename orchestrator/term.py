"""One term of an orchestrator: from its first entry in the journal until it ends or is deposed.

The rule: everything that a term knows is made for it and ends with it; the next one reads the journal anew.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Coroutine
from typing import Any

import grpc
from msgspec import Struct

from orchestrator.core.state import Settings
from orchestrator.engine import Engine
from orchestrator.front import Front
from orchestrator.garbage import Collector, Keep
from orchestrator.leadership import Leadership
from orchestrator.services.artifacts import Artifacts
from orchestrator.services.datasets import Datasets
from orchestrator.services.fleet import Fleet
from orchestrator.services.jobs import Jobs
from orchestrator.services.models import Models
from orchestrator.sessions import WorkerSessions
from orchestrator.submitting import Submitting
from tensorfleet.api.v1 import (
    artifacts_pb2_grpc,
    datasets_pb2_grpc,
    fleet_pb2_grpc,
    jobs_pb2_grpc,
    models_pb2_grpc,
    worker_pb2_grpc,
)
from tensorfleet.stores.contract import DocumentStore, ObjectStore


class House(Struct, frozen=True, kw_only=True):
    """What outlives terms."""

    documents: DocumentStore
    objects: ObjectStore
    settings: Settings
    keep: Keep
    leadership: Leadership
    front: Front


class Term:
    """An engine, and the services around it."""

    def __init__(self, house: House) -> None:
        self._house = house
        writer = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._engine = Engine(house.documents, writer, house.settings, objects=house.objects)
        self._collector = Collector(self._engine, house.documents, house.objects, house.keep)

    @property
    def number(self) -> int:
        return self._engine.state.term

    async def begin(self) -> None:
        """Reads the journal, begins, and serves. Deposed, Unavailable."""
        await self._engine.start()
        self._house.front.open(self._add_services)

    def _add_services(self, server: grpc.aio.Server) -> None:
        documents, objects = self._house.documents, self._house.objects
        submitting = Submitting(self._engine, documents)
        jobs_pb2_grpc.add_JobServiceServicer_to_server(Jobs(submitting, documents, objects), server)
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerSessions(self._engine, objects), server)
        fleet = Fleet(self._engine, documents, objects, self._collector, time.time())
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(fleet, server)
        datasets_pb2_grpc.add_DatasetServiceServicer_to_server(Datasets(submitting, documents, objects), server)
        models_pb2_grpc.add_ModelServiceServicer_to_server(Models(submitting, documents, objects), server)
        artifacts_pb2_grpc.add_ArtifactServiceServicer_to_server(Artifacts(objects), server)

    async def work(self) -> None:
        """Goes on until the term ends, and raises what it ends by: Deposed, or whatever went wrong."""
        collecting = asyncio.create_task(self._collector.run())
        try:
            assert self._engine.failed is not None
            await asyncio.shield(self._engine.failed)
        finally:
            collecting.cancel()

    async def end(self) -> None:
        """Serves no more; what is being committed is waited for where this one still leads."""
        if not self._house.leadership.holds():
            self._engine.abandon()
        await self._house.front.close()
        await self._engine.stop()


async def first(*works: Coroutine[Any, Any, object]) -> None:
    """Runs all until one ends; raises what that one raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
