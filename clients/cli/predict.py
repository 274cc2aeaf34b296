"""`tensorfleet predict`: predicts a file's rows on the fleet.

The rule: workers read the file and predict it block by block; here the blocks are only put in order.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.cli import output
from clients.cli.models import Reference
from clients.cli.options import Options, command
from tensorfleet.counts import counted, either

if TYPE_CHECKING:
    from tensorfleet.client import AsyncClient

SHOWN = 20


def add(app: typer.Typer) -> None:
    command(app)(predict)


def predict(
    model: Reference,
    data: Annotated[str, typer.Argument(metavar="DATA", help="A file with the model's columns, or a dataset's name.")],
    at: Options,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write the predictions there.", show_default=False)
    ] = None,
) -> None:
    """Predict a file's rows: the prediction and, for classifiers, the probability of each class."""
    from clients.cli.connection import connected, run
    from clients.cli.train import crew

    async def main() -> None:
        from tensorfleet.sdk.plain import path_of

        path_of(data)  # a file that is not there is told before anything is started
        async with connected(at, workers=1, slots=crew(0)[1]) as client:
            reference = (await client.models.get(model)).info.reference
            table = await _predicted(client, reference, data, json=at.json)
        _show(table, reference, at, out)

    run(main())


async def _predicted(client: "AsyncClient", reference: str, data: str, *, json: bool) -> Any:
    """The predictions as an Arrow table, in the order of the rows."""
    import asyncio

    from clients.cli.train import cancelled
    from tensorfleet.model import JobKind, JobSpec

    dataset = await client.datasets.named(data)
    job = await client.submit(JobSpec(kind=JobKind.PREDICT, model=reference, dataset=dataset))
    try:
        await job.wait()
    except asyncio.CancelledError:
        await cancelled(job)
        raise
    job.require_success()
    blocks = await asyncio.gather(*(client.fetch(ref) for ref in job.info.outputs))
    return await asyncio.to_thread(_joined, blocks)


def _joined(blocks: list[bytes]) -> Any:
    import pyarrow as pa

    return pa.concat_tables([pa.ipc.open_stream(io.BytesIO(block)).read_all() for block in blocks])


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
    names = [name.removeprefix("probability_") for name in table.column_names]
    rows = [
        [index, *(output.number(value) for value in row.values())]
        for index, row in enumerate(table.slice(0, SHOWN).to_pylist(), 1)
    ]
    output.show_table([">row", *(f">{name}" for name in names)], rows, empty="No rows.")
    if table.num_rows > SHOWN:
        output.say(output.dim(f"… and {table.num_rows - SHOWN} more; --out FILE.csv writes all of them"))


def _described(table: Any, reference: str, out: Path | None) -> dict[str, Any]:
    classes = [name for name in table.column_names if name.startswith("probability_")]
    return {
        "model": reference,
        "rows": table.num_rows,
        "predictions": table.column("prediction").to_pylist(),
        "classes": [name.removeprefix("probability_") for name in classes],
        "probabilities": [list(row) for row in zip(*(table.column(name).to_pylist() for name in classes), strict=True)]
        if classes
        else None,
        "path": str(out) if out else None,
    }
