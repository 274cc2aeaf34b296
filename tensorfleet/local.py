"""The local fleet: an orchestrator and workers as processes of this machine, over one home.

    with LocalFleet(workers=2) as fleet, Client(fleet.address) as client: ...

The rule: one orchestrator owns a home. A fleet joins the one that is there, and takes over at the same address where it
vanishes; what a fleet started it keeps running, and ends when it stops.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorfleet.config import settings
from tensorfleet.errors import NOT_STARTED, Unavailable
from tensorfleet.sdk.bridge import Bridge, blocking
from tensorfleet.sdk.keepers import LIVES, OLD, Keepers
from tensorfleet.sdk.processes import Child, ended, ending, is_alive
from tensorfleet.sdk.seat import Seat, reachable, read_seat, reserved, serves
from tensorfleet.sdk.staff import HASTE, LOOK, Crew, Staff

POLL = 0.005
GRACE = 5.0
USAGE, STORE_IS_AWAY, HOME_IS_TAKEN = 2, 3, 4
"""Exit codes of the orchestrator program."""


class AsyncLocalFleet:
    """A fleet on this machine, to be awaited.

    home: default `TENSORFLEET_HOME`, else `./.tensorfleet`. workers, slots, labels: of the workers to start; where the
    home already has an orchestrator with workers, none are. listen: where to serve; port 0 takes a free one. insecure:
    needed to listen beyond loopback. worker_options: more flags for each worker. preload: load the
    numerics while the fleet comes up, for a training that comes at once. tell: hears, in a line, what people
    should know.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        *,
        workers: int = 1,
        slots: int = 1,
        labels: Mapping[str, str] | None = None,
        listen: str = "127.0.0.1:0",
        insecure: bool = False,
        worker_options: Sequence[str] = (),
        preload: bool = False,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.home = Path(home).expanduser().absolute() if home else settings().home
        self.address = ""
        self.owned = False
        self._listen, self._insecure, self._tell = listen, insecure, tell
        self._keepers = Keepers()
        crew = Crew(workers=workers, slots=slots, labels=labels or {}, options=worker_options)
        self._staff = Staff(crew, self.home, self._keepers, tell, preload=preload)
        self._orchestrator: Child | None = None
        self._serving = asyncio.Event()
        self._served, self._bind = False, ""

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is interrupted has no end to wait for.
        await self.stop(HASTE if kind is asyncio.CancelledError else GRACE)

    @property
    def orchestrator_pid(self) -> int | None:
        """The process id of the orchestrator that owns the home, ours or not."""
        seat = read_seat(self.home)
        return seat.pid if seat else None

    @property
    def worker_pids(self) -> dict[str, int]:
        """The process ids of the workers that this fleet runs now, by name."""
        return self._staff.pids

    async def start(self) -> Self:
        """Returns once the orchestrator serves; workers may still be on their way. Unavailable where it does not
        start."""
        self.home.mkdir(parents=True, exist_ok=True)
        self._keepers.begin("orchestrator", self._keep_orchestrator())
        try:
            await self._keepers.until(self._serving, "orchestrator")
        except BaseException:
            await self.stop()
            raise
        return self

    async def stop(self, grace: float = GRACE) -> None:
        """Ends what this fleet started: workers, by force after `grace` seconds, then the orchestrator."""
        await self._keepers.stop()
        try:
            await self._staff.stop(grace)
            if self._orchestrator is not None:
                await self._orchestrator.stop(GRACE)
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends what this fleet started, at once and by force."""
        self._staff.kill()
        if self._orchestrator is not None:
            self._orchestrator.kill()

    async def workers_ready(self, count: int = 1) -> None:
        """Waits until so many workers are in session."""
        from tensorfleet.client import AsyncClient

        async with AsyncClient(self.address) as client:
            while sum(worker.state == "ready" for worker in await client.workers.list()) < count:
                self.raise_failure()
                await asyncio.sleep(POLL)

    async def kill_worker(self, index: int = 0, number: signal.Signals = signal.SIGKILL) -> int:
        """Signals a worker that this fleet runs and returns its process id; one that dies of it is started again."""
        pid = list(self.worker_pids.values())[index]
        os.kill(pid, number)
        return pid

    async def restart_orchestrator(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signals the orchestrator that this fleet runs and waits until the next one serves, at the same address."""
        if self._orchestrator is None:
            raise Unavailable("this fleet runs no orchestrator of its own")
        self._serving.clear()
        self._orchestrator.signal(number)
        await self._keepers.until(self._serving, "orchestrator")

    def raise_failure(self) -> None:
        """Unavailable where the fleet gave up on one of its programs."""
        self._keepers.raise_failure()

    async def broken(self) -> None:
        """Waits until the fleet gives up on one of its programs, and raises why: Unavailable."""
        await self._keepers.broken()

    async def _keep_orchestrator(self) -> None:
        deaths = 0
        while deaths < LIVES:
            began = asyncio.get_running_loop().time()
            seat = read_seat(self.home)
            if seat and is_alive(seat.pid) and await serves(reachable(seat.address)):
                await self._join(seat)
                code = 0
            else:
                code = await self._own()
            self._serving.clear()
            if code == STORE_IS_AWAY:
                await asyncio.sleep(LOOK)  # it comes back when it does: that is no death of the program's own
            else:
                deaths = deaths + 1 if asyncio.get_running_loop().time() - began < OLD else 0
        words = self._orchestrator.last_words(3) if self._orchestrator else "nothing"
        raise Unavailable(f"no orchestrator stays alive over {self.home}; the log in it ends with: {words}")

    async def _join(self, seat: Seat) -> None:
        """Follows another's orchestrator until its end."""
        self.owned = False
        self._serve(seat)
        self._keepers.begin("staffing", self._staff.fill())
        await ended(seat.pid)
        self._tell(f"the orchestrator at {seat.address} has gone; this fleet takes over")

    async def _own(self) -> int:
        """Runs an orchestrator until its end; its exit code."""
        self.owned = True
        self._bind = self._bind or reserved(self._listen)
        self.address = reachable(self._bind)
        self._staff.follow(self.address)
        insecure = ["--insecure"] if self._insecure else []
        arguments = ["--home", str(self.home), "--listen", self._bind, *insecure]
        self._orchestrator = child = Child("orchestrator", "orchestrator", arguments, self.home / "logs")
        if not self._served:
            self._staff.hire()  # workers come up meanwhile
        seat = await self._seated(child)
        if seat is None:
            return await self._turned_away(child)
        self._serve(seat)
        self._keepers.begin("staffing", self._staff.fill())
        code = await child.ended()
        self._tell(f"the orchestrator ended ({ending(code)}) and is started again")
        return code

    async def _seated(self, child: Child) -> Seat | None:
        """The child's seat once it serves; None where it ended before."""
        while child.alive():
            seat = read_seat(self.home)
            if seat and seat.pid == child.pid:
                return seat
            await asyncio.sleep(POLL)
        return None

    async def _turned_away(self, child: Child) -> int:
        code = await child.ended()
        if code == USAGE or (code == STORE_IS_AWAY and not self._served):
            raise Unavailable(f"the orchestrator did not start: {child.last_words(3)}", reason=NOT_STARTED)
        if code == HOME_IS_TAKEN:
            if not self._served:
                await self._staff.let_go()
            await self._other_seated()
        elif not self._served:
            self._bind = ""  # perhaps somebody took the port meanwhile
        return code

    async def _other_seated(self, patience: float = 10.0) -> None:
        """Waits for whoever owns the home to serve."""
        deadline = asyncio.get_running_loop().time() + patience
        while asyncio.get_running_loop().time() < deadline:
            seat = read_seat(self.home)
            if seat and is_alive(seat.pid):
                return
            await asyncio.sleep(POLL)

    def _serve(self, seat: Seat) -> None:
        self._bind, self.address = seat.address, reachable(seat.address)
        self._staff.follow(self.address)
        self._served = True
        self._serving.set()


