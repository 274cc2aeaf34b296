"""A fleet of real programs to be struck: what dies is started again, as a supervisor would.

The rule: every program of a cluster carries its mark in the environment, so that whatever is left of it is found.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tensorfleet import AsyncClient
from tensorfleet.sdk.processes import Child, is_alive
from tensorfleet.sdk.seat import serves
from tensorfleet.testing.faults import WORKERS, Setting
from tests.campaign.machines import Durable, Machine, Small, can_mount
from tests.campaign.proxy import Proxy
from tests.campaign.stored import Directory, GridFS, Stored
from tests.integration.processes import children
from tests.servers.programs import Server, durable_mongo, free_port

LEASE = 1.0
SMALL_DISK = 24 * 1024 * 1024
POLL = 0.01
MARK = "CAMPAIGN_MARK"
DATABASE = "campaign"


class Program:
    """One of our programs, kept running."""

    def __init__(
        self, name: str, program: str, arguments: list[str], logs: Path, within: list[str], machine: Machine | None
    ) -> None:
        self.name = name
        self.machine = machine
        self._start: Callable[[], Child] = lambda: Child(
            name, program, arguments, logs, within=[*within, *(machine.within if machine else ())]
        )
        self.child: Child | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._held = asyncio.Event()
        self._held.set()

    def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            await self._held.wait()
            self.child = self._start()
            await self.child.ended()

    def hold(self) -> None:
        """Does not start it again until `go_on`."""
        self._held.clear()

    def go_on(self) -> None:
        self._held.set()

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self.child is not None:
            self.signal(signal.SIGCONT)
            await self.child.stop(3.0)

    @property
    def pid(self) -> int | None:
        return self.child.pid if self.child is not None and self.child.alive() else None

    def signal(self, number: signal.Signals) -> None:
        if self.pid is not None and self.child is not None:
            self.child.signal(number)


class Worker(Program):
    """A worker, the line that it reaches the orchestrator by, and its disk."""

    def __init__(
        self, name: str, proxy: Proxy, home: Path, logs: Path, within: list[str], machine: Machine | None
    ) -> None:
        arguments = ["--server", proxy.address, "--id", name, "--slots", "1", "--home", str(home)]
        super().__init__(name, "worker", arguments, logs, within, machine)
        self.proxy = proxy
        self._home = home

    @property
    def home(self) -> Path:
        """Its home, as it is reached from here."""
        return self.machine.path(self._home) if self.machine else self._home

    def family(self) -> list[int]:
        """The agent, its zygote and its slots."""
        return list(_descent(self.pid)) if self.pid is not None else []

    def slots(self) -> list[int]:
        return self.family()[2:]


class Kept:
    """A server that is killed and started again by one at a time."""

    def __init__(self, program: Server) -> None:
        self.program = program
        self.in_hand = asyncio.Lock()


class Cluster:
    """The programs of one setting, over a folder of its own."""

    def __init__(self, setting: Setting, folder: Path, environment: Mapping[str, str]) -> None:
        self.setting = setting
        self.logs = folder / "logs"
        self.address = f"127.0.0.1:{free_port()}"
        self.workers: list[Worker] = []
        self.head = Durable(folder / "head") if setting is Setting.FAR else None
        self.began = 0.0
        self._stored: Stored | None = None
        self._folder = folder
        self._mark = str(folder)
        self._proxies: list[Proxy] = []
        self._machines: list[Machine] = [self.head] if self.head else []
        self._within = _with({**environment, MARK: self._mark})
        self.documents = Kept(durable_mongo(folder / "documents")) if setting is Setting.GRIDFS else None
        listen = ["--home", str(self._home), "--listen", self.address]
        patience = ["--lease", str(LEASE), "--grace", "0.8", "--restart-grace", "2"]
        within = [*self._within, *_with(self._places())]
        self.orchestrator = Program("orchestrator", "orchestrator", [*listen, *patience], self.logs, within, self.head)

    def _places(self) -> dict[str, str]:
        """What tells the orchestrator where to keep things."""
        if self.documents is None:
            return {}
        return {"MONGODB_URL": self.documents.program.url, "MONGODB_DB": DATABASE, "OBJECTS_URL": "gridfs://"}

    @property
    def stored(self) -> Stored:
        if self._stored is None:
            self._stored = (
                Directory(self.home / "objects")
                if self.documents is None
                else GridFS(self.documents.program.url, DATABASE)
            )
        return self._stored

    @property
    def _home(self) -> Path:
        return self._folder / "head" / "home"

    @property
    def home(self) -> Path:
        """The orchestrator's home, as it is reached from here."""
        return self.head.path(self._home) if self.head else self._home

    async def start(self) -> None:
        for server in self._servers:
            await asyncio.to_thread(server.program.start)
        self.orchestrator.start()
        for number in range(1, WORKERS[self.setting] + 1):
            self.workers.append(await self._worker(number))
        for worker in self.workers:
            worker.start()
        await self.whole()

    @property
    def _servers(self) -> list[Kept]:
        return [server for server in (self.documents,) if server is not None]

    async def _worker(self, number: int) -> Worker:
        proxy = Proxy(int(self.address.rpartition(":")[2]))
        await proxy.start()
        self._proxies.append(proxy)
        name = f"worker-{number}"
        machine: Machine | None = None
        home = self._folder / name
        if self.head is not None and number == 1:  # one works where the orchestrator is
            machine, home = self.head, self._folder / "head" / name
        elif self.setting is not Setting.NEAR and can_mount():
            machine = Small(home, SMALL_DISK)
            self._machines.append(machine)
        return Worker(name, proxy, home, self.logs, self._within, machine)

    async def whole(self) -> None:
        """Waits until everything runs and every worker is in session."""
        async with AsyncClient(self.address) as client:
            while True:
                if await self._is_whole(client):
                    return
                await asyncio.sleep(POLL)

    async def _is_whole(self, client: AsyncClient) -> bool:
        if not await serves(self.address):
            return False
        there = {worker.id: (worker.pid, worker.state, len(worker.running)) for worker in await client.workers.list()}
        return all(
            there.get(worker.name) == (worker.pid, "ready", 0) and len(worker.family()) == 3 for worker in self.workers
        )

    def strays(self) -> list[int]:
        """Processes that carry the cluster's mark and belong to none of its programs."""
        ours = {pid for worker in self.workers for pid in worker.family()} | {self.orchestrator.pid}
        return sorted(set(_marked(self._mark)) - ours)

    async def stop(self) -> None:
        await asyncio.gather(*(worker.stop() for worker in self.workers))
        await self.orchestrator.stop()
        for proxy in self._proxies:
            await proxy.stop()
        for server in self._servers:
            server.program.kill()
        for machine in self._machines:
            machine.stop()
        for pid in _marked(self._mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _with(environment: Mapping[str, str]) -> list[str]:
    return ["env", *(f"{name}={value}" for name, value in environment.items())]


def _descent(pid: int) -> Iterator[int]:
    """A process and all that it started, the elder first."""
    yield pid
    for child in children(pid):
        yield from _descent(child)


def _marked(mark: str) -> list[int]:
    wanted = f"{MARK}={mark}".encode()
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError):
                if wanted in (path / "environ").read_bytes().split(b"\0") and is_alive(int(path.name)):
                    found.append(int(path.name))
    return found
