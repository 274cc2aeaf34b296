"""`tensorfleet algorithms`: what can be trained, and with which parameters. It needs no fleet."""

import json
from typing import Annotated, Any

import typer

from clients.cli import output
from clients.cli.options import Options, command


def add(app: typer.Typer) -> None:
    command(app, panel="Look and steer")(algorithms)


def algorithms(
    at: Options,
    name: Annotated[str, typer.Argument(metavar="[ALGORITHM]", help="One of them.", show_default=False)] = "",
) -> None:
    """List the algorithms, and how each is spread over workers; of one, its hyperparameters."""
    from tensorfleet import catalog

    if name:
        _show(catalog.algorithm(name), at)
        return
    found = list(catalog.algorithms().values())
    if at.json:
        output.show_json([_described(each) for each in found])
        return
    rows = [
        [each.name, each.goal, each.way, " or ".join(sorted(each.takes)), ", ".join(each.requires)] for each in found
    ]
    output.show_table(["algorithm", "goal", "way", "takes", "needs"], rows, empty="There are none.")


def _show(algorithm: Any, at: Options) -> None:
    if at.json:
        output.show_json(_described(algorithm))
        return
    output.show_facts(
        {
            "Algorithm": algorithm.name,
            "Also": ", ".join(algorithm.aliases),
            "Goal": algorithm.goal,
            "Model": algorithm.estimator,
            "Way": algorithm.way,
            "Takes": " or ".join(sorted(algorithm.takes)),
            "Needs": ", ".join(algorithm.requires),
        }
    )
    output.say()
    rows = [[name, json.dumps(each.default), each.kind.expected] for name, each in algorithm.parameters.items()]
    output.show_table(["parameter", "default", "takes"], rows, empty="It has no parameters.")


def _described(algorithm: Any) -> dict[str, Any]:
    return {
        "name": algorithm.name,
        "aliases": list(algorithm.aliases),
        "goal": algorithm.goal,
        "model": algorithm.estimator,
        "way": algorithm.way,
        "takes": sorted(algorithm.takes),
        "requires": list(algorithm.requires),
        "parameters": {
            name: {"default": each.default, "takes": each.kind.expected} for name, each in algorithm.parameters.items()
        },
    }
