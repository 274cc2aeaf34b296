"""A whole cluster under one seed: the real orchestrator, workers and clients over what `tensorfleet.testing` simulates.

The rule: a seed is a run. `run(seed)` says what was wrong, and what it marked comes to the same digest every time.
"""

import asyncio
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from orchestrator.engine import Engine
from tensorfleet.client import AsyncClient
from tensorfleet.errors import NotFound, Unavailable
from tensorfleet.testing.simulated.documents import Database
from tensorfleet.testing.simulated.network import Network
from tensorfleet.testing.simulated.objects import Bucket
from tensorfleet.testing.simulated.processes import Process, Simulation, Stuck, vanishing
from tests.simulation import scenario as scenarios
from tests.simulation.account import settle
from tests.simulation.faults import strike
from tests.simulation.machines import OrchestratorMachine, WorkerMachine
from tests.simulation.users import User
from tests.simulation.witness import Witness

PATIENCE = 100.0
"""Virtual seconds that everything may take to end once nothing goes wrong any more."""


class Run(Struct, frozen=True):
    """What came of a seed. digest: of everything that was marked; the same seed has the same. wrong: empty if right."""

    seed: int
    digest: int
    seconds: float
    entries: int
    wrong: tuple[str, ...]


def run(seed: int, story: Callable[[str], None] | None = None) -> Run:
    """Runs a seed; within `sealed()`. story: is told each thing that happens."""
    with vanishing():
        return _run(seed, story)


def _run(seed: int, story: Callable[[str], None] | None) -> Run:
    world = World(seed, story)
    try:
        world.run()
        return Run(seed, world.digest, world.simulation.now, len(world.witness.entries), tuple(world.wrong))
    finally:
        world.close()


