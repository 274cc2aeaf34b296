"""The machines of a simulated cluster: each runs one program, and runs it again when it has ended.

The rule: the programs are the real ones, put together as their own `main`s do it.
"""

import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.app import lead
from orchestrator.engine import Engine
from orchestrator.front import Front
from orchestrator.leadership import Alone, Leadership, Leased
from orchestrator.services.health import Health
from orchestrator.term import House
from tensorfleet.errors import Deposed, Unavailable
from tensorfleet.model import Resources
from tensorfleet.rpc.servers import IN_FLIGHT_BYTES, Flight, Translate
from tensorfleet.testing.simulated.documents import MemoryDocuments
from tensorfleet.testing.simulated.objects import MemoryObjects
from tensorfleet.testing.simulated.processes import Process
from tests.simulation.slots import SimulatedSlots
from worker.agent import Agent, Options
from worker.protocol import Identity

if TYPE_CHECKING:
    from tests.simulation.world import World

HOLD = 0.5
"""Seconds for which a paused task keeps its slot."""


class Machine:
    """A place where a program runs; one that ended is started again after a while."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.lives = 0
        self.process: Process | None = None

    def start(self) -> None:
        chance = self.world.simulation.chance
        self.lives += 1
        self.process = self.world.simulation.process(self.name, clock=chance.uniform(0.0, 1000.0))
        self.process.belongings["world"] = self.world
        self.world.tell(f"{self.name} starts, for the {self.lives}th time")
        self.process.spawn(self.run())

    def ended(self) -> None:
        """Its process is gone."""
        self.world.tell(f"{self.name} has ended")
        if not self.world.over:
            self.world.simulation.after(self.world.simulation.chance.choice([0.05, 0.3, 2.0]), self.start)

    async def run(self) -> None:
        raise NotImplementedError

    def exit(self) -> None:
        assert self.process is not None
        self.process.kill()


class OrchestratorMachine(Machine):
    """An orchestrator that serves at its own name; one of several stands by while another leads."""

    @property
    def address(self) -> str:
        return f"{self.name}:9090"

    @property
    def engine(self) -> Engine | None:
        """That of its last term."""
        alive = self.process is not None and self.process.alive
        return self.process.belongings.get("engine") if alive else None  # type: ignore[union-attr]

    async def run(self) -> None:
        world, process = self.world, self.process
        assert process is not None
        documents = MemoryDocuments(world.database, world.way_to_documents, world.torn)
        objects = MemoryObjects(world.bucket, world.way_to_objects)
        standby = len(world.orchestrators) > 1
        leadership: Leadership = Alone()
        if standby:
            leadership = Leased(documents, self.name, self.address, world.scenario.leader_lease, standby=True)
        front = Front(leadership)
        server = world.network.server(process, self.address, [Translate(Flight(IN_FLIGHT_BYTES))])
        server.add_generic_rpc_handlers((front,))
        house = House(
            documents=documents,
            objects=objects,
            settings=world.scenario.settings,
            keep=world.scenario.keep,
            leadership=leadership,
            front=front,
        )
        try:
            await documents.open()
            await server.start()
            await lead(house, Health(front, ()), self, standby)  # type: ignore[arg-type]
        except Unavailable as error:
            world.tell(f"{self.name} gives up: {error!r}")
        except Deposed as error:
            world.fail(f"{self.name} was deposed by nobody: {error!r}")
        except Exception as error:
            world.fail(f"{self.name} failed: {error!r}")
        with suppress(Unavailable):
            await leadership.release()
        await server.stop(1.0)
        return self.exit()

    def tell(self, term: int = 0) -> None:
        """Where it serves, for its home."""
        self.world.tell(f"{self.name} serves term {term}" if term else f"{self.name} stands by")


class WorkerMachine(Machine):
    """A worker, whose cache outlives its processes."""

    agent: Agent | None = None
    slots: SimulatedSlots | None = None

    def __init__(self, world: "World", name: str, slots: int, fingerprint: str, home: Path) -> None:
        super().__init__(world, name)
        self._count = slots
        self._fingerprint = fingerprint
        self._home = home

    async def run(self) -> None:
        assert self.process is not None
        who = Identity(
            worker_id=self.name,
            incarnation=f"{self.name}.{self.lives}",
            slots=self._count,
            credit=self._count * 3,
            resources=Resources(cpus=8, memory=1 << 30),
            fingerprint=self._fingerprint,
        )
        self.slots = SimulatedSlots(self.process, self._count, self.world.begun)
        self.agent = Agent(Options(servers=self.world.servers, home=self._home, hold=HOLD), who, self.slots)  # type: ignore[arg-type]
        code = await self.agent.run()
        if code != 0 and self.lives == 1:  # else the hello of an earlier life, come late, may have taken its place
            self.world.fail(f"{self.name} gave up with code {code}")
        self.exit()

    def leave(self) -> None:
        assert self.process is not None
        self.process.signal(signal.SIGTERM)

    def lose_cache(self) -> None:
        """Somebody cleans up."""
        for path in sorted(self._home.glob("cache/??/*")):
            if self.world.simulation.chance.random() < 0.7:
                path.unlink(missing_ok=True)

    def forget(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)

    @property
    def idle(self) -> bool:
        """Whether nothing is left of any attempt."""
        if self.process is None or not self.process.alive or self.agent is None or self.slots is None:
            return False
        return not self.agent.state.attempts and not self.slots.busy
