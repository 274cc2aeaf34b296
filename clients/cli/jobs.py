"""`tensorfleet jobs`: submit, look at and steer jobs."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from clients.cli import output
from clients.cli.figures import on_training_rows, show_metrics
from clients.cli.options import Options, command
from clients.cli.train import Dataset, crew, show, submitted
from clients.cli.training import Training
from tensorfleet.counts import counted, either
from tensorfleet.data import sources

if TYPE_CHECKING:
    from tensorfleet.model import Trained
    from tensorfleet.sdk.values import JobInfo, TaskInfo

jobs = typer.Typer(no_args_is_help=True, help="Submit, look at and steer jobs.")
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


@command(jobs)
def submit(dataset: Dataset, training: Training, at: Options) -> None:
    """Submit a training and return at once; it is durable then.

    With no fleet running it waits in the home until one is started: `tensorfleet up`.
    """
    from clients.cli.connection import connected, run

    async def main() -> None:
        arguments = training.arguments()
        async with connected(at, workers=crew(0)[0] if _needs_worker(dataset, training) else 0) as client:
            job = await submitted(client, dataset, arguments)
            if at.json:
                output.show_json({"job_id": job.id, "state": job.state.value})
                return
            output.say(job.id)
            output.warn(f"Accepted. Watch it with `tensorfleet jobs watch {job.id}`.")

    run(main())


def _needs_worker(dataset: str, training: Training) -> bool:
    from tensorfleet.sdk.plain import path_of

    return any(name and (sources.is_remote(name) or path_of(name)) for name in (dataset, training.validation))


@command(jobs, "list")
def list_(
    at: Options,
    filter: Annotated[
        str,
        typer.Option(help="Terms joined by AND, such as `state=succeeded AND algorithm=ridge`.", show_default=False),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most jobs.")] = 50,
    skip: Annotated[int, typer.Option(min=0, help="Jobs to skip.")] = 0,
) -> None:
    """List jobs, newest first."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            found = [job.info for job in await client.jobs.list(filter=filter, limit=limit, skip=skip)]
        if at.json:
            output.show_json(found)
            return
        now = time.time()
        columns = ["id", "state", "kind", "algorithm or model", "dataset", ">tasks", "result", "created"]
        output.show_table(columns, [_row(job, now) for job in found], empty="No jobs yet.")

    run(main())


def _row(job: "JobInfo", now: float) -> list[object]:
    tasks = f"{job.tasks.run + job.tasks.reused}/{job.tasks.total}"
    spec = job.spec
    return [
        job.id,
        output.state(job.state),
        spec.kind.value,
        spec.algorithm or spec.model,
        spec.dataset,
        tasks,
        _result(job),
        output.ago(job.created_at, now),
    ]


def _result(job: "JobInfo") -> str:
    if job.model is not None:
        return job.model.display_name
    if job.failure is not None:
        return job.failure.reason
    return job.dataset


@command(jobs)
def get(job: JobId, at: Options) -> None:
    """Show one job."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            info = (await client.job(job)).info
        if at.json:
            output.show_json({**output.plain(info), "job_id": info.id, "seconds": info.seconds})
            return
        _show(info)

    run(main())


def _show(info: "JobInfo") -> None:
    counts = info.tasks
    output.show_facts(
        {
            "Job": info.id,
            "State": output.line(output.state(info.state), output.dim(f"  {info.pending_reason}")),
            "Kind": info.spec.kind.value,
            "Algorithm": info.spec.algorithm,
            "Dataset": info.dataset or info.spec.dataset,
            "Tasks": f"{counts.total}: {counts.run} run, {counts.reused} reused, {counts.running} running",
            "Parameters": output.parameters(info.spec.hyperparameters, info.spec.algorithm),
            "Trained on": ", ".join(map(_rows, info.trained)),
            "Created": output.iso(info.created_at),
            "Paused": output.ago(info.paused_at, time.time()) if info.paused_at is not None else None,
            "Ended": output.iso(info.ended_at),
            "Took": output.span(info.seconds) if info.seconds is not None else None,
            "Submitter": info.spec.submitter,
            "Model": info.model.reference if info.model else None,
            "SHA-256": info.model.sha256 if info.model else None,
            "Failure": f"{info.failure.message} ({info.failure.reason})" if info.failure else None,
        }
    )
    if info.metrics:
        show_metrics(info.metrics, info.missing_metrics, on_training_rows=on_training_rows(info.spec))


def _rows(trained: "Trained") -> str:
    rows, blocks, epochs = sum(each.rows for each in trained.blocks), len(trained.blocks), trained.last - trained.first
    what = f"{counted(rows, 'row')} of {counted(blocks, 'block')}"
    return f"{what} in each of {epochs + 1:,} epochs" if epochs else f"{what} in one epoch"


@command(jobs)
def watch(
    job: JobId,
    at: Options,
    after: Annotated[str, typer.Option(metavar="CURSOR", help="Go on after this event.", show_default=False)] = "",
) -> None:
    """Watch a job to its end. Ctrl-C stops watching, not the job."""
    from clients.cli.connection import connected, place, run
    from clients.cli.live import follow

    async def main() -> None:
        workers, slots = crew(0)
        async with connected(at, workers=workers, slots=slots) as client:
            watched = await client.job(job)
            title = f"{watched.info.spec.dataset} · {watched.info.spec.algorithm or watched.info.spec.kind}"
            await follow(client, watched, title, json=at.json, after=after or None)
            show(watched.info, at, place(at))
            watched.require_success()

    run(main())


@command(jobs)
def cancel(
    job: JobId,
    at: Options,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads it later.")] = "cancelled at the command line",
) -> None:
    """End a job at once, and keep nothing of it; one that has ended stays as it is."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            _say_state((await client.jobs.cancel(job, reason)).info, at)

    run(main())