class LocalFleet:
    """A fleet on this machine. As `AsyncLocalFleet`, and each call waits for its end."""

    def __init__(
        self,
        home: str | Path | None = None,
        *,
        workers: int = 1,
        slots: int = 1,
        labels: Mapping[str, str] | None = None,
        listen: str = "127.0.0.1:0",
        insecure: bool = False,
        worker_options: Sequence[str] = (),
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.inner = AsyncLocalFleet(
            home,
            workers=workers,
            slots=slots,
            labels=labels,
            listen=listen,
            insecure=insecure,
            worker_options=worker_options,
            tell=tell,
        )
        self.bridge = Bridge()

    def __enter__(self) -> Self:
        self.bridge.run(self.inner.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def home(self) -> Path:
        return self.inner.home

    @property
    def address(self) -> str:
        return self.inner.address

    @property
    def owned(self) -> bool:
        """Whether the orchestrator is this fleet's own."""
        return self.inner.owned

    @property
    def orchestrator_pid(self) -> int | None:
        """The process id of the orchestrator that owns the home, ours or not."""
        return self.inner.orchestrator_pid

    @property
    def worker_pids(self) -> dict[str, int]:
        """The process ids of the workers that this fleet runs now, by name."""
        return self.inner.worker_pids

    def start(self) -> Self:
        """Returns once the orchestrator serves. Unavailable where it does not start."""
        return self.__enter__()

    def stop(self, grace: float = GRACE) -> None:
        """Ends what this fleet started: workers, by force after `grace` seconds, then the orchestrator."""
        if not self.bridge.closed:
            self.bridge.run(self.inner.stop(grace))
            self.bridge.close()

    workers_ready = blocking(AsyncLocalFleet.workers_ready)
    kill_worker = blocking(AsyncLocalFleet.kill_worker)
    restart_orchestrator = blocking(AsyncLocalFleet.restart_orchestrator)
