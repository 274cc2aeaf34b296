"""Two orchestrators on one database, and workers that know both: real processes, to be killed and stopped.

The rule: which of the two leads is asked of them, never assumed.
"""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorfleet.sdk.processes import Child
from tensorfleet.sdk.seat import answers, serves
from tests.servers.programs import free_port

POLL = 0.02


class Pair:
    """url: of the database; urls: of one or both, where they reach it by other ways."""

    def __init__(self, folder: Path, url: str, *, lease: float = 1.5, workers: int = 2, urls: tuple[str, ...] = ()):
        self.addresses = tuple(f"127.0.0.1:{free_port()}" for _ in range(2))
        self.both = ",".join(self.addresses)
        self.folder = folder
        self.lease = lease
        self._urls = urls or (url, url)
        self._workers = workers
        self._objects = f"file://{folder}/objects"
        self._stack = AsyncExitStack()
        self.orchestrators: list[Child] = []

    async def __aenter__(self) -> Self:
        for number in range(2):
            self.orchestrators.append(self.orchestrator(number))
            self._stack.callback(lambda number=number: self.orchestrators[number].kill())
            await (self.leader() if number == 0 else self.listening(number))  # so that the first leads first
        for number in range(1, self._workers + 1):
            home = str(self.folder / f"worker-{number}")
            flags = ["--server", self.both, "--id", f"w{number}", "--slots", "1", "--home", home]
            self._stack.callback(Child(f"w{number}", "worker", flags, self.folder / "logs").kill)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def orchestrator(self, number: int, *, standby: bool = True) -> Child:
        """Starts one of the two, with the home and the address that it had before."""
        stores = [f"MONGODB_URL={self._urls[number]}", f"OBJECTS_URL={self._objects}"]
        flags = ["--home", str(self.home(number)), "--listen", self.addresses[number]]
        flags += ["--leader-lease", str(self.lease), *(["--standby"] if standby else [])]
        name = f"orchestrator-{number}"
        return Child(name, "orchestrator", flags, self.folder / "logs", within=["env", *stores])

    def home(self, number: int) -> Path:
        return self.folder / f"home-{number}"

    async def leader(self, number: int | None = None) -> int:
        """Waits until one leads, or that one; says which."""
        while True:
            for each in range(2) if number is None else (number,):
                if await serves(self.addresses[each]):
                    return each
            await asyncio.sleep(POLL)

    async def listening(self, number: int) -> None:
        """Waits until one answers, be it that it stands by."""
        while not await answers([self.addresses[number]]):
            await asyncio.sleep(POLL)

    def signal(self, number: int, what: signal.Signals) -> None:
        self.orchestrators[number].signal(what)

    def again(self, number: int) -> None:
        """Starts one again."""
        self.orchestrators[number].kill()
        self.orchestrators[number] = self.orchestrator(number)