@command(jobs)
def pause(
    job: JobId,
    at: Options,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads it later.")] = "paused at the command line",
) -> None:
    """Pause a job: nothing new of it begins, and what runs pauses between two steps.

    It holds its place for a while, then saves and gives it up. A task without steps runs to its end.
    """
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            _say_state((await client.jobs.pause(job, reason)).info, at)

    run(main())


@command(jobs)
def resume(job: JobId, at: Options) -> None:
    """Have a paused job go on; one that is not paused stays as it is."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            _say_state((await client.jobs.resume(job)).info, at)

    run(main())


@command(jobs)
def checkpoint(job: JobId, at: Options) -> None:
    """Have what runs of a job save at its next step, and go on; should it die, it goes on from there."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            handle = await client.job(job)
            asked = await handle.checkpoint()
        if at.json:
            output.show_json({"job_id": handle.id, "state": handle.state.value, "attempts": asked})
        else:
            saves = either(asked, "saves at its", "save at their")
            what = f"{counted(asked, 'running task')} {saves} next step" if asked else "nothing of it runs"
            output.say(f"{handle.id} ", output.state(handle.state), f": {what}")

    run(main())


@command(jobs)
def stop(
    job: JobId,
    at: Options,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads it later.")] = "stopped at the command line",
) -> None:
    """End a training early, and keep what it has made: its model is registered as ever.

    A gang ends at its next step, any other with its last finished round; the first round is let end. What has no rounds
    is cancelled instead.
    """
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            _say_state((await client.jobs.stop(job, reason)).info, at)

    run(main())


@command(jobs)
def retry(job: JobId, at: Options) -> None:
    """Put a failed or cancelled job back in the queue; what its tasks finished is kept."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            _say_state((await client.jobs.retry(job)).info, at)

    run(main())


def _say_state(info: "JobInfo", at: Options) -> None:
    if at.json:
        output.show_json({"job_id": info.id, "state": info.state.value})
    else:
        output.say(f"{info.id} ", output.state(info.state))


@command(jobs)
def explain(job: JobId, at: Options) -> None:
    """Say why a job is where it is: what it waits for, and what each worker lacks for it; once it has ended, how it
    ended, what was done and by which workers."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            why = await client.jobs.explain(job)
        if at.json:
            output.show_json(why)
            return
        output.say(why.summary)
        for line in why.reasons:
            output.say(f"  · {line}")
        for name, lack in why.workers.items():
            output.say(f"  {name}: {lack}")
        for title, lines in (("Plan", why.plan), ("Done", why.done)):
            if lines:
                output.say(output.styled(title, "bold"))
            for line in lines:
                output.say(f"  {line}")

    run(main())


@command(jobs)
def tasks(job: JobId, at: Options, limit: Annotated[int, typer.Option(min=1, help="Most tasks.")] = 1000) -> None:
    """List a job's tasks with their attempts."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            found = await client.jobs.tasks(job, limit=limit)
        if at.json:
            output.show_json(found)
            return
        columns = ["task", "state", "operator", "worker", ">took", ">attempts", "last said"]
        output.show_table(columns, [_task_row(task) for task in found], empty="No tasks yet.")

    run(main())


def _task_row(task: "TaskInfo") -> list[object]:
    last = task.attempts[-1] if task.attempts else None
    return [
        f"{task.stage}/{task.index}",
        output.dim("reused") if task.reused else output.state(task.state),
        task.operator,
        last.worker if last else "",
        output.span(task.duration) if task.duration is not None else "",
        len(task.attempts) or "",
        last.message.partition("\n")[0] if last else "",
    ]


@command(jobs)
def logs(job: JobId, at: Options) -> None:
    """Show what a job's tasks logged and printed; of a running job, until it ends."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        lines = []
        async with connected(at) as client:
            async for line in client.jobs.logs(job):
                if at.json:
                    lines.append(line)
                else:
                    typer.echo(f"{output.iso(line.time)} {line.stage}/{line.index} {line.stream}: {line.text}")
        if at.json:
            output.show_json(lines)

    run(main())
