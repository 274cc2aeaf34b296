"""`tensorfleet datasets`: add, look at, check and forget datasets."""

from typing import TYPE_CHECKING, Annotated

import typer

from clients.cli import output
from clients.cli.options import Options, command

if TYPE_CHECKING:
    from tensorfleet.sdk.values import Column, DatasetInfo

datasets = typer.Typer(no_args_is_help=True, help="Add, look at, check and forget datasets.")
Name = Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's name.")]


@command(datasets)
def add(
    source: Annotated[
        str,
        typer.Argument(
            help="A .csv, .tsv, .parquet, .jsonl, .bson, .npz or .npy file; a folder of images, or a .zip of one, with "
            "one folder a class (`photos/?size=64` scales them, `?size=64x48&channels=1` also makes them grey); a "
            "`file://` that workers can read; or what the orchestrator can: `s3://BUCKET/KEY`, "
            "`mongodb://HOST/DATABASE/COLLECTION`, `gridfs://HOST/DATABASE/FILE`."
        ),
    ],
    at: Options,
    name: Annotated[
        str,
        typer.Option(
            help="Its name. Default: the file's name, and digits that stand for its content.", show_default=False
        ),
    ] = "",
    target: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column to predict when a job names none.", show_default=False)
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a dataset of that name that has other content.")
    ] = False,
) -> None:
    """Add a dataset; adding what is there already changes nothing."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        from tensorfleet.sdk.plain import path_of

        path_of(source)  # a file that is not there is told before anything is started
        async with connected(at, workers=1) as client:
            _show(await client.datasets.add(source, name=name, target=target, replace=replace), at)

    run(main())


@command(datasets, "list")
def list_(
    at: Options,
    builtin: Annotated[
        bool, typer.Option("--builtin/--no-builtin", help="Also those that come with the package.")
    ] = True,
) -> None:
    """List datasets by name."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            found = await client.datasets.list(builtin=builtin)
        if at.json:
            output.show_json(found)
            return
        rows = [
            [
                each.name,
                each.rows or "",
                len(each.columns) or "",
                each.target,
                output.size(each.size) if each.size else "",
                output.dim("built in") if each.builtin else each.digest[:12],
            ]
            for each in found
        ]
        output.show_table(["name", ">rows", ">columns", "target", ">size", "digest"], rows, empty="No datasets yet.")

    run(main())


@command(datasets)
def get(name: Name, at: Options) -> None:
    """Show a dataset and its columns."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            _show(await client.datasets.get(name), at)

    run(main())


def _show(dataset: "DatasetInfo", at: Options) -> None:
    if at.json:
        output.show_json(dataset)
        return
    output.show_facts(
        {
            "Dataset": dataset.name,
            "Rows": dataset.rows,
            "Target": dataset.target,
            "Size": output.size(dataset.size) if dataset.size else None,
            "Source": dataset.source,
            "Digest": dataset.digest,
            "Added": output.iso(dataset.created_at),
        }
    )
    if dataset.columns:
        output.console().print()
        columns = ["column", "type", ">missing", ">distinct", ">least", ">mean", ">most"]
        output.show_table(columns, [_column(column) for column in dataset.columns], empty="")


def _column(column: "Column") -> list[object]:
    shown = (column.minimum, column.mean, column.maximum)
    figures = ["" if value is None else f"{value:g}" for value in shown]
    kind = " ".join([column.type, " x ".join(map(str, column.shape))]).rstrip()
    return [column.name, kind, column.missing or "", column.distinct or "", *figures]


@command(datasets)
def validate(
    name: Name,
    at: Options,
    target: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column to predict; found as for a job.", show_default=False)
    ] = "",
) -> None:
    """Say what would keep a dataset from being trained on. Exit code 2 where something would."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            found = await client.datasets.validate(name, target=target)
        if at.json:
            output.show_json(found)
        else:
            for finding in found.findings:
                style = "red" if finding.severity == "error" else "yellow"
                output.say(output.styled(finding.severity, style), f" {finding.reason}: {finding.message}")
            if found.valid:
                output.say(output.styled("✓", "green"), f" can be trained on, target {found.target}")
            else:
                output.say("Not usable as it is.")
        if not found.valid:
            raise typer.Exit(output.USAGE)

    run(main())


@command(datasets)
def delete(name: Name, at: Options) -> None:
    """Forget a dataset; models trained on it stay."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            await client.datasets.delete(name)
        if at.json:
            output.show_json({"deleted": name})
        else:
            output.say(f"Forgot {name}")

    run(main())
