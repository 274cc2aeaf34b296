"""`tensorfleet train`: trains a model and shows how; on the fleet that is named, else on one of its own.

The rule: what is interrupted is cancelled, and no process is left behind.
"""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.cli import output
from clients.cli.figures import on_training_rows, show_metrics
from clients.cli.models import default_file
from clients.cli.options import Options, command
from clients.cli.training import Training
from tensorfleet.counts import counted
from tensorfleet.data import sources
from tensorfleet.errors import NotFound
from tensorfleet.models import frameworks

if TYPE_CHECKING:
    from tensorfleet.client import AsyncClient, AsyncJob
    from tensorfleet.sdk.values import JobInfo

MOST_SLOTS = 8
Dataset = Annotated[
    str,
    typer.Argument(
        help="A built-in name (iris, digits, …), a file, a folder of images, an address, or an added dataset's name."
    ),
]


def add(app: typer.Typer) -> None:
    command(app)(train)


def train(
    dataset: Dataset,
    training: Training,
    at: Options,
    direct: Annotated[
        bool, typer.Option("--direct", help="Train in this process alone, with no fleet: the same model.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write the model there: a pickle of a scikit-learn Pipeline; of a network a .keras file, or what "
            "the ending says (.pkl; .zip for a SavedModel).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a model, and show how it goes.

    The fleet never changes the answer: with one worker or fifty, the model has the same SHA-256.
    """
    if direct:
        from clients.cli.direct import train_here

        train_here(training.spec(dataset), at, out)
        return
    from clients.cli.connection import run

    run(_train(dataset, training, at, out))


async def _train(dataset: str, training: Training, at: Options, out: Path | None) -> None:
    from clients.cli.connection import connected, place
    from clients.cli.live import follow

    arguments = training.arguments()  # what cannot be read is told before anything is started
    workers, slots = crew(training.workers)
    async with connected(at, workers=workers, slots=slots) as client:
        job = await submitted(client, dataset, arguments)
        try:
            await follow(client, job, f"{sources.shown(dataset)} · {training.algorithm}", json=at.json)
        except asyncio.CancelledError:
            await cancelled(job)
            raise
        show(job.info, at, place(at))
        job.require_success()
        if out is not None and job.model is not None:
            await client.models.download(job.model.reference, out, format=frameworks.format_of(out.name))
            output.warn(f"Written to {out}")


def crew(workers: int) -> tuple[int, int]:
    """Workers to start on this machine and their slots: as many as asked for, else one with a slot a processor."""
    return (workers, 1) if workers else (1, min(MOST_SLOTS, len(os.sched_getaffinity(0))))


async def submitted(client: "AsyncClient", dataset: str, arguments: dict[str, Any]) -> "AsyncJob":
    """The submitted job. When this is interrupted, a job that was accepted meanwhile is cancelled."""
    submission = asyncio.create_task(client.train(dataset, **arguments))
    try:
        return await asyncio.shield(submission)
    except asyncio.CancelledError:
        with suppress(Exception):
            await cancelled(await asyncio.wait_for(submission, 2.0))
        raise


async def cancelled(job: "AsyncJob") -> None:
    """Cancels a job as well as can be: whoever interrupts does not want to wait."""
    with suppress(Exception):
        await asyncio.wait_for(job.cancel("interrupted at the command line"), 2.0)


def show(info: "JobInfo", at: Options, where: str) -> None:
    """How a training ended."""
    if at.json:
        output.show_json(summary(info))
        return
    if info.state != "succeeded":
        return
    tasks = f"{counted(info.tasks.total, 'task')}, {info.tasks.run:,} run, {info.tasks.reused:,} reused"
    output.say(output.styled("✓", "green"), f" trained in {output.span(info.seconds)} ", output.dim(f"({tasks})"))
    show_metrics(info.metrics, info.missing_metrics, on_training_rows=on_training_rows(info.spec))
    if info.model is not None:
        file = default_file(_formats(info.model.algorithm))
        output.show_facts(
            {
                "Model": output.line(info.model.reference, output.dim(f"  {info.model.display_name}")),
                "SHA-256": info.model.sha256,
                "Kept in": where,
                "Predict": f"tensorfleet predict {info.model.reference} DATA{_named(at)}",
                "Load it": f"tensorfleet models download {info.model.reference} --out {file}{_named(at)}",
            }
        )


def _formats(algorithm: str) -> tuple[str, ...]:
    """What an algorithm's models can be had as, where it is known here: a plugin may be on the fleet alone."""
    from tensorfleet import catalog

    with suppress(NotFound):
        return frameworks.known(catalog.algorithm(algorithm).framework).formats
    return ()


def _named(at: Options) -> str:
    """The flag that names the same fleet again, where one was given."""
    if at.server:
        return f" --server {at.server}"
    return f" --home {at.home}" if at.home else ""


def summary(info: "JobInfo") -> dict[str, Any]:
    """What scripts may rely on."""
    model = info.model
    told: dict[str, Any] = {
        "job_id": info.id,
        "state": info.state.value,
        "metrics": info.metrics,
        "missing_metrics": info.missing_metrics,
        "metrics_on_training_rows": on_training_rows(info.spec),
        "model": {
            "name": model.name,
            "version": model.version,
            "display_name": model.display_name,
            "algorithm": model.algorithm,
            "sha256": model.sha256,
        }
        if model
        else None,
        "tasks": {"total": info.tasks.total, "run": info.tasks.run, "reused": info.tasks.reused},
        "seconds": info.seconds,
    }
    return told if info.failure is None else {**told, "failure": info.failure}
