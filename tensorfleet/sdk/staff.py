"""The workers of a local fleet.

The rule: they are hired once, where nobody else works for the home's orchestrator; what is hired is kept running, and
where the orchestrator is at another address, so are they.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from tensorfleet.errors import TensorFleetError, Unavailable
from tensorfleet.sdk.keepers import LIVES, OLD, Keepers
from tensorfleet.sdk.processes import Child, ending
from tensorfleet.sdk.zygote import SharedZygote

LOOK = 1.0
"""Seconds between two looks at who works."""
HASTE = 1.0
"""Seconds for what is needed no more to end by itself."""


class Crew(Struct, frozen=True, kw_only=True):
    """The workers that a fleet starts: how many, with how many slots each. options: more flags of `python -m
    worker`."""

    workers: int = 1
    slots: int = 1
    labels: Mapping[str, str] = {}
    options: Sequence[str] = ()


class Staff:
    """Its methods say what is to be; keepers see to it."""

    def __init__(
        self, crew: Crew, home: Path, keepers: Keepers, tell: Callable[[str], None], *, preload: bool = False
    ) -> None:
        self._address = ""
        self._crew, self._home, self._keepers, self._tell = crew, home, keepers, tell
        self._preload = preload
        self._hired = False
        self._workers: dict[str, Child] = {}
        self._zygote: SharedZygote | None = None

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of those that run, by name."""
        return {name: child.pid for name, child in sorted(self._workers.items()) if child.alive()}

    def follow(self, address: str) -> None:
        """The orchestrator is, or will be, at this address."""
        moved = self._address not in ("", address)
        self._address = address
        if moved:
            for child in self._workers.values():
                child.signal(signal.SIGTERM)  # their keepers start them again at the new address

    async def fill(self) -> None:
        """Hires where nobody works; whoever is silent for a moment may come back."""
        while self._crew.workers and not self._hired:
            from tensorfleet.client import AsyncClient  # only here: it would double the memory of a standing fleet

            with suppress(TensorFleetError):
                async with AsyncClient(self._address) as client:
                    if not any(worker.state in ("ready", "suspect") for worker in await client.workers.list()):
                        return self.hire(suffix=f"-{os.getpid()}")  # another fleet's workers have the plain names
            await asyncio.sleep(LOOK)
        return None

    def hire(self, suffix: str = "") -> None:
        if self._hired:
            return
        self._hired = True
        self._zygote = self._zygote or SharedZygote(self._home / "logs", preload=self._preload)
        for number in range(1, self._crew.workers + 1):
            name = f"worker-{number}{suffix}"
            self._keepers.begin(name, self._keep(name))

    async def let_go(self) -> None:
        """Ends those that were hired for an orchestrator that did not come to be."""
        self._hired = False
        for name in list(self._workers):
            self._keepers.dismiss(name)
            await self._workers.pop(name).stop(HASTE)
        if self._zygote is not None:
            await self._zygote.stop(HASTE)
            self._zygote = None

    async def stop(self, grace: float) -> None:
        """Ends those whose keepers have ended; by force after `grace` seconds."""
        await asyncio.gather(*(child.stop(grace) for child in self._workers.values()))
        if self._zygote is not None:
            await self._zygote.stop(grace)

    def kill(self) -> None:
        for child in (*self._workers.values(), self._zygote):
            if child is not None:
                child.kill()

    async def _keep(self, name: str) -> None:
        deaths = 0
        while deaths < LIVES:
            began, address = asyncio.get_running_loop().time(), self._address
            child = self._workers[name] = self._started(name)
            code = await child.ended()
            if code == 0 and address == self._address:
                return  # it was drained
            if code != 0:
                self._tell(f"{name} ended ({ending(code)}) and is started again")
            deaths = deaths + 1 if asyncio.get_running_loop().time() - began < OLD else 0
            await asyncio.sleep(0.1 * deaths)
        raise Unavailable(f"{name} does not stay alive; see {child.log}, which ends with: {child.last_words(3)}")

    def _started(self, name: str) -> Child:
        zygote = self._zygote.way_in() if self._zygote else None
        flags, logs = self._flags(name), self._home / "logs"
        if zygote is None:
            return Child(name, "worker", flags, logs)
        with zygote:
            place = zygote.fileno()
            return Child(name, "worker", [*flags, "--zygote", str(place)], logs, descriptors=[place])

    def _flags(self, name: str) -> list[str]:
        labels = [f"--label={label}={value}" for label, value in self._crew.labels.items()]
        slots = ["--slots", str(self._crew.slots)]
        home = ["--home", str(self._home / "workers" / name)]
        return ["--server", self._address, "--id", name, *slots, *home, *labels, *self._crew.options]
