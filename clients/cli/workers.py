"""`tensorfleet workers`: who works, on what, and letting them go."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.cli import output
from clients.cli.options import Options, command

if TYPE_CHECKING:
    from tensorfleet.sdk.values import WorkerInfo

workers = typer.Typer(no_args_is_help=True, help="See who works on what, and let workers go.")


@command(workers, "list")
def list_(
    at: Options,
    gone: Annotated[bool, typer.Option("--all", help="Also those that left or were lost.")] = False,
) -> None:
    """List workers with what they run."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            found = await client.workers.list(gone=gone)
        if at.json:
            output.show_json([described(worker) for worker in found])
            return
        now = time.time()
        columns = ["id", "state", "host", ">pid", ">slots", "labels", "has", "running", ">load", ">memory", "heard"]
        output.show_table(columns, [_row(worker, now) for worker in found], empty="No workers.")

    run(main())


def described(worker: "WorkerInfo") -> dict[str, Any]:
    """A worker as scripts may rely on it."""
    told: dict[str, Any] = output.plain(worker)
    return told


def _row(worker: "WorkerInfo", now: float) -> list[object]:
    running = [attempt.task for attempt in worker.running if attempt.pid]
    more = [f"+{len(running) - 4}"] if len(running) > 4 else []
    held = [f"{len(worker.running) - len(running)} held"] if len(worker.running) > len(running) else []
    return [
        worker.id,
        output.state(worker.state),
        worker.host,
        worker.pid,
        worker.slots,
        ", ".join(f"{name}={value}" for name, value in worker.labels.items()),
        _capabilities(worker),
        ", ".join([*running[:4], *more, *held]),
        f"{worker.load:.1f}",
        output.size(worker.memory),
        output.ago(worker.heard_at, now),
    ]


def _capabilities(worker: "WorkerInfo") -> str:
    """Its engines with their versions, and its GPUs."""
    engines = [engine.replace("==", " ") for engine in worker.capabilities]
    return ", ".join([*engines, *([f"{worker.resources.gpus} GPUs"] if worker.resources.gpus else [])])


@command(workers)
def show(worker: Annotated[str, typer.Argument(help="The worker's id.")], at: Options) -> None:
    """Show what a worker is, what its machine has, and what it runs."""
    from clients.cli.connection import connected, run
    from tensorfleet.errors import NotFound

    async def main() -> None:
        async with connected(at) as client:
            found = {each.id: each for each in await client.workers.list(gone=True)}.get(worker)
        if found is None:
            raise NotFound(f"no worker {worker!r} in the fleet; `workers list` shows them")
        if at.json:
            output.show_json(described(found))
        else:
            output.show_facts(_facts(found, time.time()))

    run(main())


def _facts(worker: "WorkerInfo", now: float) -> dict[str, object]:
    has = worker.resources
    return {
        "id": worker.id,
        "state": output.state(worker.state),
        "process": f"{worker.pid} on {worker.host}, release {worker.release}",
        "slots": worker.slots,
        "machine": f"{has.cpus} processors, {output.size(has.memory)} of memory",
        "has": _capabilities(worker),
        "numerics": worker.fingerprint,
        "labels": ", ".join(f"{name}={value}" for name, value in worker.labels.items()),
        "running": ", ".join(f"{each.job} {each.task}" for each in worker.running),
        "load": f"{worker.load:.1f}, {output.size(worker.memory)} in use",
        "heard": output.ago(worker.heard_at, now),
    }


@command(workers)
def drain(worker: Annotated[str, typer.Argument(help="The worker's id.")], at: Options) -> None:
    """Let a worker finish what it holds and leave."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            drained = await client.workers.drain(worker)
        if at.json:
            output.show_json(described(drained))
        else:
            output.say(f"{drained.id} ", output.state(drained.state))

    run(main())
