"""`tensorfleet predict`: predicts a file's rows on the fleet.

The rule: workers read the file and predict it block by block; here the blocks are only put in order.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from clients.cli import output
from clients.cli.models import Reference
from clients.cli.options import Options, command
from tensorfleet.counts import counted, either

SHOWN = 20


def add(app: typer.Typer) -> None:
    command(app)(predict)


def predict(
    model: Reference,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A file with the model's columns or a dataset's name; of images a folder, a .zip of one, or one.",
        ),
    ],
    at: Options,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write the predictions there.", show_default=False)
    ] = None,
) -> None:
    """Predict a file's rows: the prediction and, for classifiers, the probability of each class.

    Of images, each with its file: however they lie in a folder, scaled to what the model takes.
    """
    import asyncio

    from clients.cli.connection import connected, run
    from clients.cli.train import cancelled, crew

    async def main() -> None:
        from tensorfleet.sdk.plain import path_of

        path_of(data)  # a file that is not there is told before anything is started
        async with connected(at, workers=1, slots=crew(0)[1]) as client:
            job = await client.predict(model, data)
            try:
                table = await job.predictions()
            except asyncio.CancelledError:
                await cancelled(job)
                raise
        _show(table, job.info.spec.model, at, out)

    run(main())


def _show(table: Any, reference: str, at: Options, out: Path | None) -> None:
    if out is not None:
        from pyarrow import csv

        out.parent.mkdir(parents=True, exist_ok=True)
        csv.write_csv(table, out)
    if at.json:
        output.show_json(_described(table, reference, out))
        return
    if out is not None:
        rows = table.num_rows
        output.say(f"{counted(rows, 'prediction')} by {reference} {either(rows, 'is', 'are')} in {out}")
        return
    files = "file" in table.column_names
    names = [name.removeprefix("probability_") for name in table.column_names[files:]]
    rows = [
        [*([] if files else [index]), *(output.number(value) for value in row.values())]
        for index, row in enumerate(table.slice(0, SHOWN).to_pylist(), 1)
    ]
    output.show_table(["file" if files else ">row", *(f">{name}" for name in names)], rows, empty="No rows.")
    if table.num_rows > SHOWN:
        output.say(output.dim(f"… and {table.num_rows - SHOWN} more; --out FILE.csv writes all of them"))


def _described(table: Any, reference: str, out: Path | None) -> dict[str, Any]:
    classes = [name for name in table.column_names if name.startswith("probability_")]
    return {
        "model": reference,
        "rows": table.num_rows,
        "files": table.column("file").to_pylist() if "file" in table.column_names else None,
        "predictions": table.column("prediction").to_pylist(),
        "classes": [name.removeprefix("probability_") for name in classes],
        "probabilities": [list(row) for row in zip(*(table.column(name).to_pylist() for name in classes), strict=True)]
        if classes
        else None,
        "path": str(out) if out else None,
    }
