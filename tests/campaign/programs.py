"""Programs that are kept running: what dies is started again, as a supervisor would.

The rule: each carries a mark in its environment, so that whatever is left of it is found.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tensorfleet.config import STORE_VARIABLES
from tensorfleet.sdk.processes import Child, is_alive
from tests.campaign.machines import Machine
from tests.integration.processes import children
from tests.servers.programs import Server

MARK = "CAMPAIGN_MARK"


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
    """A worker and its disk."""

    def __init__(
        self, name: str, server: str, home: Path, logs: Path, within: list[str], machine: Machine | None
    ) -> None:
        arguments = ["--server", server, "--id", name, "--slots", "1", "--home", str(home)]
        super().__init__(name, "worker", arguments, logs, within, machine)
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


def variables(environment: Mapping[str, str]) -> list[str]:
    """The command that runs another one with these variables, and with none of ours that say where a fleet is."""
    unset = [f"--unset={name}" for name in (*STORE_VARIABLES, "TENSORFLEET_HOME", "TENSORFLEET_SERVER")]
    return ["env", *unset, *(f"{name}={value}" for name, value in environment.items())]


def _descent(pid: int) -> Iterator[int]:
    """A process and all that it started, the elder first."""
    yield pid
    for child in children(pid):
        yield from _descent(child)


def marked(mark: str) -> list[int]:
    """The processes that carry a mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError):
                if wanted in (path / "environ").read_bytes().split(b"\0") and is_alive(int(path.name)):
                    found.append(int(path.name))
    return found
