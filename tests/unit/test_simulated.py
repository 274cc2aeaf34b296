"""What the simulation stands on: processes that die and stop, and a database that loses what it may."""

import asyncio
from collections.abc import Sequence

import pytest

from tensorfleet.errors import Unavailable
from tensorfleet.stores.contract import Entry, Write
from tensorfleet.testing.simulated.documents import Database, MemoryDocuments
from tensorfleet.testing.simulated.processes import Simulation, Stuck, vanishing


def never() -> bool:
    return False


def test_a_killed_process_runs_no_finally_and_a_stopped_one_goes_on_where_it_was() -> None:
    told: list[str] = []

    async def work(name: str) -> None:
        try:
            for step in range(3):
                told.append(f"{name} {step}")
                await asyncio.sleep(1.0)
        finally:
            told.append(f"{name} cleans up")

    with vanishing():
        simulation = Simulation(1)
        killed, stopped = simulation.process("killed"), simulation.process("stopped")
        killed.spawn(work("killed"))
        stopped.spawn(work("stopped"))
        simulation.after(1.5, killed.kill)
        simulation.after(1.5, stopped.stop)
        simulation.after(10.0, stopped.go_on)
        with pytest.raises(Stuck, match="nothing will ever happen"):
            simulation.run(never, 100.0)
        assert simulation.now == 11.0
        heard = list(told)
        simulation.close()
    killed_told, stopped_told = ([line for line in heard if line.startswith(name)] for name in ("killed", "stopped"))
    assert killed_told == ["killed 0", "killed 1"]
    assert stopped_told == ["stopped 0", "stopped 1", "stopped 2", "stopped cleans up"]


def test_the_same_seed_takes_the_same_turns() -> None:
    def order(seed: int) -> list[int]:
        told: list[int] = []
        simulation = Simulation(seed)
        for number in range(8):
            simulation.process(str(number)).call_soon(told.append, number)
        with pytest.raises(Stuck):
            simulation.run(never, 1.0)
        return told

    assert order(7) == order(7)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1


class Interrupted(MemoryDocuments):
    """Its answers do not come back while it is told so."""

    cut = False

    async def _back(self, life: int) -> None:
        if self.cut:
            raise Unavailable("the connection broke")
        await super()._back(life)


def entry(number: int) -> tuple[Entry, Sequence[Write]]:
    return Entry(number, 1, "a", b"%d" % number), [Write("jobs", "j", {"turn": number})]


async def test_a_crash_loses_what_nobody_was_told_of_and_nothing_else() -> None:
    durable: list[int] = []
    database = Database()
    database.on_durable = lambda entry: durable.append(entry.number)
    store = Interrupted(database)
    await store.open()
    await store.commit(*entry(1))
    store.cut = True
    with pytest.raises(Unavailable):
        await store.commit(*entry(2))
    assert (database.last, durable, database.unsynced) == (2, [1], 3)
    database.crash(1)  # the entry, and not its writes
    assert (database.last, database.projected, durable) == (2, 1, [1, 2])
    assert await store.get("jobs", ["j"]) == {"j": {"turn": 1}}
    with pytest.raises(Unavailable):
        await store.commit(*entry(3))
    database.crash(0)
    assert await store.read(0) == [entry(1)[0], entry(2)[0]]
