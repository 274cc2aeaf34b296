"""The worker's shell: it carries out what the state decides, and tells the state what came of it.

The rule: it decides nothing that the state could. Each attempt is one coroutine here, from its inputs to its outputs,
and whatever happens in it becomes an ending.
"""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from tensorfleet.api.v1 import worker_pb2
from tensorfleet.errors import BadInput, CorruptArtifact, NotFound, TensorFleetError
from tensorfleet.logs import Logger
from tensorfleet.model import Cause, LogLine, Point
from worker import disk, resources
from worker.cache import Cache, sweep
from worker.executor import Outcome
from worker.messages import Ending, Failed, Order, OrderInput, Run, Succeeded
from worker.protocol import Identity, Vitals
from worker.remote import RemoteArtifacts
from worker.session import Refused, Sessions
from worker.slots import Slots
from worker.state import Action, Begin, Kill, Leave, Pause, Prefetch, Resume, State

log = Logger(__name__)

LEAVE_WITHIN = 3.0
"""Seconds from a signal to the exit, at most."""


class Options(Struct, frozen=True, kw_only=True):
    """What a worker was told on its command line."""

    servers: tuple[str, ...]
    home: Path


class Agent:
    """One worker."""

    def __init__(self, options: Options, who: Identity, slots: Slots) -> None:
        self.state = State(who.slots)
        self._loop = asyncio.get_running_loop()
        self._slots = slots
        self._home = options.home
        self._cache = Cache(options.home / "cache")
        self._sessions = Sessions(options.servers, who, self)
        self._scratch = options.home / "scratch" / str(os.getpid())
        self._attempts: dict[int, asyncio.Task[Ending]] = {}
        self._prefetched: dict[int, asyncio.Task[None]] = {}
        self._leaving = False
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
        for task in (sessions, *self._attempts.values(), *self._prefetched.values()):
            task.cancel()
        await asyncio.gather(sessions, *self._attempts.values(), *self._prefetched.values(), return_exceptions=True)
        await self._slots.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _told_to_go(self, name: str) -> None:
        """The first signal says goodbye and leaves; the second just leaves."""
        if self._leaving or not self.state.connected:
            self._go()
            return
        self._leaving = True
        log.info("leaving", signal=name)
        self.act(self.state.leave_now(f"the worker was stopped ({name})"))
        self._loop.call_later(LEAVE_WITHIN, self._go)

    def _go(self) -> None:
        if not self._gone.done():
            self._gone.set_result(None)

    # --- what the state wants done

    def act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Begin(order):
                    self._begin(order)
                case Prefetch(order):
                    self._prefetch(order)
                case Kill(token):
                    self._kill(token)
                case Pause(token):
                    self._slots.pause(token)
                case Resume(token):
                    self._slots.resume(token)
                case Leave():
                    self._leaving = True
                    self._sessions.close()
        self._sessions.wake(self.state.pressing)

    def _begin(self, order: Order) -> None:
        task = asyncio.create_task(self._attempt(order))
        self._attempts[order.token] = task
        # Not at its own end: one that is cancelled before its first step has none.
        task.add_done_callback(lambda done: self._over(order, done))

    def _kill(self, token: int) -> None:
        """Before it is on a slot, and after, there is only its coroutine to end."""
        if not self._slots.stop(token) and token in self._attempts:
            self._attempts[token].cancel()

    def _prefetch(self, order: Order) -> None:
        if order.token in self._prefetched or not order.inputs:
            return
        task = asyncio.create_task(self._fetch_ahead(order.inputs))
        self._prefetched[order.token] = task
        task.add_done_callback(lambda _: self._prefetched.pop(order.token, None))

    async def _fetch_ahead(self, inputs: Sequence[OrderInput]) -> None:
        try:
            await asyncio.gather(*map(self._cache.prefetch, inputs))
        except (TensorFleetError, OSError) as error:
            log.debug("could not fetch ahead", error=str(error))  # the attempt will say so

    # --- one attempt

    async def _attempt(self, order: Order) -> Ending:
        token, begun = order.token, self._loop.time()
        place = self._scratch / str(token)
        timer = self._loop.call_later(order.timeout, self._time_out, order) if order.timeout > 0 else None
        try:
            outcome = await self._on_slot(order, place)
            self.act(self.state.slot_freed(token))  # the next one runs while this one's outputs are put away
            return await self._ending(outcome, self._loop.time() - begun)
        except Exception as error:
            log.warning("an attempt failed outside its slot", token=token, exc_info=True)
            return _failure(error, self._loop.time() - begun)
        finally:
            if timer is not None:
                timer.cancel()
            shutil.rmtree(place, ignore_errors=True)

    def _over(self, order: Order, task: asyncio.Task[Ending]) -> None:
        token = order.token
        stopped = Ending(cause=Cause.CANCELLED, message="stopped before it ran")
        ending = stopped if task.cancelled() else task.result()
        del self._attempts[token]
        log.debug("attempt ended", token=token, operator=order.operator, cause=ending.cause, seconds=ending.duration)
        if ending.reason == disk.REASON:
            self._look_at_disk()
        self.act(self.state.slot_freed(token))
        self.act(self.state.ended(token, ending))

    async def _on_slot(self, order: Order, place: Path) -> Outcome:
        token = order.token
        if order.inputs:
            place.mkdir()
        try:
            paths = await self._cache.fetch_all(order.inputs, place)
        except (NotFound, CorruptArtifact) as error:
            return Failed(Cause.LOST_INPUT, error.reason, error.message)
        run = Run(order.operator, order.params, tuple(map(str, paths)), order.threads, str(place))

        def started(pid: int) -> None:
            self.act(self.state.slot_started(token, pid))

        def heard(points: Sequence[Point], lines: Sequence[LogLine]) -> None:
            self.act(self.state.slot_report(token, points, lines))

        return await self._slots.run(token, run, started, heard)

    async def _ending(self, outcome: Outcome, duration: float) -> Ending:
        if not isinstance(outcome, Succeeded):
            return Ending(
                cause=outcome.cause,
                reason=outcome.reason,
                message=outcome.message,
                duration=duration,
                ended_at=time.time(),
            )
        blobs = [await self._cache.put(Path(path), ref) for path, ref in outcome.outputs]
        return Ending(outputs=tuple(blobs), summary=outcome.summary, duration=duration, ended_at=time.time())

    def _time_out(self, order: Order) -> None:
        self.act(self.state.timed_out(order.token, f"the task ran longer than its {order.timeout:g} seconds"))

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
        running = self.state.running()
        idle = [(pid, 0) for pid in self._slots.idle_pids()]
        pids = [os.getpid(), *self._slots.pids()]
        return Vitals(
            load=resources.load_average(),
            memory=resources.memory_in_use(pids),
            slots=tuple([(pid, token) for token, pid in running] + idle),
            cached=tuple(self._cache.news()),
            unfit=self.state.unfit,
        )

    def _look_at_disk(self) -> None:
        self._cache.make_room()
        self.act(self.state.fit(disk.problem(self._home)))


def _failure(error: Exception, duration: float) -> Ending:
    """An attempt that could not be run, or whose outputs could not be put away."""
    if disk.is_full(error):
        reason = disk.REASON
    else:
        reason = error.reason if isinstance(error, TensorFleetError) else type(error).__name__
    return Ending(
        cause=Cause.BAD_INPUT if isinstance(error, BadInput) else Cause.EXCEPTION,
        reason=reason,
        message=str(error),
        duration=duration,
        ended_at=time.time(),
    )
