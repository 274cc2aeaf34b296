"""What goes wrong, as it is done to the world. The rule: no code of the system's own is asked for it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.machines import Machine, WorkerMachine
from tests.simulation.scenario import Fault

if TYPE_CHECKING:
    from tests.simulation.world import World


def strike(world: "World", fault: Fault) -> None:
    """Does what a fault says. One that finds nobody there does nothing."""
    world.tell(f"== {fault.kind} {fault.who} {fault.seconds}")
    world.mark("fault", fault.kind)
    _STRIKES[fault.kind](world, fault)


def _orchestrator(world: "World") -> Machine:
    return world.simulation.chance.choice(world.orchestrators)


def _kill(machine: Machine) -> None:
    if machine.process is not None:
        machine.process.kill()


def _stop(world: "World", machine: Machine, seconds: float) -> None:
    process = machine.process
    if process is not None:
        process.stop()
        world.simulation.after(seconds, process.go_on)


def _part(world: "World", one: str, seconds: float) -> None:
    for machine in world.orchestrators:
        world.network.part(one, machine.name)
        world.simulation.after(seconds, world.network.join, one, machine.name)


def _cut(world: "World", one: str) -> None:
    for machine in world.orchestrators:
        world.network.cut(one, machine.name)


def _turn_back(world: "World", fault: Fault) -> None:
    machine = _orchestrator(world)
    if machine.process is not None:
        machine.process.wall -= 10 * fault.seconds


def _drain(world: "World", fault: Fault) -> None:
    world.drain(fault.who)


def _kill_slot(worker: WorkerMachine) -> None:
    if worker.slots is not None and worker.process is not None and worker.process.alive:
        worker.slots.kill_one()


def _leave(worker: WorkerMachine) -> None:
    if worker.process is not None and worker.process.alive:
        worker.leave()


def _database_away(world: "World", fault: Fault) -> None:
    world.documents_away = max(world.documents_away, world.simulation.now + fault.seconds)


def _database_crashes(world: "World", fault: Fault) -> None:
    world.database.crash(world.simulation.chance.randint(0, world.database.unsynced))
    _database_away(world, fault)


def _objects_away(world: "World", fault: Fault) -> None:
    world.objects_away = max(world.objects_away, world.simulation.now + fault.seconds)


_STRIKES: dict[str, Callable[["World", Fault], None]] = {
    "kill orchestrator": lambda world, fault: _kill(_orchestrator(world)),
    "stop orchestrator": lambda world, fault: _stop(world, _orchestrator(world), fault.seconds),
    "turn back the clock": _turn_back,
    "kill worker": lambda world, fault: _kill(world.worker(fault.who)),
    "stop worker": lambda world, fault: _stop(world, world.worker(fault.who), fault.seconds),
    "tell worker to leave": lambda world, fault: _leave(world.worker(fault.who)),
    "drain worker": _drain,
    "kill slot": lambda world, fault: _kill_slot(world.worker(fault.who)),
    "cut worker": lambda world, fault: _cut(world, fault.who),
    "part worker": lambda world, fault: _part(world, fault.who, fault.seconds),
    "lose cache": lambda world, fault: world.worker(fault.who).lose_cache(),
    "cut user": lambda world, fault: _cut(world, world.simulation.chance.choice(world.people)),
    "part user": lambda world, fault: _part(world, world.simulation.chance.choice(world.people), fault.seconds),
    "database away": _database_away,
    "database crashes": _database_crashes,
    "objects away": _objects_away,
}
