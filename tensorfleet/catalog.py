"""What there is: algorithms and operators by name, from the package and from plugins.

The rule: looking something up imports no numerics. A plugin is a module named by an entry point of the group
`tensorfleet.algorithms`, with the same two tables as a family here: `ALGORITHMS` and `OPERATORS`.
"""

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType

from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.errors import NotFound
from tensorfleet.operators import Operator

GROUP = "tensorfleet.algorithms"
FAMILIES = ("forest", "bagging", "tree", "svm", "boosting", "neighbors", "linear")
MODULES = {
    "data": "tensorfleet.data",
    "whole": "tensorfleet.algorithms.whole",
    **{family: f"tensorfleet.algorithms.{family}" for family in FAMILIES},
    "train": "tensorfleet.models.finishing",
    "predict": "tensorfleet.models.prediction",
    "model": "tensorfleet.models.export",
}
"""Where the operators of a first name are."""


@cache
def algorithms() -> Mapping[str, Algorithm]:
    """Every algorithm, by name and in the catalog's order. Plugins come last and cannot replace what is here."""
    found: dict[str, Algorithm] = {}
    for module in (*(import_module(MODULES[family]) for family in FAMILIES), *_plugins()):
        for item in module.ALGORITHMS:
            found.setdefault(item.name, item)
    return found


def algorithm(name: str) -> Algorithm:
    """The algorithm of a name or an alias. NotFound, with the nearest name, where there is none."""
    known = algorithms()
    for item in known.values():
        if name == item.name or name in item.aliases:
            return item
    raise NotFound(f"there is no algorithm {name!r}{nearest(name, known)}", reason="UNKNOWN_ALGORITHM")


def operator(name: str) -> Operator:
    """The operator of `family.name@version`. NotFound where there is none in this release."""
    family = name.partition(".")[0]
    tables: Iterable[ModuleType] = [import_module(MODULES[family])] if family in MODULES else _plugins()
    for module in tables:
        found: Operator | None = module.OPERATORS.get(name)
        if found is not None:
            return found
    raise NotFound(f"this release has no operator {name!r}", reason="UNKNOWN_OPERATOR")


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` with the nearest known name, or nothing where none is near."""
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


@cache
def _plugins() -> tuple[ModuleType, ...]:
    return tuple(point.load() for point in sorted(entry_points(group=GROUP), key=lambda point: point.name))
