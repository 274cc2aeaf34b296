"""The agent's slots: processes that the zygote forks when there are orders for them; watched, and ended when they must.

The rule: whatever a task does to its process costs that task and nothing else. A slot whose process is gone gets
another, a zygote that is gone is started again, and what waits in a dead slot's pipe is told to be waiting still. What
needs the numerics runs in a process that was forked with them; one that has nothing to do does not stay for long.
"""

import asyncio
import select
import signal
import socket
import time
from collections.abc import Sequence
from itertools import count
from typing import Protocol

from msgspec import Struct

from tensorfleet.logs import Logger
from tensorfleet.model import Cause
from worker import sandbox
from worker.executor import Executor, Said
from worker.launch import Zygote, launch_zygote, part
from worker.messages import (
    MAX_MESSAGE,
    Died,
    Exited,
    Fork,
    Forked,
    FromZygote,
    Members,
    Preload,
    Preloaded,
    Signal,
    ToZygote,
    encode,
    from_zygote,
)
from worker.words import Wish

log = Logger(__name__)

KILL_GRACE = 1.0
"""Seconds between asking a slot to stop and ending it."""
MAX_FAILED_STARTS = 5
"""Zygotes in a row that may end before they are ready; after that the installation is at fault."""
REFILL_DELAY = 0.2
"""Seconds before a slot that ended without a task is replaced, so that a slot that cannot live is not a busy loop."""
PRELOAD_AFTER = 1.0
"""Seconds until the numerics are loaded that no task has asked for yet: first the fleet comes up."""
REST = 2.0
"""A process that did nothing for so many seconds is let go, in twice as many at most; forking takes milliseconds."""
LONG_REST = 600.0
"""The same of a process that has loaded a library that takes seconds to load."""


class Limits(Struct, frozen=True, kw_only=True):
    """What slots are held in. memory: bytes a task may allocate; max_tasks: of one process; 0 is no limit.

    rest: seconds for which a process may rest that has loaded a library that takes long to load.
    """

    slots: int = 1
    memory: int = 0
    max_tasks: int = 0
    gpus: int = 0
    rest: float = LONG_REST


class Host(Protocol):
    """Who has the slots."""

    def slot_came(self, number: int, pid: int) -> None:
        """A slot is there, and its pipe is empty. pid: of its process, 0 as long as it has none."""

    def slot_has(self, number: int, pid: int) -> None:
        """A slot that is there has another process, or for now none: 0."""

    def slot_said(self, number: int, messages: Said) -> None:
        """What a slot's process said, in order."""

    def slot_gone(self, number: int, waiting: int, died: Died) -> None:
        """A slot's process ended. waiting: how many orders, the last that it was given, it has not taken."""


