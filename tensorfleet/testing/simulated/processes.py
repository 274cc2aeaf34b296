"""Processes on one virtual clock, in this thread, with one source of chance.

The rule: what happens, and in which order, follows from the seed alone. A process is an asyncio event loop. It can be
killed between any two of its callbacks, and then nothing of it runs any more, no `finally` either; or it is stopped,
and all that was meant for it waits until it goes on.
"""

import asyncio
import contextvars
import gc
import heapq
import sys
import warnings
from asyncio import events as asyncio_events
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

WALL = 1_700_000_000.0
"""The wall time at which every simulation begins."""

THREAD = 0.002
"""Seconds that work in a thread takes, at most."""

MOST_TURNS_AT_ONCE = 20_000
"""Turns without time going on, past which something is taken to go round in circles."""


class Stuck(AssertionError):  # noqa: N818
    """Nothing will ever happen again, or time does not go on, or not far enough."""


@contextmanager
def vanishing() -> Iterator[None]:
    """What is simulated within this leaves nothing behind, if nothing outside refers to it.

    Memory is reclaimed at its end alone, since when it is would be chance. That runs the `finally`s of what was killed,
    in vain and without a word.
    """
    gc.disable()
    gc.freeze()  # what was there before need not be looked at
    before = sys.unraisablehook
    try:
        yield
    finally:
        sys.unraisablehook = lambda unraisable: None
        with warnings.catch_warnings(action="ignore"):
            gc.collect()
        sys.unraisablehook = before
        gc.unfreeze()
        gc.enable()


class Timer:
    """Something to be called, at once or later; what an event loop gives out for it."""

    __slots__ = ("args", "callback", "context", "due", "process")

    def __init__(
        self, process: "Process | None", callback: Callable[..., Any], args: tuple[Any, ...], due: float = 0.0
    ) -> None:
        self.process = process
        self.callback: Callable[..., Any] | None = callback
        self.args = args
        self.context: contextvars.Context | None = None
        self.due = due

    def cancel(self) -> None:
        self.callback, self.args = None, ()

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        assert self.process is not None
        return self.due + self.process.clock


class Simulation:
    """The clock, what is to come, and the processes. One at a time can run in a thread."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.now = 0.0
        self.processes: list[Process] = []
        self.on_exit: list[Callable[[Process], None]] = []
        self.on_stop: list[Callable[[Process], None]] = []
        self.on_fault: Callable[[Process, dict[str, Any]], None] = lambda process, context: None
        """Is told what a process would have logged as an exception that nobody handles."""
        self.halted = False
        """Whether time shall not go on."""
        self.closed = False
        self._ready: list[Process] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self._sequence = 0
        self._turns = 0
        self._running: Process | None = None
        self._graves: list[Any] = []

    def process(self, name: str, *, clock: float = 0.0, wall: float = 0.0) -> "Process":
        """A new process. clock: how far its monotonic clock is ahead of the simulation's; wall: its calendar."""
        process = Process(self, name, clock, wall)  # type: ignore[abstract]
        self.processes.append(process)
        return process

    def at(self, time: float, process: "Process | None", callback: Callable[..., Any], *args: Any) -> Timer:
        """Has something called at a time; in a process, or by nobody in particular."""
        timer = Timer(process, callback, args, time)
        self._sequence += 1
        heapq.heappush(self._timers, (time, self._sequence, timer))
        return timer

    def after(self, seconds: float, callback: Callable[..., Any], *args: Any) -> Timer:
        return self.at(self.now + seconds, None, callback, *args)

    def run(self, until: Callable[[], bool], limit: float) -> None:
        """Runs until a condition holds, which is looked at before time goes on. Stuck at the virtual time `limit`."""
        before = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=self._finalize)
        try:
            while not self.halted:
                while self._ready:
                    self._turn()
                if until():
                    break
                self._go_on(limit)
        finally:
            asyncio_events._set_running_loop(None)
            sys.set_asyncgen_hooks(*before)

    def wake(self, process: "Process") -> None:
        """Puts a process in line to run."""
        if not process.in_line and not process.stopped:
            process.in_line = True
            self._ready.append(process)

    def bury(self, remains: Any) -> None:
        """Keeps what a killed process was in the middle of, since letting go of it would run its `finally`s."""
        self._graves.append(remains)

    def close(self) -> None:
        """Ends every process."""
        self.closed = True
        for process in self.processes:
            process.kill()

    def _turn(self) -> None:
        """One process runs what is ready in it, as an event loop does in one iteration."""
        self._turns += 1
        ready = self._ready
        if self._turns > MOST_TURNS_AT_ONCE:
            raise Stuck(f"time stands still at {self.now:.3f}: {[each.name for each in ready]} run on and on")
        process = ready.pop()
        if ready:  # any of them may be the next
            at = int(self.chance.random() * (len(ready) + 1))
            if at < len(ready):
                process, ready[at] = ready[at], process
        process.in_line = False
        if process.stopped:
            return
        if process is not self._running:
            asyncio_events._set_running_loop(process)
            self._running = process
        process.turn()
        if process.ready:
            self.wake(process)

    def _go_on(self, limit: float) -> None:
        """Time goes on to what comes next."""
        while self._timers:
            time, _, timer = heapq.heappop(self._timers)
            if timer.callback is None or (timer.process is not None and not timer.process.alive):
                continue
            if time > limit:
                raise Stuck(f"it is not over at {limit:g}")
            if time > self.now:
                self.now, self._turns = time, 0
            if timer.process is None:
                asyncio_events._set_running_loop(None)
                self._running = None
                timer.callback(*timer.args)
            else:
                timer.process.take(timer)
            return
        raise Stuck(f"nothing will ever happen after {self.now:.3f}")

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        """An async generator that nobody reads any more is closed by whoever let go of it."""
        process = asyncio_events._get_running_loop()
        if isinstance(process, Process) and process.alive:
            process.create_task(generator.aclose())


