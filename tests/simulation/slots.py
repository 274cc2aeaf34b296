"""Slots without processes: what the agent sees of its slots, where tasks take virtual time and fail as they are told.

The rule: an attempt reads the bytes it was given and makes what the drill says of them, or what goes wrong is decided
by the seed and by how often the task was begun before. A slot takes one order after another out of its pipe, and goes
on before its agent has read how the last one ended.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorfleet.keys import encode
from tensorfleet.model import Cause, LogLine, Points, Ref
from tensorfleet.testing.simulated.processes import Process
from tests.simulation import drills
from worker.executor import Said
from worker.messages import (
    TOKEN_BYTES,
    Died,
    End,
    Failed,
    FromSlot,
    GaveUp,
    Holding,
    Lines,
    Measured,
    Members,
    Ready,
    Run,
    Saved,
    Stored,
    Succeeded,
    Unfit,
    to_slot,
)
from worker.slots import Host
from worker.words import Wish

RESPAWN = 0.05
"""Seconds until a slot that died has another in its place."""
ROOM = 5
"""Orders in a pipe, at most."""
UNREAD = 3
"""Messages that a slot gets rid of while nobody reads them."""
LATE = 0.02
"""Seconds until the agent reads what a slot said, at most."""


class _Slot:
    """One process: its pipe, and what it said that was not read yet. left: tasks until it retires."""

    def __init__(self, number: int, pid: int, left: int) -> None:
        self.number = number
        self.pid = pid
        self.left = left
        self.pipe: deque[bytes] = deque()
        self.filled = asyncio.Event()
        self.listening = asyncio.Event()
        self.listening.set()
        self.unread: Said = []
        self.token = 0
        self.steered = (0, Wish.GO_ON, 0)
        self.members: Members | None = None
        self.changed = asyncio.Event()
        self.work: asyncio.Task[None] | None = None


class SimulatedSlots:
    """As `worker.slots.Slots`. begun: how often each task was begun in this world, by what it is."""

    host: Host

    def __init__(self, process: Process, count: int, begun: dict[tuple[object, ...], int]) -> None:
        self.broken: asyncio.Future[str] = process.create_future()
        self._process = process
        self._begun = begun
        self._ran: set[int] = set()
        self._pids = 100
        self._slots: dict[int, _Slot] = {}
        for number in range(count):
            self._fork(number)

    def give(self, number: int, packets: Sequence[bytes], warm: bool = True) -> int:
        slot = self._slots[number]
        taken = packets[: max(ROOM - len(slot.pipe), 0)]
        slot.pipe.extend(taken)
        slot.filled.set()
        return len(taken)

    def take_back(self, number: int) -> int:
        pipe = self._slots[number].pipe
        count = len(pipe)
        pipe.clear()
        return count

    def stop(self, number: int) -> None:
        slot = self._slots[number]
        died = Died(Cause.SIGNAL, "SIGTERM", "the task's process died of signal 15 (SIGTERM)")
        self._process.call_later(self._process.simulation.chance.uniform(0.0, 0.3), self._end, slot, died)

    def pause(self, number: int) -> None:
        self._slots[number].listening.clear()

    def resume(self, number: int) -> None:
        slot = self._slots[number]
        slot.listening.set()
        self._process.call_later(0.0, self._read, slot)

    def steer(self, number: int, token: int, wish: Wish, saves: int) -> None:
        slot = self._slots[number]
        slot.steered = (token, wish, saves)
        slot.changed.set()

    def tell(self, number: int, members: Members) -> None:
        slot = self._slots[number]
        slot.members = members
        slot.changed.set()

    def pids(self) -> list[int]:
        return [1, *(slot.pid for slot in self._slots.values())]

    async def close(self) -> None:
        for slot in list(self._slots.values()):
            self._end(slot, Died(Cause.LOST_WORKER, "WORKER_LEFT", "the worker left"), again=False)

    def kill_one(self) -> bool:
        """One of the processes that run something dies."""
        for slot in self._slots.values():
            if slot.token:
                died = Died(Cause.SIGNAL, "SIGKILL", "the task's process died of signal 9 (SIGKILL)")
                self._process.call_later(0.0, self._end, slot, died)
                return True
        return False

    @property
    def busy(self) -> int:
        return sum(bool(slot.token or slot.pipe) for slot in self._slots.values())

    # --- processes

    def _fork(self, number: int) -> None:
        self._process.call_later(self._process.simulation.chance.uniform(0.0, RESPAWN), self._forked, number)

    def _forked(self, number: int) -> None:
        self._pids += 1
        slot = self._slots[number] = _Slot(number, self._pids, self._process.simulation.chance.choice([3, 1000]))
        slot.work = self._process.spawn(self._serve(slot))
        self.host.slot_came(number, 0)
        self.host.slot_has(number, slot.pid)

    def _end(self, slot: _Slot, died: Died, again: bool = True) -> None:
        """A process is over: its last words are read, and what waits in its pipe waits still."""
        if self._slots.get(slot.number) is not slot:
            return
        assert slot.work is not None
        slot.work.cancel()
        self._read(slot, last=True)
        self.host.slot_gone(slot.number, self.take_back(slot.number), died)
        del self._slots[slot.number]
        if again:
            self._fork(slot.number)

    def _say(self, slot: _Slot, message: FromSlot) -> None:
        slot.unread.append(message)
        self._process.call_later(self._process.simulation.chance.uniform(0.0, LATE), self._read, slot)

    def _read(self, slot: _Slot, last: bool = False) -> None:
        if self._slots.get(slot.number) is not slot or not (slot.listening.is_set() or last):
            return
        said, slot.unread = slot.unread, []
        if said:
            self.host.slot_said(slot.number, said)

    # --- what a slot's process would do

    async def _serve(self, slot: _Slot) -> None:
        while slot.left:
            while not slot.pipe:
                slot.filled.clear()
                await slot.filled.wait()
            packet = slot.pipe.popleft()
            slot.token, slot.left = int.from_bytes(packet[:TOKEN_BYTES], "big"), slot.left - 1
            if slot.token in self._ran:
                self._process.belongings["world"].fail(f"attempt {slot.token} runs twice")
            self._ran.add(slot.token)
            outcome = await self._work(slot, to_slot.decode(packet[TOKEN_BYTES:]))
            if isinstance(outcome, Unfit):
                self._ran.discard(slot.token)  # it has not begun, and goes to another process
                slot.token, slot.left = 0, 0
                self._say(slot, outcome)
                break
            if isinstance(outcome, Died):
                self._process.call_later(0.0, self._end, slot, outcome)
                return
            slot.token = 0
            self._say(slot, outcome)
        died = Died(Cause.SIGNAL, "EXITED", "the task's process left by itself with exit code 0")
        self._process.call_later(self._process.simulation.chance.uniform(0.0, RESPAWN), self._end, slot, died)

    async def _work(self, slot: _Slot, run: Run | Stored) -> End | Died:
        assert isinstance(run, Run)
        params: dict[str, Any] = run.params
        chance = self._process.simulation.chance
        trouble, _, times = params["trouble"].partition(" ")
        what = (params["recipe"], params["stage"], params["index"])
        self._begun[what] = self._begun.get(what, 0) + 1
        troubled = trouble if self._begun[what] <= int(times or 1_000_000) else ""
        if troubled == "unfit":
            return Unfit("there is something in it")
        if params["gang"]:
            await self._meet(slot, params["index"])
        first = not params["gang"] or params["index"] == 0
        begun, saves = self._saved_step(run, what) if first else 0, 0
        for step in range(begun, begun + chance.randint(0, 3)):
            await asyncio.sleep(chance.uniform(0.1, 0.6) * params["seconds"])
            if len(slot.unread) >= UNREAD:
                await slot.listening.wait()
            self._say(slot, Measured(Points(("loss",), (), (step,), (1.0 / (step + 1),))))
            self._say(slot, Lines((LogLine(self._process.wall_time(), "stdout", f"step {step}"),)))
            if not first:
                continue  # it is paused and ended by way of the first, for whom it waits in the next sum
            saves, left = await self._between(slot, run, (*what, step), saves)
            if isinstance(left, GaveUp):
                return left
            if left is Wish.END and params["gang"]:
                break
        if not first and chance.random() < 0.5:
            await asyncio.Event().wait()  # the first, for whom it waits, is through
        await asyncio.sleep(chance.uniform(0.1, 1.0) * params["seconds"] * (20 if troubled == "slow" else 1))
        return self._made(slot.token, run, params) if troubled in ("", "slow") else _TROUBLES[troubled]

    async def _meet(self, slot: _Slot, index: int) -> None:
        """Says where this member of a gang is, and waits for the others."""
        address, world = f"{self._process.name}:{slot.token}", self._process.belongings["world"]
        self._say(slot, Ready(address))
        while slot.members is None:
            slot.changed.clear()
            await slot.changed.wait()
        place, addresses = slot.members.place, slot.members.addresses
        slot.members = None
        if (place, addresses[place], len(set(addresses))) != (index, address, len(addresses)):
            world.fail(f"member {index} at {address} was told that it is {place} of {addresses}")
        if any(world.rosters.setdefault(other, addresses) != addresses for other in addresses):
            world.fail(f"member {index} at {address} meets {addresses}, of whom some meet others")

    async def _between(
        self, slot: _Slot, run: Run, where: tuple[object, ...], saves: int
    ) -> tuple[int, GaveUp | Wish | None]:
        """Between two steps: does what is wanted by now. Gives how often the task was asked to save, all in all."""
        while slot.steered[0] == slot.token:
            _, wish, asked = slot.steered
            if asked != saves:
                saves = asked
                self._say(slot, Saved(*self._save(slot.token, run, where, saves)))
            elif wish is Wish.PART:
                return saves, GaveUp(self._save(slot.token, run, where, saves + 1))
            elif wish is Wish.HOLD:
                self._say(slot, Holding())
                slot.changed.clear()
                await slot.changed.wait()
            else:
                return saves, wish
        return saves, None

    def _save(self, token: int, run: Run, where: tuple[object, ...], number: int) -> tuple[str, Ref]:
        data = encode(list(where)) + (bytes(drills.BIG) if run.params["big"] else b"")  # type: ignore[arg-type]
        path = Path(run.scratch, str(token), f"saved-{number}")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return str(path), Ref(hashlib.sha256(data).hexdigest(), len(data))

    def _saved_step(self, run: Run, what: tuple[object, ...]) -> int:
        """The step from which the task goes on."""
        if not run.saved:
            return 0
        data = Path(run.saved).read_bytes()
        found = next((step for step in range(100) if data.startswith(encode([*what, step]))), None)  # type: ignore[list-item]
        if found is None:
            self._process.belongings["world"].fail(f"{what} is to go on from what another task saved")
        return (found or 0) + 1

    def _made(self, token: int, run: Run, params: dict[str, Any]) -> Succeeded | Failed:
        try:
            inputs = drills.read(run.inputs)
        except FileNotFoundError as error:
            return Failed(Cause.EXCEPTION, "FileNotFoundError", str(error))
        data = drills.work(params, inputs)
        path = Path(run.scratch, str(token), "output-0")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        ref = Ref(hashlib.sha256(data).hexdigest(), len(data))
        return Succeeded(0.1, None, ((str(path), ref),), {"index": params["index"]})


_TROUBLES: dict[str, Failed | Died] = {
    "raise": Failed(Cause.EXCEPTION, "ValueError", "it raised"),
    "bad": Failed(Cause.BAD_INPUT, "BAD_INPUT", "line 7 is no number"),
    "die": Died(Cause.SIGNAL, "SIGSEGV", "the task's process died of signal 11 (SIGSEGV)"),
    "memory": Died(Cause.OUT_OF_MEMORY, "OOM_KILLED", "the kernel ended the task's process"),
}
