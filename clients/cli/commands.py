"""The command line: every command, with its flags and its help.

The rule: this module and what it imports are light; numerics, gRPC and pandas are imported by the command that needs
them.
"""

from typing import Annotated

import typer

import tensorfleet
from clients.cli import algorithms, bench, fleet, predict, train
from clients.cli.datasets import datasets
from clients.cli.jobs import jobs
from clients.cli.models import models
from clients.cli.options import Options, expanded
from clients.cli.workers import workers

app = typer.Typer(
    name="tensorfleet",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tensorfleet {tensorfleet.__version__}")
        raise typer.Exit


def root(
    at: Options,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Train models on a fleet: one worker or fifty, the same model bit for bit.

    [bold]tensorfleet train iris[/] needs nothing more: it starts a fleet on this machine and ends it again.

    [dim]Exit codes: 0 done, 1 the job failed, 2 usage or bad input, 3 the server can't be reached, 130 interrupted.[/]
    """


app.callback()(expanded(root))
train.add(app)
predict.add(app)
algorithms.add(app)
app.add_typer(jobs, name="jobs", rich_help_panel="Look and steer")
app.add_typer(models, name="models", rich_help_panel="Look and steer")
app.add_typer(datasets, name="datasets", rich_help_panel="Look and steer")
app.add_typer(workers, name="workers", rich_help_panel="Look and steer")
fleet.add(app)
bench.add(app)
app.add_typer(fleet.worker, name="worker", rich_help_panel="Fleets")
