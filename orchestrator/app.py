"""The orchestrator as a program: its home, its stores, its server, and its terms one after another.

The rule: one orchestrator owns a home, by a lock that goes with the process; where it serves stands in the home.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import grpc
from grpc_channelz.v1 import channelz_pb2_grpc
from grpc_channelz.v1._async import ChannelzServicer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from msgspec import Struct

from orchestrator.core.state import Settings
from orchestrator.front import Front
from orchestrator.garbage import Keep
from orchestrator.leadership import Alone, Leadership, Leased
from orchestrator.services.health import Health
from orchestrator.term import House, Term, first
from orchestrator.watchdog import watched
from tensorfleet.api.v1 import artifacts_pb2, datasets_pb2, fleet_pb2, jobs_pb2, models_pb2, worker_pb2
from tensorfleet.config import address_problem
from tensorfleet.errors import Deposed, FailedPrecondition, Unavailable
from tensorfleet.logs import Logger
from tensorfleet.rpc.servers import IN_FLIGHT_BYTES, make_server
from tensorfleet.stores import open_documents, open_objects
from tensorfleet.stores.contract import DocumentStore

log = Logger(__name__)

STOP_SECONDS = 1.0
PAUSE_SECONDS = 0.2
"""Between two terms, where the store fails at each beginning."""
HANGS_SECONDS = 30.0
"""How long nothing may go on in here where another orchestrator could lead; reading a large journal takes its time."""
LEADER_LEASE, SHORTEST_LEASE = 5.0, 0.5
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


class AddressTaken(Unavailable):
    """The orchestrator cannot listen where it is to."""

    reason = "ADDRESS_TAKEN"
    exit_code = 5


class Options(Struct, frozen=True, kw_only=True):
    """home: where the default stores, the lock and the address are. listen: HOST:PORT, port 0 for any that is free.

    documents, objects: URLs of stores outside of the home. in_flight_bytes: of requests served at once. standby: wait
    while another orchestrator leads on these documents. advertise: where others reach this one, when that is not where
    it listens. leader_lease: seconds after which a leader that is not heard of is over. keep: how long what nobody
    named is kept.
    """

    home: Path
    listen: str = "127.0.0.1:0"
    documents: str = ""
    objects: str = ""
    insecure: bool = False
    in_flight_bytes: int = IN_FLIGHT_BYTES
    standby: bool = False
    advertise: str = ""
    leader_lease: float = LEADER_LEASE
    settings: Settings = Settings()
    keep: Keep = Keep()


async def serve(options: Options) -> None:
    """Serves until SIGTERM or SIGINT. HomeTaken, Led, Deposed, Unavailable, FailedPrecondition."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _check(options)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_lock(options.home))
        documents = await open_documents(options.documents or options.home)
        stack.push_async_callback(documents.close)
        objects = await open_objects(options.objects or options.home)
        stack.push_async_callback(objects.close)
        server = make_server(options.in_flight_bytes)
        stack.push_async_callback(server.stop, STOP_SECONDS)
        address = _bind(server, options.listen)
        leadership = _leadership(options, documents, address)
        front = Front(leadership)
        health = _add_services(server, front)
        await server.start()
        stack.push_async_callback(leadership.release)
        seat = stack.enter_context(_Seat(options.home, address))
        if options.documents:
            stack.enter_context(watched(max(HANGS_SECONDS, 3 * options.leader_lease)))
        house = House(
            documents=documents,
            objects=objects,
            settings=options.settings,
            keep=options.keep,
            leadership=leadership,
            front=front,
        )
        await first(lead(house, health, seat, options.standby), stop.wait())


async def lead(house: House, health: Health, seat: "_Seat", standby: bool) -> None:
    """Leads term after term, where it stands by in between; else one. Raises what ends it."""
    while True:
        await health.tell(False)
        if standby:
            log.info("standing by", address=seat.address)
            seat.tell()
        await house.leadership.take()
        term = Term(house)
        try:
            await first(_serve(term, health, seat), house.leadership.keep())
        except (Deposed, Unavailable) as error:
            if not standby:
                raise
            log.warning("the term is over", why=error.message)
        finally:
            await health.tell(False)
            await term.end()
        await asyncio.sleep(PAUSE_SECONDS)


async def _serve(term: Term, health: Health, seat: "_Seat") -> None:
    await term.begin()
    await health.tell(True)
    seat.tell(term.number)
    log.info("serving", address=seat.address, term=term.number)
    await term.work()


def _leadership(options: Options, documents: DocumentStore, address: str) -> Leadership:
    if not options.documents:
        return Alone()
    return Leased(
        documents,
        _holder(options.home),
        options.advertise or _reachable(address),
        options.leader_lease,
        standby=options.standby,
    )


def _holder(home: Path) -> str:
    """The name under which an orchestrator holds the lease: that of its home."""
    place = home / "holder"
    if not place.exists():
        fresh = home / ".holder"
        fresh.write_text(secrets.token_hex(8))
        fresh.replace(place)
    return place.read_text().strip()


def _reachable(address: str) -> str:
    """Where others reach what listens at an address."""
    host, _, port = address.rpartition(":")
    return f"{socket.gethostname()}:{port}" if host in ("0.0.0.0", "[::]") else address


def _check(options: Options) -> None:
    if options.leader_lease < SHORTEST_LEASE:
        raise FailedPrecondition(
            f"--leader-lease takes {SHORTEST_LEASE:g} seconds or more, not {options.leader_lease:g}"
        )
    if options.advertise and (problem := address_problem(options.advertise)):
        raise FailedPrecondition(f"--advertise: {problem}")
    if options.standby and not (options.documents and options.objects):
        raise FailedPrecondition(
            "--standby needs stores that both orchestrators reach, and this one would keep its own in its home: give "
            "both the same MONGODB_URL, and OBJECTS_URL or S3_BUCKET"
        )
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


def _add_services(server: grpc.aio.Server, front: Front) -> Health:
    server.add_generic_rpc_handlers((front,))
    health = Health(front, SERVICES)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    channelz_pb2_grpc.add_ChannelzServicer_to_server(ChannelzServicer(), server)
    own = (health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, "grpc.channelz.v1.Channelz")
    reflection.enable_server_reflection((*SERVICES, *own, reflection.SERVICE_NAME), server)
    return health


def _bind(server: grpc.aio.Server, listen: str) -> str:
    """The address, with its port."""
    host = listen.rpartition(":")[0]
    try:
        return f"{host}:{server.add_insecure_port(listen)}"
    except RuntimeError as error:
        raise AddressTaken(
            f"cannot listen on {listen}: the port is taken, or the address is not this machine's"
        ) from error


class _Seat:
    """The file in the home that tells where this orchestrator serves, and in which term: 0 while it stands by."""

    def __init__(self, home: Path, address: str) -> None:
        self.address = address
        self._place, self._fresh = home / "orchestrator.json", home / f".orchestrator.{os.getpid()}.json"

    def tell(self, term: int = 0) -> None:
        """Writes it, whole or not at all."""
        self._fresh.write_text(json.dumps({"address": self.address, "pid": os.getpid(), "term": term}) + "\n")
        self._fresh.replace(self._place)

    def __enter__(self) -> "_Seat":
        return self

    def __exit__(self, *_: object) -> None:
        self._place.unlink(missing_ok=True)
