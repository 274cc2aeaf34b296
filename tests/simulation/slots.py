"""Slots without processes: what the agent sees of its slots, where tasks take virtual time and fail as they are told.

The rule: an attempt reads the bytes it was given and makes what the drill says of them, or what goes wrong is decided
by the seed and by how often the task was begun before.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorfleet.model import Cause, LogLine, Point, Ref
from tensorfleet.testing.simulated.processes import Process
from tests.simulation import drills
from worker.executor import Heard, Outcome
from worker.messages import Died, Failed, Run, Succeeded

RESPAWN = 0.05
"""Seconds until a slot that died has another in its place."""


class _Running:
    def __init__(self, token: int, pid: int, over: "asyncio.Future[Outcome]") -> None:
        self.token = token
        self.pid = pid
        self.over = over
        self.listening = asyncio.Event()
        self.listening.set()

    def conclude(self, outcome: Outcome) -> None:
        if not self.over.done():
            self.over.set_result(outcome)


class SimulatedSlots:
    """As `worker.slots.Slots`. begun: how often each task was begun in this world, by what it is."""

    def __init__(self, process: Process, count: int, begun: dict[tuple[object, ...], int]) -> None:
        self.broken: asyncio.Future[str] = process.create_future()
        self._process = process
        self._begun = begun
        self._free = count
        self._pids = 100
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._running: dict[int, _Running] = {}

    async def run(self, token: int, run: Run, started: Callable[[int], None], heard: Heard) -> Outcome:
        await self._free_slot()
        self._pids += 1
        running = _Running(token, self._pids, self._process.create_future())
        self._running[token] = running
        working = asyncio.create_task(self._work(running, run, heard))
        outcome: Outcome | None = None
        try:
            started(running.pid)
            outcome = await running.over
            return outcome
        finally:
            working.cancel()
            del self._running[token]
            if isinstance(outcome, Succeeded | Failed):
                self._give_back()
            else:  # another process must take its place
                self._process.call_later(RESPAWN, self._give_back)

    def stop(self, token: int) -> bool:
        running = self._running.get(token)
        if running is None:
            return False
        delay = self._process.simulation.chance.uniform(0.0, 0.3)
        died = Died(Cause.SIGNAL, "SIGTERM", "the task's process died of signal 15 (SIGTERM)")
        self._process.call_later(delay, running.conclude, died)
        return True

    def pause(self, token: int) -> None:
        if token in self._running:
            self._running[token].listening.clear()

    def resume(self, token: int) -> None:
        if token in self._running:
            self._running[token].listening.set()

    def pids(self) -> list[int]:
        return [1, *(running.pid for running in self._running.values())]

    def idle_pids(self) -> list[int]:
        return []

    async def close(self) -> None:
        for running in list(self._running.values()):
            running.conclude(Died(Cause.LOST_WORKER, "WORKER_LEFT", "the worker left"))

    def kill_one(self) -> bool:
        """One of the processes that run something dies."""
        for running in self._running.values():
            running.conclude(Died(Cause.SIGNAL, "SIGKILL", "the task's process died of signal 9 (SIGKILL)"))
            return True
        return False

    @property
    def busy(self) -> int:
        return len(self._running)

    async def _free_slot(self) -> None:
        if self._free:
            self._free -= 1
            return
        waiting: asyncio.Future[None] = self._process.create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self._give_back()
            raise

    def _give_back(self) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
        self._free += 1

    # --- what a slot's process would do

    async def _work(self, running: _Running, run: Run, heard: Heard) -> None:
        params: dict[str, Any] = run.params
        chance = self._process.simulation.chance
        trouble, _, times = params["trouble"].partition(" ")
        what = (params["recipe"], params["stage"], params["index"])
        self._begun[what] = self._begun.get(what, 0) + 1
        troubled = trouble if self._begun[what] <= int(times or 1_000_000) else ""
        for step in range(chance.randint(0, 3)):
            await asyncio.sleep(chance.uniform(0.1, 0.6) * params["seconds"])
            await running.listening.wait()
            lines = [LogLine(self._process.wall_time(), "stdout", f"step {step}")]
            heard([Point("loss", step, 1.0 / (step + 1))], lines)
        await asyncio.sleep(chance.uniform(0.1, 1.0) * params["seconds"] * (20 if troubled == "slow" else 1))
        running.conclude(self._made(run, params) if troubled in ("", "slow") else _TROUBLES[troubled])

    def _made(self, run: Run, params: dict[str, Any]) -> Outcome:
        try:
            inputs = drills.read(run.inputs)
        except FileNotFoundError as error:
            return Failed(Cause.EXCEPTION, "FileNotFoundError", str(error))
        data = drills.work(params, inputs)
        path = Path(run.out) / "output-0"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        ref = Ref(hashlib.sha256(data).hexdigest(), len(data))
        return Succeeded(((str(path), ref),), {"index": params["index"]})


_TROUBLES: dict[str, Outcome] = {
    "raise": Failed(Cause.EXCEPTION, "ValueError", "it raised"),
    "bad": Failed(Cause.BAD_INPUT, "BAD_INPUT", "line 7 is no number"),
    "die": Died(Cause.SIGNAL, "SIGSEGV", "the task's process died of signal 11 (SIGSEGV)"),
    "memory": Died(Cause.OUT_OF_MEMORY, "OOM_KILLED", "the kernel ended the task's process"),
}
