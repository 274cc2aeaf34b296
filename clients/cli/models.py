"""`tensorfleet models`: the registry, and getting models out of it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.cli import output
from clients.cli.options import Options, command
from tensorfleet.counts import counted
from tensorfleet.models import frameworks

if TYPE_CHECKING:
    from rich.text import Text

    from tensorfleet.sdk.values import ModelInfo

models = typer.Typer(no_args_is_help=True, help="Look at, download, alias and delete models.")
LOADED = {
    "pickle": "pickle.load(open({path!r}, 'rb'))",
    "keras": "keras.saving.load_model({path!r})",
    "saved_model": "tf.saved_model.load(...)  # of the folder that it unzips to",
}
Reference = Annotated[
    str, typer.Argument(metavar="MODEL", help="NAME (its newest version), NAME@VERSION or NAME@ALIAS.")
]


@command(models, "list")
def list_(
    at: Options,
    filter: Annotated[
        str, typer.Option(help="Terms joined by AND: `name=…`, `algorithm=…`, `dataset=…`.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most versions.")] = 50,
) -> None:
    """List model versions, newest first."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            found = [model.info for model in await client.models.list(filter=filter, limit=limit)]
        if at.json:
            output.show_json(found)
            return
        now = time.time()
        rows = [
            [
                model.name,
                model.version,
                model.display_name,
                ", ".join(model.aliases),
                output.size(model.size),
                model.sha256[:12],
                output.ago(model.created_at, now),
            ]
            for model in found
        ]
        columns = ["name", "version", "display name", "aliases", ">size", "sha-256", "registered"]
        output.show_table(columns, rows, empty="No models yet.")

    run(main())


@command(models)
def get(model: Reference, at: Options) -> None:
    """Show a model version, and how to load it."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            info = (await client.models.get(model)).info
        if at.json:
            output.show_json(info)
        else:
            _show(info)

    run(main())


def _show(model: "ModelInfo") -> None:
    from clients.cli.figures import show_metrics

    output.show_facts(
        {
            "Model": _titled(model),
            "Algorithm": model.algorithm,
            "Aliases": ", ".join(model.aliases),
            "SHA-256": model.sha256,
            "Dataset": model.dataset,
            "Target": model.target,
            "Classes": ", ".join(model.classes),
            "Features": ", ".join(model.features),
            "Images": " x ".join(map(str, model.image_shape)),
            "Parameters": output.parameters(model.hyperparameters, model.algorithm),
            "Size": output.size(model.size),
            "Registered": output.iso(model.created_at),
            "Took": output.span(model.seconds),
            "Job": model.job_id,
            "Made with": ", ".join(f"{name} {version}" for name, version in model.environment.items()),
        }
    )
    show_metrics(model.metrics, model.missing_metrics, on_training_rows=model.metrics_on_training_rows)
    output.say(output.styled("Load it", "bold"))
    how = model.how_to_load or f"tensorfleet models download {model.reference} --out {default_file(model.formats)}"
    output.say(how)


@command(models)
def download(
    model: Reference,
    at: Options,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write it. Default: model.pkl or model.keras.", show_default=False),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help="pickle, of a scikit-learn Pipeline; of a network keras, saved_model (zipped), or pickle, which takes "
            "TensorFleet to load. Default: as FILE's ending says, else pickle, of a network keras.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Write a model as a file. It is put together here, from parts checked by digest; a SavedModel by a worker."""
    from clients.cli.connection import connected, run
    from clients.cli.train import crew

    wanted = format.replace("-", "_") or (frameworks.format_of(out.name) if out else "")

    async def main() -> None:
        workers, slots = crew(0)
        async with connected(at, workers=workers, slots=slots) as client:
            found = await client.models.get(model)
            formats = found.info.formats or ("pickle",)
            chosen = wanted or formats[0]
            if chosen not in formats:
                raise frameworks.no_format(formats, chosen, found.info.reference)
            path = await found.download(out or Path(default_file((chosen,))), format=chosen)
        if at.json:
            told = {"model": found.info.reference, "sha256": found.sha256, "format": chosen, "path": str(path)}
            output.show_json(told)
            return
        output.say(f"{found.info.reference} ({found.sha256}) is in {path}. Load it with:")
        output.say(f"  {LOADED[chosen].format(path=str(path))}")

    run(main())


def default_file(formats: Sequence[str]) -> str:
    """What a model's file is called where nobody says: `model.pkl`, `model.keras`."""
    return f"model{frameworks.FORMATS[formats[0] if formats else 'pickle'].ending}"


@command(models)
def alias(
    model: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The version; NAME alone is its newest.")],
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="Such as `production`.")],
    at: Options,
    remove: Annotated[bool, typer.Option("--remove", help="Take the alias away.")] = False,
) -> None:
    """Move an alias to a version, at once."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            if remove:
                await client.models.alias(model.partition("@")[0], name, "")
                moved = None
            else:
                found = await client.models.get(model)
                moved = await client.models.alias(found.name, name, found.version)
        if at.json:
            output.show_json({"alias": name, "model": moved.info.reference if moved else None})
        else:
            output.say(f"{name} is {moved.info.reference}" if moved else f"{name} is no more")

    run(main())


@command(models)
def delete(
    model: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="A version; NAME alone is every version of it.")
    ],
    at: Options,
) -> None:
    """Delete a version, or with NAME alone every version of it."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            count = await client.models.delete(model)
        if at.json:
            output.show_json({"deleted": count})
        else:
            output.say(f"Deleted {counted(count, 'version')}")

    run(main())


@command(models)
def stats(at: Options) -> None:
    """Counts and bests over the registry."""
    from clients.cli.connection import connected, run

    async def main() -> None:
        async with connected(at) as client:
            found = await client.models.statistics()
        if at.json:
            output.show_json(found)
            return
        output.show_facts(
            {
                "Versions": str(found.models),
                "Names": str(found.names),
                "By algorithm": ", ".join(f"{name} {count}" for name, count in found.by_algorithm.items()),
                "Mean accuracy": None if found.mean_accuracy is None else output.number(found.mean_accuracy),
                "Best": _titled(found.best) if found.best else None,
                "Size": output.size(found.size),
            }
        )

    run(main())


def _titled(model: "ModelInfo") -> "Text":
    return output.line(model.reference, output.dim(f"  {model.display_name}"))
