"""A fleet of real programs to be struck, over a folder of its own.

The rule: the setting says what there is; what is done to it is in `strikes`.
"""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tensorfleet import AsyncClient
from tensorfleet.errors import Unavailable
from tensorfleet.testing.faults import WORKERS, Setting
from tests.campaign.machines import Durable, Machine, Small, can_mount
from tests.campaign.programs import MARK, Kept, Program, Worker, marked, variables
from tests.campaign.proxy import Proxy
from tests.campaign.stored import Directory, GridFS, Stored
from tests.servers.programs import ACCESS_KEY, SECRET_KEY, durable_mongo, free_port, s3

LEASE = 1.0
PATIENCE = ("--lease", str(LEASE), "--restart-grace", "2", "--leader-lease", str(LEASE))
AWAY = 60.0
"""Seconds that a client puts up with no server."""
SMALL_DISK = 24 * 1024 * 1024
POLL = 0.01
NAME = "campaign"
"""Of the database, and of the bucket."""


class Cluster:
    """lines: by which workers reach an orchestrator; each has its own, or, where there are two orchestrators, each of
    these has one. began: when the job in progress did."""

    def __init__(self, setting: Setting, folder: Path, environment: Mapping[str, str], grace: float = 0.8) -> None:
        self._grace = grace
        self.setting = setting
        self.logs = folder / "logs"
        self.began = 0.0
        self.workers: list[Worker] = []
        self.orchestrators: list[Program] = []
        self.lines: list[Proxy] = []
        self.head = Durable(folder / "head") if setting is Setting.FAR else None
        self.documents = self.objects = None
        if setting in (Setting.GRIDFS, Setting.CLUSTER):
            self.documents = Kept(durable_mongo(folder / "documents"))
        if setting is Setting.CLUSTER:
            self.objects = Kept(s3(folder / "objects"))
            (folder / "objects" / "data" / NAME).mkdir()
        self._folder, self._mark = folder, str(folder)
        self._machines: list[Machine] = [self.head] if self.head else []
        self._environment = {**environment, MARK: self._mark}
        self._addresses: list[str] = []
        self._stored: Stored | None = None

    @property
    def address(self) -> str:
        """Where clients find it."""
        return ",".join(self._addresses)

    @property
    def stored(self) -> Stored:
        """Its object store, from behind."""
        if self._stored is None:
            if self.objects is not None:
                self._stored = Directory(self._folder / "objects" / "data" / NAME)
            elif self.documents is not None:
                self._stored = GridFS(self.documents.program.url, NAME)
            else:
                self._stored = Directory(self._seen(self._home(1)) / "objects")
        return self._stored

    async def start(self) -> None:
        for server in self._servers():
            await asyncio.to_thread(server.program.start)
        for number in range(1, 3 if self.setting is Setting.CLUSTER else 2):
            await self._add_orchestrator(number)
        for number in range(1, WORKERS[self.setting] + 1):
            await self._add_worker(number)
        for program in (*self.orchestrators, *self.workers):
            program.start()
        await self.whole()

    async def stop(self) -> None:
        await asyncio.gather(*(worker.stop() for worker in self.workers))
        await asyncio.gather(*(orchestrator.stop() for orchestrator in self.orchestrators))
        for line in self.lines:
            await line.stop()
        for server in self._servers():
            await asyncio.to_thread(server.program.kill)
        for machine in self._machines:
            machine.stop()
        for pid in marked(self._mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def whole(self) -> None:
        """Waits until everything runs, every worker is in session, and nothing is at work."""
        async with AsyncClient(self.address, timeout=AWAY) as client:
            while True:
                with suppress(Unavailable):
                    if await self._is_whole(client):
                        return
                await asyncio.sleep(POLL)

    async def _is_whole(self, client: AsyncClient) -> bool:
        there = {worker.id: (worker.pid, worker.state, len(worker.running)) for worker in await client.workers.list()}
        return all(orchestrator.pid is not None for orchestrator in self.orchestrators) and all(
            there.get(worker.name) == (worker.pid, "ready", 0) and len(worker.family()) >= 2 for worker in self.workers
        )

    def strays(self) -> list[int]:
        """Processes that carry the cluster's mark and belong to none of its programs."""
        ours = {pid for worker in self.workers for pid in worker.family()}
        return sorted(set(marked(self._mark)) - ours - {orchestrator.pid for orchestrator in self.orchestrators})

    def scraps(self) -> list[Path]:
        """Files of tasks and downloads, which only what is at work has."""
        folders = [worker.home for worker in self.workers]
        scratch = [path for home in folders for path in (home / "scratch").rglob("*") if not path.is_dir()]
        return [*scratch, *(draft for home in folders for draft in (home / "cache").glob("draft-*"))]

    async def _add_orchestrator(self, number: int) -> None:
        address = f"127.0.0.1:{free_port()}"
        flags = ["--home", str(self._home(number)), "--listen", address, *PATIENCE]
        if self.setting is Setting.CLUSTER:
            address = (await self._line(address)).address
            flags += ["--standby", "--advertise", address]
        self._addresses.append(address)
        name = f"orchestrator-{number}"
        flags += ["--grace", str(self._grace)]
        within = variables({**self._environment, **self._places()})
        self.orchestrators.append(Program(name, "orchestrator", flags, self.logs, within, self.head))

    async def _add_worker(self, number: int) -> None:
        name = f"worker-{number}"
        server = self.address if self.setting is Setting.CLUSTER else (await self._line(self.address)).address
        home, machine = self._folder / name, None
        if self.head is not None and number == 1:  # one works where the orchestrator is
            home, machine = self.head.disk / name, self.head
        elif self.setting is not Setting.NEAR and can_mount():
            machine = Small(home, SMALL_DISK)
            self._machines.append(machine)
        self.workers.append(Worker(name, server, home, self.logs, variables(self._environment), machine))

    async def _line(self, address: str) -> Proxy:
        line = Proxy(int(address.rpartition(":")[2]))
        await line.start()
        self.lines.append(line)
        return line

    def _home(self, number: int) -> Path:
        """Of an orchestrator, as it sees it itself."""
        return (self.head.disk if self.head else self._folder) / f"home-{number}"

    def _seen(self, path: Path) -> Path:
        """A path of the orchestrator's machine, as it is reached from here."""
        return self.head.path(path) if self.head else path

    def _places(self) -> dict[str, str]:
        """What tells the orchestrator where to keep things."""
        if self.documents is None:
            return {}
        documents = {"MONGODB_URL": self.documents.program.url, "MONGODB_DB": NAME}
        if self.objects is None:
            return {**documents, "OBJECTS_URL": "gridfs://"}
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": "us-east-1"}
        return {**documents, **keys, "S3_ENDPOINT_URL": self.objects.program.url, "S3_BUCKET": NAME}

    def _servers(self) -> list[Kept]:
        return [server for server in (self.documents, self.objects) if server is not None]
