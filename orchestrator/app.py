"""The orchestrator as a program: its home, its stores, its engine, its server.

The rule: one orchestrator owns a home, by a lock that goes with the process; where it serves stands in the home.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

import grpc
import structlog
from grpc_channelz.v1 import channelz_pb2_grpc
from grpc_channelz.v1._async import ChannelzServicer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from msgspec import Struct

from orchestrator.core.state import Settings
from orchestrator.engine import Engine
from orchestrator.garbage import Collector, Keep
from orchestrator.services.artifacts import Artifacts
from orchestrator.services.datasets import Datasets
from orchestrator.services.fleet import Fleet
from orchestrator.services.jobs import Jobs
from orchestrator.services.models import Models
from orchestrator.sessions import WorkerSessions
from orchestrator.submitting import Submitting
from tensorfleet.api.v1 import (
    artifacts_pb2,
    artifacts_pb2_grpc,
    datasets_pb2,
    datasets_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)
from tensorfleet.errors import FailedPrecondition, Unavailable
from tensorfleet.rpc.servers import make_server
from tensorfleet.stores import open_documents, open_objects
from tensorfleet.stores.contract import DocumentStore, ObjectStore

log = structlog.get_logger(__name__)

STOP_SECONDS = 1.0
SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (jobs_pb2, "JobService"),
        (worker_pb2, "WorkerService"),
        (fleet_pb2, "FleetService"),
        (datasets_pb2, "DatasetService"),
        (models_pb2, "ModelService"),
        (artifacts_pb2, "ArtifactService"),
    )
)


class HomeTaken(FailedPrecondition):
    """Another orchestrator owns the home."""

    reason = "HOME_TAKEN"
    exit_code = 4


class Options(Struct, frozen=True, kw_only=True):
    """home: where the default stores, the lock and the address are. listen: HOST:PORT, port 0 for any that is free.
    keep: how long what nobody named is kept."""

    home: Path
    listen: str = "127.0.0.1:0"
    documents: str = ""
    objects: str = ""
    insecure: bool = False
    settings: Settings = Settings()
    keep: Keep = Keep()


async def serve(options: Options) -> None:
    """Serves until SIGTERM or SIGINT. HomeTaken, Unavailable, FailedPrecondition."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(options) as (address, engine):
        log.info("serving", address=address, home=str(options.home))
        assert engine.failed is not None
        engine.failed.add_done_callback(lambda _: stop.set())
        await stop.wait()
        if engine.failed.done():
            engine.failed.result()


@contextlib.asynccontextmanager
async def running(options: Options) -> AsyncIterator[tuple[str, Engine]]:
    """An orchestrator that serves within this context, and the address it serves at."""
    _check_listen(options)
    with _lock(options.home):
        documents = await open_documents(options.documents or options.home)
        objects = await open_objects(options.objects or options.home)
        writer = f"{os.getpid()}-{secrets.token_hex(4)}"
        engine = Engine(documents, writer, options.settings, objects=objects)
        collector = Collector(engine, documents, objects, options.keep)
        server = make_server()
        try:
            await engine.start()
            await _add_services(server, engine, documents, objects, collector)
            address = await _listen(server, options.listen)
            told = _tell(options.home, address, engine)
            collecting = asyncio.create_task(collector.run())
            try:
                yield address, engine
            finally:
                collecting.cancel()
                told.unlink(missing_ok=True)
        finally:
            await server.stop(STOP_SECONDS)
            await engine.stop()
            await objects.close()
            await documents.close()


def _check_listen(options: Options) -> None:
    host, colon, port = options.listen.rpartition(":")
    if not colon or not port.isdecimal():
        raise FailedPrecondition(f"--listen takes HOST:PORT such as 127.0.0.1:9090, not {options.listen!r}")
    local = host.strip("[]") in ("localhost", "::1") or host.startswith("127.")
    if not local and not options.insecure:
        raise FailedPrecondition(
            f"{options.listen} can be reached from other machines, and this release has no TLS and no tokens yet: "
            "listen on 127.0.0.1, or add --insecure where everyone on the network may run code here"
        )


@contextlib.contextmanager
def _lock(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    file: IO[str] = (home / "lock").open("w")
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeTaken(f"another orchestrator owns {home}; use it, or give another --home") from None
        yield
    finally:
        file.close()


async def _add_services(
    server: grpc.aio.Server, engine: Engine, documents: DocumentStore, objects: ObjectStore, collector: Collector
) -> None:
    submitting = Submitting(engine, documents)
    jobs_pb2_grpc.add_JobServiceServicer_to_server(Jobs(submitting, documents, objects), server)
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerSessions(engine, objects), server)
    fleet = Fleet(engine, documents, objects, collector, time.time())
    fleet_pb2_grpc.add_FleetServiceServicer_to_server(fleet, server)
    datasets_pb2_grpc.add_DatasetServiceServicer_to_server(Datasets(submitting, documents, objects), server)
    models_pb2_grpc.add_ModelServiceServicer_to_server(Models(submitting, documents, objects), server)
    artifacts_pb2_grpc.add_ArtifactServiceServicer_to_server(Artifacts(objects), server)
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    channelz_pb2_grpc.add_ChannelzServicer_to_server(ChannelzServicer(), server)
    own = (health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, "grpc.channelz.v1.Channelz")
    reflection.enable_server_reflection((*SERVICES, *own, reflection.SERVICE_NAME), server)
    for name in ("", *SERVICES):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)


async def _listen(server: grpc.aio.Server, listen: str) -> str:
    host = listen.rpartition(":")[0]
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise Unavailable(
            f"cannot listen on {listen}: the port is taken, or the address is not this machine's"
        ) from error
    await server.start()
    return f"{host}:{port}"


def _tell(home: Path, address: str, engine: Engine) -> Path:
    """Writes where this orchestrator serves, whole or not at all."""
    place, fresh = home / "orchestrator.json", home / f".orchestrator.{os.getpid()}.json"
    fresh.write_text(json.dumps({"address": address, "pid": os.getpid(), "term": engine.state.term}) + "\n")
    fresh.replace(place)
    return place
