"""The live view of a job: on a terminal a picture that moves, elsewhere a few plain lines.

The rule: with `--output json` nothing is written to stdout here; progress then goes to stderr, if that is a terminal.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from clients.cli import output
from clients.cli.progress import Progress, epochs_of, sparkline
from tensorfleet.counts import counted
from tensorfleet.errors import TensorFleetError
from tensorfleet.sdk.events import TasksSucceeded

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from tensorfleet.client import AsyncClient, AsyncJob
    from tensorfleet.sdk.events import Event
    from tensorfleet.sdk.values import WorkerInfo

LOOKS = 0.5
"""Seconds between two looks at the workers."""
PATIENCE = 3.0
"""Seconds between two looks at whether anything of the job runs."""
LARGE = 40
"""Tasks from which on a stage is large."""

SERIES = 4

ROUNDS = ("round-", "reduce-")
"""How the stages begin that a training by rounds has many of."""


class Watcher(Protocol):
    """Shows a job's events as they come."""

    def see(self, event: "Event") -> None: ...


class Asking(Watcher, Protocol):
    """Shows also why nothing of the job runs."""

    progress: Progress

    def wait(self, why: str) -> None: ...


async def follow(client: "AsyncClient", job: "AsyncJob", title: str, *, json: bool, after: str | None = None) -> None:
    """Watches a job to its end, showing what happens."""
    async with _watcher(client, job.id, title, epochs_of(job.info.spec), json=json) as watcher:
        async for event in job.watch(after):
            watcher.see(event)


@asynccontextmanager
async def _watcher(
    client: "AsyncClient", job_id: str, title: str, epochs: int, *, json: bool
) -> AsyncIterator[Watcher]:
    console = output.console(stderr=json)
    if not console.is_terminal and json:
        yield Silence()
        return
    if not console.is_terminal:
        lines = Lines(title, epochs)
        async with _beside(_ask(client, job_id, lines)):
            yield lines
        return
    from rich.live import Live

    view = View(title, lambda: client.away, epochs)
    async with _beside(_look(client, view), _ask(client, job_id, view)):
        with Live(view, console=console, refresh_per_second=10, transient=True):
            yield view
    for line in view.progress.failures:
        console.print(output.line(output.styled("! ", "yellow"), line))