class Process(asyncio.AbstractEventLoop):
    """One process: an event loop on the simulation's clock. What real loops do with sockets and threads it cannot."""

    def __init__(self, simulation: Simulation, name: str, clock: float, wall: float) -> None:
        self.simulation = simulation
        self.name = name
        self.clock = clock
        self.wall = wall
        self.alive = True
        self.stopped = False
        self.in_line = False
        self.ready: deque[Timer] = deque()
        self.signals: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}
        self.belongings: dict[str, Any] = {}
        """What code of this process finds by itself, such as its network."""

    def __repr__(self) -> str:
        return f"<process {self.name}>"

    # --- its life

    def kill(self) -> None:
        """Ends it here and now, as SIGKILL does."""
        if not self.alive:
            return
        self.alive = False
        self.simulation.bury((asyncio.all_tasks(self), self.ready))
        self.ready = deque()
        for heard in list(self.simulation.on_exit):
            heard(self)

    def stop(self) -> None:
        """As SIGSTOP: nothing of it runs, and it does not know."""
        if self.alive and not self.stopped:
            self.stopped = True
            for heard in list(self.simulation.on_stop):
                heard(self)

    def go_on(self) -> None:
        """As SIGCONT."""
        self.stopped = False
        if self.alive and self.ready:
            self.simulation.wake(self)

    def signal(self, number: int) -> None:
        """Sends a signal that it may handle; else it ends by it."""
        if number in self.signals:
            callback, args = self.signals[number]
            self.call_soon(callback, *args)
        else:
            self.kill()

    # --- what it runs

    def spawn(self, work: Coroutine[Any, Any, Any], name: str | None = None) -> "asyncio.Task[Any]":
        return self.create_task(work, name=name)

    def take(self, timer: Timer) -> None:
        """Something is due."""
        self.ready.append(timer)
        self.simulation.wake(self)

    def turn(self) -> None:
        """Runs what is ready now, and not what that makes ready."""
        ready = self.ready
        for _ in range(len(ready)):
            timer = ready.popleft()
            callback = timer.callback
            if callback is None:
                continue
            try:
                if timer.context is None:
                    callback(*timer.args)
                else:
                    timer.context.run(callback, *timer.args)
            except Exception as error:
                self.call_exception_handler({"message": f"{callback} raised", "exception": error})
            if not self.alive:
                return

    # --- what asyncio asks of a loop

    def time(self) -> float:
        return self.simulation.now + self.clock

    def wall_time(self) -> float:
        return WALL + self.simulation.now + self.wall

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Timer:
        timer = Timer(self, callback, args)
        if self.alive:
            timer.context = context
            self.take(timer)
        return timer

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Timer:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Timer:
        timer = self.simulation.at(max(when - self.clock, self.simulation.now), self, callback, *args)
        timer.context = context
        return timer

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        return asyncio.Task(coro, loop=self, **options)

    def add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        self.signals[sig] = (callback, args)

    def remove_signal_handler(self, sig: int) -> bool:
        return self.signals.pop(sig, None) is not None

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """A thread's work is done in one go, after a moment."""
        future = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        self.call_later(self.simulation.chance.uniform(0.0, THREAD), work)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.simulation.closed:
            self.simulation.on_fault(self, context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self.alive

    def is_closed(self) -> bool:
        return not self.alive
