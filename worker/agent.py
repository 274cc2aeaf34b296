"""The worker's shell: it carries out what the state decides, and tells the state what came of it.

The rule: it decides nothing that the state could, and carries out actions in the order in which they were decided. An
attempt is a coroutine here only while its inputs or its outputs are on their way.
"""

import asyncio
import math
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from tensorfleet.api.v1 import worker_pb2
from tensorfleet.errors import BadInput, CorruptArtifact, NotFound, TensorFleetError
from tensorfleet.logs import Logger
from tensorfleet.model import Cause
from worker import disk, numerics, resources
from worker.actions import (
    Action,
    Fetch,
    Forget,
    Give,
    Keep,
    Kill,
    Leave,
    LookAtDisk,
    Pause,
    PutAway,
    Resume,
    Steer,
    TakeBack,
    Tell,
)
from worker.cache import Cache, sweep
from worker.executor import Said
from worker.messages import (
    Died,
    Ending,
    GaveUp,
    Order,
    OrderInput,
    Run,
    Saved,
    Stored,
    Succeeded,
    Work,
    encode,
    packet,
)
from worker.protocol import Identity, Vitals
from worker.remote import RemoteArtifacts
from worker.session import Refused, Sessions
from worker.slots import Slots
from worker.state import HOLD, State

log = Logger(__name__)

LONGEST_RUN = 50_000
"""Bytes of an encoded run that fit into an order's packet; a longer one goes by a file."""
LEAVE_WITHIN = 3.0
"""Seconds from a signal to the exit, at most."""


class Options(Struct, frozen=True, kw_only=True):
    """What a worker was told on its command line. hold: seconds for which a paused attempt holds its slot."""

    servers: tuple[str, ...]
    home: Path
    hold: float = HOLD