@asynccontextmanager
async def _beside(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def _ask(client: "AsyncClient", job_id: str, watcher: Asking) -> None:
    """Asks why nothing of the job runs, whenever nothing did at one look and nothing has happened by the next."""
    progress, idle, seen = watcher.progress, False, 0
    while True:
        await asyncio.sleep(PATIENCE)
        if idle and progress.events == seen:
            with suppress(TensorFleetError):
                why = await client.jobs.explain(job_id)
                if progress.events == seen:
                    watcher.wait(why.summary)
        idle, seen = progress.idle, progress.events


async def _look(client: "AsyncClient", view: "View") -> None:
    while True:
        with suppress(TensorFleetError):  # the watch tells when the fleet is away for too long
            view.workers = list(await client.workers.list())
        await asyncio.sleep(LOOKS)


class Silence:
    """For programs: they read the result."""

    def see(self, event: "Event") -> None:
        return


class Lines:
    """For logs and pipes: a line when a large stage opens, at each quarter of a stage, for what fails, for what
    somebody does to the job, and for what it waits for.

    A large stage has a line at each twentieth. Where epochs are told of, each has a line, and its stages have none.
    """

    def __init__(self, title: str, epochs: int = 0) -> None:
        self.progress = Progress(epochs=epochs)
        self._failures, self._epoch, self._news = 0, 0, 0
        self._waits = ""
        self._told: set[tuple[str, int]] = set()
        _say(title)

    def see(self, event: "Event") -> None:
        progress = self.progress
        progress.learn(event)
        for line in progress.failures[self._failures :]:
            _say(f"  ! {line}")
        self._failures = len(progress.failures)
        for line in progress.news[self._news :]:
            _say(f"  {line}")
        self._news = len(progress.news)
        if progress.epochs and progress.epoch > self._epoch and isinstance(event, TasksSucceeded):
            self._epoch = progress.epoch
            _say(f"  epoch {self._epoch} of {progress.epochs}{self._figures()}{_pace(progress)}")
        for name, stage in progress.stages.items():
            if progress.epochs and name.startswith(ROUNDS):
                continue
            large = stage.tasks >= LARGE
            part = (20 if large else 4) * stage.done // max(1, stage.tasks)
            if (part or large) and (name, part) not in self._told:
                self._told.add((name, part))
                _say(f"  {name}: {stage.done:,} of {counted(stage.tasks, 'task')}{self._figures()}")

    def wait(self, why: str) -> None:
        if why != self._waits:
            self._waits = why
            _say(f"  waits: {why}")

    def _figures(self) -> str:
        return "".join(f", {name} {output.number(values[-1])}" for name, values in self.progress.latest()[:SERIES])


def _pace(progress: Progress) -> str:
    """How fast it goes, and how long it will."""
    speed = f", {progress.speed:,.0f} samples/s" if progress.speed else ""
    return speed + (f", {output.span(progress.left)} left" if progress.left else "")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class View:
    """For people at a terminal. away: whether nobody serves, so that this is how things stood. epochs: that the job
    tells of."""

    def __init__(self, title: str, away: Callable[[], bool] = lambda: False, epochs: int = 0) -> None:
        self.progress = Progress(epochs=epochs)
        self.workers: list[WorkerInfo] = []
        self._title, self._began, self._away = title, time.monotonic(), away

    def see(self, event: "Event") -> None:
        self.progress.learn(event)

    def wait(self, why: str) -> None:
        self.progress.waits = why

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.padding import Padding

        yield self._head()
        yield self._bar()
        if self.progress.epochs or self.progress.speed:
            yield self._pace()
        if self.progress.news:
            yield output.dim(self.progress.news[-1])
        if self.progress.waits:
            yield output.line(output.styled("waits: ", "yellow"), self.progress.waits)
        if self._away():
            yield output.line(output.styled("! ", "yellow"), "No orchestrator leads for the moment; waiting for one.")
        if self.progress.series:
            yield Padding(self._figures(), (1, 0, 0, 0))
        if self.workers or self.progress.running:
            yield Padding(self._fleet(), (1, 0, 0, 0))

    def _head(self) -> Any:
        from rich.table import Table

        head = Table.grid(expand=True)
        head.add_column()
        head.add_column(justify="right")
        head.add_row(
            output.styled(self._title, "bold"),
            output.line(output.state(self.progress.state), output.dim(f"{self._paused()} {self._span()}")),
        )
        return head

    def _paused(self) -> str:
        paused = self.progress.paused
        return f" for {output.span(time.time() - paused)}," if paused is not None else ""

    def _span(self) -> str:
        return output.span(time.monotonic() - self._began)

    def _bar(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        progress = self.progress
        bar = Table.grid(padding=(0, 2))
        counts = f"{progress.done:,} of {counted(progress.total, 'task')}" if progress.total else "waiting for the plan"
        reused = output.dim(f"{progress.reused} reused" if progress.reused else "")
        pulse = not progress.total
        bar.add_row(
            ProgressBar(total=progress.total or None, completed=progress.done, width=40, pulse=pulse),
            counts,
            output.styled(progress.stage, "cyan"),
            reused,
        )
        return bar

    def _pace(self) -> Any:
        progress = self.progress
        epoch = f"epoch {min(progress.epoch + 1, progress.epochs)} of {progress.epochs}" if progress.epochs else ""
        return output.dim(f"{epoch}{_pace(progress)}".removeprefix(", "))

    def _figures(self) -> Any:
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        for name, values in self.progress.latest()[:SERIES]:
            grid.add_row(name, output.number(values[-1]), output.styled(sparkline(values), "cyan"))
        return grid

    def _fleet(self) -> Any:
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        doing = self._doing()
        for name in sorted(doing):
            tasks = doing[name]
            mark = output.styled("● ", "green") if tasks else output.dim("○ ")
            what = ", ".join(tasks[:4]) + (" …" if len(tasks) > 4 else "")
            grid.add_row(output.line(mark, name), what or output.dim("idle"))
        return grid

    def _doing(self) -> dict[str, list[str]]:
        doing: dict[str, list[str]] = {worker.id: [] for worker in self.workers}
        for worker in self.workers:
            if worker.state != "ready":
                doing[worker.id].append(worker.state.value)
        slots = {worker.id: worker.slots for worker in self.workers}
        held: dict[str, list[str]] = {}
        # What was paused may have given up its place, of which nothing is told but by its worker.
        there = {(worker.id, run.task) for worker in self.workers for run in worker.running}
        for (stage, index), name in self.progress.running.items():
            if self.progress.paused is not None and name in slots and (name, f"{stage}/{index}") not in there:
                continue
            held.setdefault(name, []).append(f"{stage} {index + 1}")
        for name, tasks in held.items():
            # A worker runs what it was given first; the rest was sent ahead of a free slot.
            runs = slots.get(name, len(tasks))
            ahead = [f"{len(tasks) - runs} more sent ahead"] if len(tasks) > runs else []
            doing.setdefault(name, []).extend([*tasks[:runs], *ahead])
        return doing
