"""`tensorfleet bench`: how fast the fleet is that is named, else one of its own that ends with the command.

The rule: what it says was counted at the client. It leaves the records of its jobs and nothing that runs.
"""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.cli import output
from clients.cli.options import Options, command
from tensorfleet.config import settings
from tensorfleet.counts import counted
from tensorfleet.errors import FailedPrecondition, TensorFleetError

if TYPE_CHECKING:
    from clients.cli.measures import Came, Moved
    from tensorfleet.client import AsyncClient
    from tensorfleet.sdk.values import FleetStatus

WORKERS = 2
"""Of a fleet of our own."""
JOINED_WITHIN = 30.0
RUN_WITHIN = 30.0
"""Seconds until the first task has run: workers may be on their way, slots cold, and others ahead in the queue."""
LOOKS = 0.05
JOBS, TRIPS = 10, 40
"""Tasks of the large job for each job of one task, and for each round trip."""
POINTS, MOST_POINTS = 20, 1_000_000
"""Points for each task of the large job, and at most: the fleet keeps them with their job."""
BYTES, MOST_BYTES = 6_400, 256_000_000
"""Bytes for each task of the large job, and at most: they stay until `gc` finds them old enough to go."""


def add(app: typer.Typer) -> None:
    command(app, panel="Fleets")(bench)


def bench(
    at: Options,
    tasks: Annotated[
        int,
        typer.Option(
            min=100,
            max=1_000_000,
            help="Tasks of the one large job. The rest goes with it: a tenth as many jobs, a fortieth as many round "
            "trips, 20 points and 6,400 bytes for each.",
        ),
    ] = 10_000,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            help=f"Most workers at once; on this machine, how many to start. Default: no limit; on this machine "
            f"{WORKERS}.",
            show_default=False,
        ),
    ] = 0,
    seconds: Annotated[float, typer.Option(min=0.1, help="The longest that each of the six measures may take.")] = 8.0,
) -> None:
    """Measure how fast a fleet is: dispatch, round trip, metrics and bytes.

    The work is jobs of algorithm [bold]noop[/], whose tasks do nothing and are never
    reused; those of a run share a model name, bench-…, to be found by. Other jobs
    take their part of the slots meanwhile: measure a fleet that is idle. Where no
    fleet is named and none is in the home, one is started and removed again.

    [bold]one large job[/]
    Tasks a second, from its submission until the result of each is here.

    [bold]many jobs[/]
    Jobs of one task a second: in batches, submitted 500 in a call, until all have
    ended; one by one, run by 8 clients that each wait for one before the next.

    [bold]round trip[/]
    Of one job of one task, from submission to result, with one client waiting.

    [bold]metrics[/]
    Points a second that two tasks report, until all are here; none may be missing.

    [bold]bytes to a worker[/]
    A blob that no worker has, by the time of a job of one task that takes it as
    input. The same again has nothing to fetch, and tells how long it takes then.

    A measure that takes longer than --seconds ends, and tells what came until then.
    """
    from clients.cli.connection import run

    run(_bench(at, tasks, workers, seconds))