class Agent:
    """One worker."""

    def __init__(self, options: Options, who: Identity, slots: Slots) -> None:
        self.state = State(who.slots, hold=options.hold)
        self._loop = asyncio.get_running_loop()
        self._slots = slots
        self._home = options.home
        self._cache = Cache(options.home / "cache")
        self._sessions = Sessions(options.servers, who, self)
        self._scratch = options.home / "scratch" / str(os.getpid())
        self._actions: deque[Action] = deque()
        self._acting = False
        self._moving: dict[int, asyncio.Task[None]] = {}  # attempts whose inputs or outputs are on their way
        self._keeping: dict[int, asyncio.Task[None]] = {}  # attempts of which something that they saved is on its way
        self._to_keep: dict[int, Saved] = {}  # by token, what was saved meanwhile, last
        self._inputs: dict[int, tuple[str, ...]] = {}  # by token, where the inputs of an attempt are
        self._saved: dict[int, str] = {}  # by token, where what an earlier attempt saved is
        self._work, self._encoded = Work(operator=""), b""
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        slots.host = self
        self._leaving = self._closed = False
        self._gone: asyncio.Future[None] = self._loop.create_future()

    async def run(self) -> int:
        """Works until it is told to leave; gives the exit code."""
        sweep(self._scratch.parent)
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._told_to_go, signal.Signals(number).name)
        sessions = asyncio.create_task(self._sessions.run())
        try:
            ends: list[asyncio.Future[Any]] = [sessions, self._slots.broken, self._gone]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return self._exit_code(sessions)
        finally:
            await self._clean_up(sessions)

    def _exit_code(self, sessions: asyncio.Task[None]) -> int:
        if self._slots.broken.done():
            log.error("the worker cannot run tasks", why=self._slots.broken.result())
            return 1
        if not sessions.done():
            return 0
        error = sessions.exception()
        if isinstance(error, Refused) and not (self._leaving or self.state.draining):
            log.error("the orchestrator refused this worker", why=str(error))
            return 1
        if error is not None and not isinstance(error, Refused):
            raise error
        return 0

    async def _clean_up(self, sessions: asyncio.Task[None]) -> None:
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        moving = [*self._moving.values(), *self._keeping.values()]
        for task in (sessions, *moving):
            task.cancel()
        await asyncio.gather(sessions, *moving, return_exceptions=True)
        await self._slots.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _told_to_go(self, name: str) -> None:
        """The first signal says goodbye and leaves; the second just leaves."""
        if self._leaving or not self.state.connected:
            self._go()
            return
        self._leaving = True
        log.info("leaving", signal=name)
        self.act(self.state.leave_now(f"the worker was stopped ({name})", self._loop.time()))
        self._loop.call_later(LEAVE_WITHIN, self._go)

    def _go(self) -> None:
        if not self._gone.done():
            self._gone.set_result(None)

    # --- what the state wants done

    def act(self, actions: Sequence[Action]) -> None:
        """Carries out actions, and those that follow from them after them."""
        self._actions.extend(actions)
        if self._acting or self._closed:
            return
        self._acting = True
        try:
            while self._actions:
                self._carry_out(self._actions.popleft())
        finally:
            self._acting = False
        self._sessions.wake(self.state.pressing)
        if self.state.lanes.deadline < self._alarm_at:
            self._set_alarm()

    def _carry_out(self, action: Action) -> None:
        match action:
            case Give(slot, orders):
                warm = any(map(numerics.needed_by, {order.work.operator for order in orders}))
                count = self._slots.give(slot, self._packets(orders), warm)
                if count < len(orders):
                    self.act(self.state.slot_full(slot, len(orders) - count, self._loop.time()))
            case TakeBack(slot):
                self.act(self.state.came_back(slot, self._slots.take_back(slot), self._loop.time()))
            case Steer(slot, token, wish, saves):
                self._slots.steer(slot, token, wish, saves)
            case Tell(slot, members):
                self._slots.tell(slot, members)
            case Keep(token, saved):
                self._keep_soon(token, saved)
            case Fetch(order):
                self._move(order.token, self._fetch(order))
            case PutAway(token, outcome):
                self._move(token, self._put_away(token, outcome))
            case Forget(token):
                self._forget(token)
            case Kill(slot):
                self._slots.stop(slot)
            case Pause(slot):
                self._slots.pause(slot)
            case Resume(slot):
                self._slots.resume(slot)
            case LookAtDisk():
                self._look_at_disk()
            case Leave():
                self._leaving = True
                self._sessions.close()

    def _packets(self, orders: Sequence[Order]) -> list[bytes]:
        """Orders for a slot. What many have in common is encoded once."""
        packets = []
        for order in orders:
            if order.work is not self._work:
                self._work, self._encoded = order.work, self._encode(order)
            long = len(self._encoded) > LONGEST_RUN
            packets.append(packet(order.token, self._store(order.token) if long else self._encoded))
        return packets

    def _encode(self, order: Order) -> bytes:
        work, inputs = order.work, self._inputs.get(order.token, ())
        saved = self._saved.get(order.token, "")
        return encode(Run(work.operator, work.params, inputs, work.threads, str(self._scratch), saved))

    def _store(self, token: int) -> bytes:
        """Has an order that is too long for its packet go by a file."""
        path = self._stored(token)
        try:
            path.write_bytes(self._encoded)
        except OSError as error:
            log.warning("an order could not be written, as its slot will find", token=token, error=str(error))
            self._look_at_disk()
        return encode(Stored(str(path)))

    def _move(self, token: int, moving: Coroutine[Any, Any, None]) -> None:
        task = self._moving[token] = asyncio.create_task(moving)
        # Not at its own end: one that is cancelled before its first step has none.
        task.add_done_callback(lambda done: self._moved(token, done))

    def _moved(self, token: int, done: asyncio.Task[None]) -> None:
        if self._moving.get(token) is done:
            del self._moving[token]
        if done.cancelled():
            shutil.rmtree(self._place(token), ignore_errors=True)
        else:
            done.result()

    def _forget(self, token: int) -> None:
        if token in self._moving:
            self._moving[token].cancel()
        if token in self._keeping:
            self._keeping.pop(token).cancel()
            self._to_keep.pop(token, None)
        self._inputs.pop(token, None)
        self._saved.pop(token, None)
        self._stored(token).unlink(missing_ok=True)
        shutil.rmtree(self._place(token), ignore_errors=True)

    def _place(self, token: int) -> Path:
        """The folder of an attempt, with its inputs and its outputs."""
        return self._scratch / str(token)

    def _stored(self, token: int) -> Path:
        """Where a run is that is too long for its packet."""
        return self._scratch / f"{token}.order"

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self.state.lanes.deadline
        self._alarm = self._loop.call_at(self._alarm_at, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        self.act(self.state.tick(self._loop.time()))

    # --- inputs and outputs

    async def _fetch(self, order: Order) -> None:
        token, place = order.token, self._place(order.token)
        try:
            place.mkdir()
            paths = await self._cache.fetch_all(order.work.inputs, place)
            self._inputs[token] = tuple(map(str, paths))
            if order.work.saved is not None:
                await self._fetch_saved(token, order.work.saved, place)
        except (NotFound, CorruptArtifact) as error:
            self.act(self.state.ended(token, _failure(error, Cause.LOST_INPUT), self._loop.time()))
        except Exception as error:
            log.warning("an attempt's inputs could not be fetched", token=token, exc_info=True)
            self.act(self.state.ended(token, _failure(error), self._loop.time()))
        else:
            self.act(self.state.fetched(token, self._loop.time()))

    async def _fetch_saved(self, token: int, saved: OrderInput, place: Path) -> None:
        """What an earlier attempt saved spares time, and changes no result: an attempt goes without it as well."""
        try:
            self._saved[token] = str(await self._cache.fetch(saved, place / "saved"))
        except (NotFound, CorruptArtifact) as error:
            log.warning("what was saved is gone: the task begins anew", token=token, error=str(error))

    async def _put_away(self, token: int, outcome: Succeeded | GaveUp) -> None:
        """One that gives up its place does so too where what it saved cannot be kept: the next has more to do."""
        begun = self._loop.time()
        made = outcome.outputs if isinstance(outcome, Succeeded) else [outcome.saved] if outcome.saved else []
        try:
            blobs = [await self._cache.put(Path(path), ref) for path, ref in made]
        except Exception as error:
            log.warning("what an attempt made could not be put away", token=token, exc_info=True)
            self._look_at_disk()
            gave_up = Ending(gave_up=True, duration=outcome.seconds, ended_at=time.time())
            ending = _failure(error) if isinstance(outcome, Succeeded) else gave_up
        else:
            seconds = outcome.seconds + self._loop.time() - begun
            if isinstance(outcome, Succeeded):
                ending = Ending(outputs=tuple(blobs), summary=outcome.summary, duration=seconds, ended_at=time.time())
            else:
                ending = Ending(saved=blobs[0], gave_up=True, duration=seconds, ended_at=time.time())
        self.act(self.state.ended(token, ending, self._loop.time()))

    def _keep_soon(self, token: int, saved: Saved) -> None:
        """An attempt may save faster than that can be put away: of what has to wait, the last alone counts."""
        if token not in self._keeping:
            self._keeping[token] = asyncio.create_task(self._keep(token, saved))
            return
        if token in self._to_keep:
            Path(self._to_keep[token].path).unlink(missing_ok=True)
        self._to_keep[token] = saved

    async def _keep(self, token: int, saved: Saved | None) -> None:
        """Puts what a running attempt saved where it belongs, and then what it saved meanwhile."""
        while saved is not None:
            try:
                blob = await self._cache.put(Path(saved.path), saved.ref)
            except Exception:
                log.warning("what an attempt saved could not be kept; it goes on", token=token, exc_info=True)
                self._look_at_disk()
            else:
                self.act(self.state.kept(token, blob))
            finally:
                Path(saved.path).unlink(missing_ok=True)
            saved = self._to_keep.pop(token, None)
        self._keeping.pop(token, None)

    # --- what the slots tell

    def slot_came(self, number: int, pid: int) -> None:
        self.act(self.state.slot_came(number, pid, self._loop.time()))

    def slot_has(self, number: int, pid: int) -> None:
        self.act(self.state.slot_has(number, pid))

    def slot_said(self, number: int, messages: Said) -> None:
        self.act(self.state.slot_said(number, messages, self._loop.time()))

    def slot_gone(self, number: int, waiting: int, died: Died) -> None:
        self.act(self.state.slot_gone(number, waiting, died, self._loop.time()))

    # --- what the session asks

    async def welcomed(self, welcome: worker_pb2.Welcome, remote: RemoteArtifacts) -> None:
        await self._cache.connect(remote, welcome.object_store, welcome.term)

    def disconnected(self) -> None:
        self._cache.disconnect()
        if self._leaving:
            self._go()

    def cached(self) -> list[str]:
        return self._cache.digests()

    def vitals(self) -> Vitals:
        self._look_at_disk()
        pids = [os.getpid(), *self._slots.pids()]
        return Vitals(
            load=resources.load_average(),
            memory=resources.memory_in_use(pids),
            slots=tuple(self.state.running()),
            cached=tuple(self._cache.news()),
            unfit=self.state.unfit,
        )

    def _look_at_disk(self) -> None:
        self._cache.make_room()
        self.act(self.state.fit(disk.problem(self._home), self._loop.time()))


def _failure(error: Exception, cause: Cause | None = None) -> Ending:
    """Of an attempt whose inputs could not be fetched, or whose outputs could not be put away."""
    if disk.is_full(error):
        reason = disk.REASON
    else:
        reason = error.reason if isinstance(error, TensorFleetError) else type(error).__name__
    return Ending(
        cause=cause or (Cause.BAD_INPUT if isinstance(error, BadInput) else Cause.EXCEPTION),
        reason=reason,
        message=str(error),
        ended_at=time.time(),
    )