class Slots:
    """All slots of a worker. What it hears it tells its host, which must be there when the loop goes on."""

    host: Host

    def __init__(self, limits: Limits, zygote: Zygote) -> None:
        self.limits = limits
        self._loop = asyncio.get_running_loop()
        self.broken: asyncio.Future[str] = self._loop.create_future()
        self._slots: dict[int, Executor] = {}
        self._coming: dict[int, Executor] = {}
        """Those that are not forked yet, by the number of the fork."""
        self._forks = count()
        self._kills: dict[int, asyncio.TimerHandle] = {}
        self._oom_kills = sandbox.oom_kills()
        self._failed_starts = 0
        self._closed = False
        self._watch(zygote)
        self._loop.call_soon(self._open_all)
        self._loop.call_later(REST, self._look_for_rest)

    def give(self, number: int, packets: Sequence[bytes], warm: bool = True) -> int:
        """Puts orders into a slot's pipe, as far as there is room; says how many. A process is forked for them where
        there is none that will do. warm: whether it must have the numerics."""
        slot = self._slots.get(number)
        if slot is not None and warm and not slot.warm:
            if not slot.idle:
                return 0
            self._let_go(slot)
            slot = None
        return (slot or self._fork(number, warm or self._preloaded)).give(packets)

    def take_back(self, number: int) -> int:
        """Takes the last orders back that a slot was given, as far as it has not taken them; says how many."""
        slot = self._slots.get(number)
        return slot.take_back() if slot is not None else 0

    def stop(self, number: int) -> None:
        """Ends a slot's process: first asked, then made to."""
        slot = self._slots.get(number)
        if slot is None:
            return
        slot.killed = True
        if slot.pid:
            self._end(slot)

    def pause(self, number: int) -> None:
        """Stops reading what a slot says."""
        if number in self._slots:
            self._slots[number].hold()

    def resume(self, number: int) -> None:
        if number in self._slots:
            self._slots[number].listen()

    def steer(self, number: int, token: int, wish: Wish, saves: int) -> None:
        """Has a slot's process know what is wanted of an attempt."""
        if number in self._slots:
            self._slots[number].steer(token, wish, saves)

    def tell(self, number: int, members: Members) -> None:
        if number in self._slots:
            self._slots[number].tell(members)

    def pids(self) -> list[int]:
        """The zygote where it is this worker's own, then the slots that are there."""
        zygote = [self._zygote.process.pid] if self._zygote.process else []
        return [*zygote, *(slot.pid for slot in self._slots.values() if slot.pid)]

    async def close(self) -> None:
        """Ends every slot and the zygote, and waits until they are gone."""
        self._closed = True
        self._loop.remove_reader(self._zygote.connection)
        for timer in self._kills.values():
            timer.cancel()
        for slot in list(self._slots.values()):
            self._conclude(slot, _died(Cause.LOST_WORKER, "WORKER_LEFT", "the worker left"))
        await asyncio.to_thread(part, self._zygote, KILL_GRACE * 2)

    # --- slots

    def _open_all(self) -> None:
        for number in range(self.limits.slots):
            self._open(number)

    def _open(self, number: int) -> None:
        """Has a slot be there, which is given a process with its first order."""
        if not self._closed:
            self.host.slot_came(number, 0)

    def _fork(self, number: int, warm: bool) -> Executor:
        """A process to be. What it is given waits in its pipe until it is there."""
        slot = self._slots[number] = Executor(number, self, warm=warm)
        gpus = sandbox.gpus_of_slot(number, self.limits.slots, self.limits.gpus)
        fork = Fork(next(self._forks), gpus, self.limits.memory, self.limits.max_tasks, warm)
        self._coming[fork.number] = slot
        slot.hand_over(lambda descriptors: self._tell(fork, descriptors))
        return slot

    def _let_go(self, slot: Executor) -> None:
        """A process that has nothing to do ends by itself once nobody can give it anything."""
        del self._slots[slot.number]
        slot.close()
        slot.close_orders()
        self.host.slot_has(slot.number, 0)

    def _look_for_rest(self) -> None:
        """Lets go of processes that did nothing since the last look."""
        if self._closed:
            return
        now = self._loop.time()
        for slot in list(self._slots.values()):
            if not slot.idle or slot.ended != slot.seen:
                slot.seen, slot.idle_since = slot.ended, now
            elif slot.pid and (not slot.loaded or now - slot.idle_since >= self.limits.rest):
                self._let_go(slot)
        self._loop.call_later(REST, self._look_for_rest)

    def _end(self, slot: Executor) -> None:
        self._signal(slot, signal.SIGTERM)
        self._kills[slot.pid] = self._loop.call_later(KILL_GRACE, self._signal, slot, signal.SIGKILL)

    def said(self, slot: Executor, messages: Said) -> None:
        self.host.slot_said(slot.number, messages)

    def disconnected(self, slot: Executor) -> None:
        """A process that closed its socket can do no more, even where it has not ended yet."""
        self._signal(slot, signal.SIGKILL)

    def _conclude(self, slot: Executor, died: Died) -> None:
        """A slot is gone: reads its last words, and tells what became of its orders."""
        timer = self._kills.pop(slot.pid, None)
        if timer is not None:
            timer.cancel()
        slot.close()
        self.host.slot_gone(slot.number, slot.take_back(), died)
        slot.close_orders()
        self._slots.pop(slot.number, None)

    # --- the zygote

    def _watch(self, zygote: Zygote) -> None:
        self._zygote = zygote
        self._answered = self._preloaded = False
        self._loop.add_reader(zygote.connection, self._read_zygote)
        self._loop.call_later(PRELOAD_AFTER, self._tell, Preload())

    def _read_zygote(self) -> None:
        try:
            data = self._zygote.connection.recv(MAX_MESSAGE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if data:
            self._hear(from_zygote.decode(data))
        else:
            self._zygote_gone()

    def _hear(self, message: FromZygote) -> None:
        self._answered, self._failed_starts = True, 0
        if isinstance(message, Preloaded):
            self._preloaded = True
            log.debug("numerics loaded", seconds=round(message.seconds, 3))
            for slot in [slot for slot in self._slots.values() if slot.pid and slot.idle and not slot.warm]:
                self._let_go(slot)
        elif isinstance(message, Forked):
            self._forked(message)
        else:
            self._exited(message)

    def _forked(self, message: Forked) -> None:
        slot = self._coming.pop(message.number)
        if self._slots.get(slot.number) is not slot:
            return  # it was let go meanwhile, and ends by itself
        slot.pid = message.pid
        slot.listen()
        self.host.slot_has(slot.number, slot.pid)
        if slot.killed:
            self._end(slot)

    def _exited(self, message: Exited) -> None:
        slot = next((slot for slot in self._slots.values() if slot.pid == message.pid), None)
        if slot is None:
            return
        slot.close()  # what it said last tells why it ended
        self._conclude(slot, self._autopsy(slot, message.status))
        if slot.taken:
            self._open(slot.number)
        else:
            log.warning("a slot ended without a task", pid=message.pid, status=message.status)
            self._loop.call_later(REFILL_DELAY, self._open, slot.number)

    def _autopsy(self, slot: Executor, status: int) -> Died:
        """Why a process that ran a task ended."""
        kills, before = sandbox.oom_kills(), self._oom_kills
        self._oom_kills = kills
        if status >= 0:
            return _died(Cause.SIGNAL, "EXITED", f"the task's process left by itself with exit code {status}")
        known = -status in set(signal.Signals)
        name = signal.Signals(-status).name if known else f"SIGNAL_{-status}"
        if status == -signal.SIGKILL and kills > before and not slot.killed:
            message = "the kernel ended the task's process: the machine's memory ran out"
            return _died(Cause.OUT_OF_MEMORY, "OOM_KILLED", message)
        if status == -signal.SIGABRT and any("bad_alloc" in line for line in slot.last_errors):
            return _died(Cause.OUT_OF_MEMORY, "MEMORY_LIMIT", "the task ran out of memory in compiled code")
        return _died(Cause.SIGNAL, name, f"the task's process died of signal {-status} ({name})")

    def _zygote_gone(self) -> None:
        """Its slots died with it. Another is started first, since what they leave may be given on at once."""
        self._loop.remove_reader(self._zygote.connection)
        self._loop.run_in_executor(None, part, self._zygote, KILL_GRACE)
        lost = list(self._slots.values())
        self._coming.clear()
        self._failed_starts += not self._answered
        if self._failed_starts < MAX_FAILED_STARTS:
            log.warning("the zygote ended; starting another")
            self._watch(launch_zygote())
        elif not self.broken.done():
            self.broken.set_result("slots cannot be started: the process that they are forked from ends at once")
        died = _died(Cause.SIGNAL, "ZYGOTE_LOST", "the task's process died with the process that it was forked from")
        for slot in lost:
            self._conclude(slot, died)
            self._open(slot.number)

    def _tell(self, message: ToZygote, descriptors: list[int] | None = None) -> None:
        connection = self._zygote.connection
        try:
            while True:
                try:
                    socket.send_fds(connection, [encode(message)], descriptors or [])
                    return
                except BlockingIOError:  # so many before the zygote reads: it is waited for
                    full = select.poll()
                    full.register(connection, select.POLLOUT)
                    full.poll()
        except OSError:
            log.debug("the zygote is gone")  # its closed socket tells, and all its slots end with it

    def _signal(self, slot: Executor, number: int) -> None:
        if slot.pid and self._slots.get(slot.number) is slot:
            self._tell(Signal(slot.pid, number))


def _died(cause: Cause, reason: str, message: str) -> Died:
    return Died(cause, reason, message, time.time())