async def _bench(at: Options, tasks: int, workers: int, seconds: float) -> None:
    async with _fleet(at, workers or WORKERS) as (client, own):
        status = await _staffed(client, (workers or WORKERS) if own else 1)
        figures = await _measured(client, status, Sizes(tasks, 0 if own else workers, seconds))
    if at.json:
        output.show_json(figures.plain())
    else:
        figures.show()
    if figures.lost:
        raise TensorFleetError(f"{figures.lost} of the points that tasks reported did not come")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. workers: most at once, 0 for all. seconds: of each measure, at most."""

    tasks: int
    workers: int
    seconds: float

    @property
    def jobs(self) -> int:
        return self.tasks // JOBS

    @property
    def trips(self) -> int:
        return max(2, self.tasks // TRIPS)

    @property
    def points(self) -> int:
        """Of each of two tasks."""
        return min(self.tasks * POINTS, MOST_POINTS) // 2

    @property
    def bytes(self) -> int:
        return min(self.tasks * BYTES, MOST_BYTES)


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured. trips: seconds. moved: None where its time was up."""

    status: "FleetStatus"
    sizes: Sizes
    large: "Came"
    batches: "Came"
    one_by_one: "Came"
    trips: list[float]
    metrics: "Came"
    moved: "Moved | None"

    @property
    def lost(self) -> int:
        """Points that never came. What was cut off lost nothing."""
        return 0 if self.metrics.cut else 2 * self.sizes.points - self.metrics.points

    def plain(self) -> dict[str, Any]:
        """As scripts may rely on it."""
        moved = self.moved
        return {
            "tasks_per_second": self.large.rate(self.large.tasks),
            "jobs_per_second": self.batches.rate(self.batches.tasks),
            "single_jobs_per_second": self.one_by_one.rate(self.one_by_one.tasks),
            "round_trip_ms": {"p50": self._trip(0.5), "p99": self._trip(0.99)},
            "metric_points_per_second": self.metrics.rate(self.metrics.points),
            "metric_points_lost": self.lost,
            "bytes_per_second": moved and moved.size / moved.seconds,
            "bytes_again_ms": moved and moved.again * 1e3,
            "store": {"documents": self.status.document_store, "objects": self.status.object_store},
            "release": self.status.release,
            "workers": self.status.workers.get("ready", 0),
            "slots": self.status.slots,
            "measured": {
                "tasks": self.large.tasks,
                "jobs": self.batches.tasks,
                "single_jobs": self.one_by_one.tasks,
                "round_trips": len(self.trips),
                "metric_points": self.metrics.points,
                "bytes": moved.size if moved else 0,
            },
        }

    def _trip(self, share: float) -> float | None:
        from clients.cli.measures import percentile

        return percentile(self.trips, share) * 1e3 if self.trips else None

    def show(self) -> None:
        told = self.plain()
        p50, p99 = (told["round_trip_ms"][at] for at in ("p50", "p99"))
        rows = [
            ("one large job", _rate(told["tasks_per_second"], "tasks"), _over(self.large.tasks, "tasks", self.large)),
            ("many jobs, in batches", _rate(told["jobs_per_second"], "jobs"), self._jobs(self.batches)),
            ("many jobs, one by one", _rate(told["single_jobs_per_second"], "jobs"), self._jobs(self.one_by_one)),
            ("round trip, p50", _time(p50), f"{len(self.trips):,} jobs of one task"),
            ("round trip, p99", _time(p99), ""),
            ("metrics", _rate(told["metric_points_per_second"], "points"), self._points()),
            ("bytes to a worker", self._moved(), self._again()),
        ]
        output.say()
        output.show_table(["measure", ">figure", "of"], rows, empty="")
        output.say()
        output.show_facts(
            {
                "Workers": f"{told['workers']}, with {counted(told['slots'], 'slot')} in all",
                "Release": told["release"],
                "Documents": self.status.document_store,
                "Objects": self.status.object_store,
            }
        )

    def _jobs(self, came: "Came") -> str:
        return _over(came.tasks, "jobs of one task", came)

    def _points(self) -> str:
        lost = f", {self.lost:,} lost" if self.lost else ", none lost"
        return _over(self.metrics.points, "points", self.metrics) + lost

    def _moved(self) -> str:
        return f"{output.size(self.moved.size / self.moved.seconds)}/s" if self.moved else "-"

    def _again(self) -> str:
        if self.moved is None:
            return "its time was up"
        size, again = output.size(self.moved.size), _time(self.moved.again * 1e3)
        return f"{size} in {output.span(self.moved.seconds)}; the same again {again}"


def _rate(value: float, what: str) -> str:
    return f"{value:,.0f} {what}/s"


def _time(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.2f} ms"


