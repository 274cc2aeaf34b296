"""The machines of a simulated cluster: each runs one program, and runs it again when it has ended.

The rule: the programs are the real ones, put together as their own `main`s do it.
"""

import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.state import Now
from orchestrator.engine import Engine
from orchestrator.services.artifacts import Artifacts
from orchestrator.services.fleet import Fleet
from orchestrator.services.jobs import Jobs
from orchestrator.sessions import WorkerSessions
from orchestrator.submitting import Submitting
from tensorfleet.api.v1 import artifacts_pb2_grpc, fleet_pb2_grpc, jobs_pb2_grpc, worker_pb2_grpc
from tensorfleet.errors import Deposed, TensorFleetError
from tensorfleet.model import Resources
from tensorfleet.rpc.servers import Translate
from tensorfleet.testing.simulated.documents import MemoryDocuments
from tensorfleet.testing.simulated.objects import MemoryObjects
from tensorfleet.testing.simulated.processes import Process
from tests.simulation.slots import SimulatedSlots
from worker.agent import Agent, Options
from worker.protocol import Identity

if TYPE_CHECKING:
    from tests.simulation.world import World


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
    """An orchestrator that serves at its own name."""

    engine: Engine | None = None

    @property
    def address(self) -> str:
        return f"{self.name}:9090"

    async def run(self) -> None:
        world, process = self.world, self.process
        assert process is not None
        self.engine = None
        documents = MemoryDocuments(world.database, world.way_to_documents, stepwise=world.scenario.stepwise)
        objects = MemoryObjects(world.blobs, world.way_to_objects)
        try:
            await documents.open()
            engine = Engine(
                documents,
                f"{self.name}.{self.lives}",
                world.scenario.settings,
                lambda: Now(process.time(), process.wall_time()),
            )
            await engine.start()
        except TensorFleetError as error:
            world.tell(f"{self.name} cannot start: {error!r}")
            return self.exit()
        self.engine = engine
        world.witness.recovered(self.name, engine.state)
        server = world.network.server(process, self.address, [Translate()])
        submitting = Submitting(engine, documents)
        jobs_pb2_grpc.add_JobServiceServicer_to_server(Jobs(submitting, documents), server)
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerSessions(engine, objects), server)
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(Fleet(engine, documents, objects, 0.0), server)
        artifacts_pb2_grpc.add_ArtifactServiceServicer_to_server(Artifacts(objects), server)
        await server.start()
        assert engine.failed is not None
        try:
            await engine.failed
        except Deposed as error:
            world.deposed(self.name, error)
        except Exception as error:
            world.fail(f"the engine of {self.name} failed: {error!r}")
        await server.stop(1.0)
        await engine.stop()
        return self.exit()


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
        self.agent = Agent(Options(servers=self.world.servers, home=self._home), who, self.slots)  # type: ignore[arg-type]
        code = await self.agent.run()
        if code != 0:
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
