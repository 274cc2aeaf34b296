"""`tensorfleet up`, `orchestrator`, `worker join`, `status` and `gc`: fleets and their programs.

The rule: `up` keeps what it started alive and ends all of it; the single programs replace this process, so that signals
and process ids are theirs.
"""

import os
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from clients.cli import output
from clients.cli.options import Options, command
from clients.cli.training import label as labelled
from tensorfleet.config import DEFAULT_LISTEN
from tensorfleet.counts import counted

if TYPE_CHECKING:
    from tensorfleet.model import Garbage


PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
worker = typer.Typer(no_args_is_help=True, help="Add this machine to a fleet.")
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Needed to listen beyond this machine without TLS and tokens.")
]
Slots = Annotated[int, typer.Option(min=1, help="Tasks at a time, each in a process of its own.")]
Labels = Annotated[list[str], typer.Option("--label", metavar="LABEL=VALUE", help="A label; may be repeated.")]


def add(app: typer.Typer) -> None:
    command(app, panel="Fleets")(up)
    command(app, panel="Fleets")(status)
    command(app, panel="Fleets")(gc)
    command(app, panel="Fleets", settings=PASS_ON)(orchestrator)


def up(
    at: Options,
    workers: Annotated[int, typer.Option(min=0, help="Workers to start.")] = 2,
    slots: Slots = 1,
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help=f"Where to serve. Default: {DEFAULT_LISTEN}.", show_default=False),
    ] = None,
    insecure: Insecure = False,
    label: Labels = [],  # noqa: B006 -- read only
) -> None:
    """Start a fleet on this machine and keep it running until Ctrl-C."""
    from clients.cli.standing import Standing, stand

    labels = dict(labelled(text) for text in label)
    asked = Standing(
        home=at.home,
        workers=workers,
        slots=slots,
        labels=labels,
        listen=listen,
        insecure=insecure,
        json=at.json,
    )
    stand(asked)


def orchestrator(
    ctx: typer.Context,
    at: Options,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to serve.")] = DEFAULT_LISTEN,
    insecure: Insecure = False,
    standby: Annotated[
        bool,
        typer.Option("--standby", help="Wait while another orchestrator leads on the same stores, and take over then."),
    ] = False,
) -> None:
    """Run an orchestrator alone; workers join it. More flags are the program's own."""
    from tensorfleet.config import settings

    home = at.home or settings().home
    flags = [flag for flag, given in (("--insecure", insecure), ("--standby", standby)) if given]
    _become("orchestrator", ["--home", str(home), "--listen", listen, *flags, *ctx.args])


@command(worker, settings=PASS_ON)
def join(
    ctx: typer.Context,
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The orchestrator; several, joined by commas.")],
    at: Options,
    slots: Annotated[
        int | None, typer.Option(min=1, help="Tasks at a time. Default: one a processor.", show_default=False)
    ] = None,
    label: Labels = [],  # noqa: B006 -- read only
    id: Annotated[str, typer.Option(help="The worker's name, kept over its lives.", show_default=False)] = "",
) -> None:
    """Join a fleet and work for it until Ctrl-C. More flags are the program's own."""
    from tensorfleet.config import address_problem
    from tensorfleet.errors import InvalidRequest
    from tensorfleet.model import FieldViolation

    if problem := address_problem(address):
        raise InvalidRequest([FieldViolation("HOST:PORT", problem)])
    flags = [f"--label={name}={value}" for name, value in (labelled(text) for text in label)]
    flags += ["--slots", str(slots)] if slots else []
    flags += ["--id", id] if id else []
    flags += ["--home", str(at.home / "worker")] if at.home else []
    _become("worker", ["--server", address, *flags, *ctx.args])


def _become(program: str, arguments: list[str]) -> NoReturn:
    from tensorfleet.sdk.processes import command as how
    from tensorfleet.sdk.processes import environment

    os.execve(sys.executable, [*how(program), *arguments], environment(program))


def status(at: Options) -> None:
    """Show the fleet at a glance."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            found, address, leader = await client.status(), client.address, client.leader
        if at.json:
            output.show_json({"address": address, "leader": leader, **output.plain(found)})
            return
        output.show_facts(
            {
                "Address": leader if leader == address else f"{leader}, which leads; given {address}",
                "Release": f"{found.release}, term {found.term}, since {output.iso(found.started_at)}",
                "Jobs": _counts(found.jobs),
                "Workers": _counts(found.workers),
                "Slots": f"{found.busy_slots} of {found.slots} busy",
                "Models": str(found.models),
                "Datasets": str(found.datasets),
                "Documents": found.document_store,
                "Objects": found.object_store,
                "Journal": f"entry {found.journal_entry}",
            }
        )

    run(main())


def gc(
    at: Options,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Such as 2h or 7d: what is newer stays; so does a known result that was used since. "
            "Default: the fleet's own times.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Free what nothing needs any more: of deleted models and datasets, of failed jobs, of results long unused."""
    from clients.cli.connection import connected, run

    age = None if older_than is None else _span(older_than)

    async def main() -> None:
        async with connected(at) as client:
            found = await client.collect_garbage(older_than=age, dry_run=dry_run)
        if at.json:
            output.show_json({"dry_run": dry_run, **output.plain(found)})
        else:
            _show_garbage(found, dry_run)

    run(main())


def _span(text: str) -> float:
    from tensorfleet.config import span
    from tensorfleet.errors import InvalidRequest
    from tensorfleet.model import FieldViolation

    try:
        return span(text)
    except ValueError as error:
        raise InvalidRequest([FieldViolation("--older-than", str(error))]) from None


KEPT = {
    "model": "models",
    "dataset": "datasets",
    "job": "jobs that have not ended",
    "output": "outputs and uploads of jobs that ended lately",
    "result": "known results, which need not be computed again",
    "age": "too new to go",
}


def _show_garbage(found: "Garbage", dry_run: bool) -> None:
    freed = found.blobs + found.unfinished
    mark = output.styled("○", "yellow") if dry_run else output.styled("✓", "green")
    if not freed.count and not found.results:
        output.say(mark, " Nothing to free")
    else:
        also = f", {found.unfinished.count} of them unfinished" if found.unfinished.count else ""
        said = (
            f" {'Would free' if dry_run else 'Freed'} {output.size(freed.size)} in {counted(freed.count, 'blob')}{also}"
        )
        forgot = f"  {'would forget' if dry_run else 'forgot'} {counted(found.results, 'known result')}"
        output.say(mark, said, output.dim(forgot if found.results else ""))
    rows = [[KEPT[why], amount.count, output.size(amount.size)] for why, amount in found.kept.items()]
    output.console().print()
    output.show_table(["kept for", ">blobs", ">size"], rows, empty="Nothing is left.")


def _counts(by_state: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in by_state.items() if count) or "none"