class World:
    """The machines, what lies between them, and who looks on."""

    def __init__(self, seed: int, story: Callable[[str], None] | None) -> None:
        self.simulation = Simulation(seed)
        self.telling = story is not None
        self._story = story
        self.scenario = scenarios.draw(self.simulation.chance)
        self.digest = 0
        self.wrong: list[str] = []
        self.over = False
        self.calm = False
        self.documents_away = self.objects_away = 0.0
        self.witness = Witness(self)
        self.database = Database()
        self.database.on_durable = self.witness.durable
        self.bucket = Bucket(lambda: self.simulation.now)
        self.begun: dict[tuple[object, ...], int] = {}
        self.rosters: dict[str, tuple[str, ...]] = {}
        self.network = Network(self.simulation, self._latency, keepalive=2.5)
        self.network.heard = self.witness.heard
        self.home = Path(tempfile.mkdtemp(prefix="tensorfleet-simulated-", dir=_quick()))
        numbers = range(1, self.scenario.orchestrators + 1)
        self.orchestrators = [OrchestratorMachine(self, f"orchestrator-{number}") for number in numbers]
        self.servers = tuple(machine.address for machine in self.orchestrators)
        kinds = zip(self.scenario.slots, self.scenario.fingerprints, strict=True)
        self.workers = [
            WorkerMachine(self, f"worker-{number}", slots, fingerprint, self.home / str(number))
            for number, (slots, fingerprint) in enumerate(kinds, 1)
        ]
        self.users = [User(self, f"user-{number}", errand) for number, errand in enumerate(self.scenario.errands, 1)]
        self.people = [f"user-{number}" for number in range(1, len(self.users) + 1)]
        self._jobs = 0
        self.simulation.on_exit.append(self._ended)
        self.simulation.on_fault = self._unhandled

    # --- its course

    def run(self) -> None:
        simulation = self.simulation
        for fault in self.scenario.faults:
            self.tell(f"to come at {fault.at:.3f}: {fault.kind} {fault.who} {fault.seconds}")
            simulation.at(fault.at, None, strike, self, fault)
        for errand in self.scenario.errands:
            self.tell(f"to come: {errand}")
        for machine in self.orchestrators:
            machine.start()
        for worker in self.workers:
            simulation.after(simulation.chance.uniform(0.0, 1.0), worker.start)
        for user in self.users:
            user.start()
        simulation.at(self.scenario.calm, None, self._calm)
        try:
            simulation.run(self._settled, self.scenario.calm + PATIENCE)
        except Stuck as error:
            self.fail(f"{error}: {self._unsettled()}")
        if not self.wrong:
            settle(self)

    def close(self) -> None:
        self.over = True
        self.simulation.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def _calm(self) -> None:
        """From here on nothing goes wrong."""
        self.tell("== all is well from here on")
        self.calm = True
        self.documents_away = self.objects_away = 0.0
        self.network.heal()
        for process in list(self.simulation.processes):
            process.go_on()

    def _settled(self) -> bool:
        return self.calm and all(user.account.done for user in self.users) and not self._unsettled()

    def _unsettled(self) -> str:
        """What is not over yet."""
        waiting = [
            f"{user.account.job or 'a job'} of {user.account.errand.request_id}"
            for user in self.users
            if not user.account.done
        ]
        if waiting:
            return f"not done: {', '.join(waiting)}"
        busy = [worker.name for worker in self.workers if not worker.idle]
        if busy:
            return f"attempts are left on {', '.join(busy)}"
        engine = self.leader()
        if engine is None or engine.state.attempts:
            return f"the orchestrator has attempts: {engine and list(engine.state.attempts)}"
        return "something is being committed" if engine._committing or engine._group or engine._inbox else ""

    def leader(self) -> Engine | None:
        """The engine that leads; None while none does."""
        engines = [machine.engine for machine in self.orchestrators]
        leading = [engine for engine in engines if engine is not None and not engine._ended]
        return max(leading, key=lambda engine: engine.state.term, default=None)

    # --- for the machines and the witness

    def tell(self, text: str) -> None:
        if self._story is not None:
            self._story(f"{self.simulation.now:9.4f} {text}")

    def mark(self, *what: object) -> None:
        """Takes something into the digest."""
        self.digest = zlib.crc32(repr((self.simulation.now, what)).encode(), self.digest)

    def fail(self, why: str) -> None:
        if self.over:
            return
        self.tell(f"!! {why}")
        self.wrong.append(f"at {self.simulation.now:.4f}: {why}")
        self.simulation.halted = True

    def new_job_id(self) -> str:
        self._jobs += 1
        return f"job-{self._jobs}"

    def worker(self, name: str) -> WorkerMachine:
        return next(worker for worker in self.workers if worker.name == name)

    def drain(self, worker: str) -> None:
        """Somebody drains a worker."""
        process = self.simulation.process("operator")
        process.belongings["world"] = self

        async def ask() -> None:
            client = AsyncClient(",".join(self.servers), timeout=1.0)
            try:
                await client.workers.drain(worker)
            except (Unavailable, NotFound) as error:
                self.tell(f"{worker} was not drained: {error!r}")
            await client.close()
            process.kill()

        process.spawn(ask())

    async def way_to_documents(self) -> None:
        await self._way(self.scenario.store_latency, lambda: self.documents_away)

    async def way_to_objects(self) -> None:
        await self._way(self.scenario.store_latency, lambda: self.objects_away)

    def torn(self) -> bool:
        """Whether a commit is interrupted before its next write."""
        return self.scenario.tears > 0.0 and self.simulation.chance.random() < self.scenario.tears

    async def _way(self, latency: float, away: Callable[[], float]) -> None:
        """One way to a store or back."""
        chance, simulation = self.simulation.chance, self.simulation
        if simulation.now < away():
            await asyncio.sleep(chance.uniform(0.0, 0.2))
            raise Unavailable("the store is away")
        await asyncio.sleep(chance.uniform(0.5, 1.5) * latency)
        if simulation.now < away():
            raise Unavailable("the store went away")
        if not self.calm and chance.random() < self.scenario.store_faults:
            raise Unavailable("the connection to the store broke")

    def _latency(self) -> float:
        chance = self.simulation.chance
        return self.scenario.latency * (
            chance.uniform(0.5, 1.5) if chance.random() < 0.98 else chance.uniform(5.0, 50.0)
        )

    def _ended(self, process: Process) -> None:
        for machine in (*self.orchestrators, *self.workers):
            if machine.process is process:
                machine.ended()

    def _unhandled(self, process: Process, context: dict[str, object]) -> None:
        error = context.get("exception")
        if error is not None:
            self.fail(f"in {process.name} nobody handled {error!r}: {context.get('message')}")


def _quick() -> str | None:
    """A directory in memory, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