def _over(count: int, what: str, came: "Came") -> str:
    return f"{count:,} {what} in {output.span(came.seconds)}" + (", when its time was up" if came.cut else "")


@asynccontextmanager
async def _fleet(at: Options, workers: int) -> "AsyncIterator[tuple[AsyncClient, bool]]":
    """The fleet that the options name, or that stands over the home; else one that is started for this, over a folder
    beside the home, so on the same disk, that goes with it. With whether it is of the last kind."""
    from clients.cli.connection import connected
    from tensorfleet.sdk.seat import reachable, read_seat, serves

    home = at.home or settings().home
    seat = read_seat(home)
    named = at.server or (at.home is None and settings().server)
    if named or (seat and await serves(reachable(seat.address))):
        async with connected(at) as client:
            yield client, False
        return
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tensorfleet-bench-", dir=home.parent) as folder:
        async with connected(replace(at, home=Path(folder)), workers=workers) as client:
            with _told("the numerics to load"):  # else they would do so while something is measured
                await (await client.train("iris", hyperparameters={"n_estimators": 1})).result()
            yield client, True


async def _staffed(client: "AsyncClient", workers: int) -> "FleetStatus":
    """The fleet's status once so many workers are in session. FailedPrecondition where they do not come."""
    deadline = asyncio.get_running_loop().time() + JOINED_WITHIN
    while (status := await client.status()).workers.get("ready", 0) < workers:
        if asyncio.get_running_loop().time() > deadline:
            raise FailedPrecondition(
                f"the fleet at {client.address} has no worker. `tensorfleet worker join {client.address}` adds one."
            )
        await asyncio.sleep(LOOKS)
    return status


async def _measured(client: "AsyncClient", status: "FleetStatus", sizes: Sizes) -> Figures:
    from clients.cli import measures
    from clients.cli.measures import noop, request

    name, limit, address = f"bench-{secrets.token_hex(4)}", sizes.seconds, client.leader
    one = noop(name=name, workers=sizes.workers)
    large = request(noop(sizes.tasks, name=name, workers=sizes.workers))
    reporting = request(noop(2, name=name, workers=sizes.workers, points=sizes.points))
    async with measures.calling(address) as stub:
        try:
            with _told("waiting for the first tasks"):
                warm = await measures.run(stub, request(noop(10 * status.slots, name=name, rounds=2)), RUN_WITHIN)
            if not warm.tasks:
                raise FailedPrecondition(f"no task was run within {RUN_WITHIN:g} s: are all slots busy?")
            with _told(f"one job of {sizes.tasks:,} tasks"):
                came = await measures.run(stub, large, limit)
            with _told(f"{sizes.jobs:,} jobs of one task, in batches"):
                batches = await measures.many_jobs(stub, one, sizes.jobs, limit)
            with _told(f"{sizes.jobs:,} jobs of one task, one by one"):
                one_by_one = await measures.one_by_one(address, one, sizes.jobs, limit)
            with _told(f"{sizes.trips:,} round trips"):
                trips = await measures.round_trips(stub, one, sizes.trips, limit)
            with _told(f"{2 * sizes.points:,} points"):
                points = await measures.run(stub, reporting, limit)
            with _told(f"{output.size(sizes.bytes)} to a worker"):
                moved = await _moved(stub, address, one, sizes)
        finally:
            await measures.clear(stub, name)
    return Figures(status, sizes, came, batches, one_by_one, trips, points, moved)


async def _moved(stub: Any, address: str, spec: Any, sizes: Sizes) -> "Moved | None":
    from clients.cli import measures

    try:
        async with asyncio.timeout(sizes.seconds):
            return await measures.bytes_to_worker(stub, spec, await measures.put(address, sizes.bytes))
    except TimeoutError:
        return None


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Tells on stderr what is measured now: on a terminal while it is, elsewhere in a line."""
    console = output.console(stderr=True)
    if not console.is_terminal:
        output.warn(what)
        yield
        return
    with console.status(what):
        yield
