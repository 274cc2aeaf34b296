"""What there is: algorithms and operators by name, from the package and from plugins.

The rule: looking something up imports no numerics, and nothing else that takes long. A plugin is a module named by an
entry point of the group `tensorfleet.algorithms`, with the same two tables as a family here: `ALGORITHMS` and
`OPERATORS`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from msgspec.structs import replace

from tensorfleet import algorithms as package
from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.parameters import Unacceptable
from tensorfleet.errors import NotFound
from tensorfleet.model import FieldViolation, JobKind, JobSpec, Value
from tensorfleet.models.naming import SAFE, default_name
from tensorfleet.operators import Operator
from tensorfleet.plan import Plan

GROUP = "tensorfleet.algorithms"
ELSEWHERE = {
    "data": "tensorfleet.data",
    "train": "tensorfleet.models.finishing",
    "predict": "tensorfleet.models.prediction",
    "model": "tensorfleet.models.export",
}
"""Where the operators of a first name are that is no file of `tensorfleet/algorithms`."""


def algorithms() -> Mapping[str, Algorithm]:
    """The algorithms to show people, by name and in the catalog's order."""
    return {name: item for name, item in _all().items() if item.listed}


@cache
def _all() -> Mapping[str, Algorithm]:
    """Every algorithm. Plugins come last and cannot replace what is here."""
    found: dict[str, Algorithm] = {}
    for module in (*_files().values(), *_plugins()):
        for item in getattr(module, "ALGORITHMS", ()):
            found.setdefault(item.name, item)
    return found


def algorithm(name: str) -> Algorithm:
    """The algorithm of a name or an alias, in any case and with `-` for `_`. NotFound, with the nearest name."""
    found = _by_name().get(_plain(name))
    if found is None:
        raise NotFound(f"there is no algorithm {name!r}{nearest(name, _by_name())}", reason="UNKNOWN_ALGORITHM")
    return found


@cache
def _by_name() -> Mapping[str, Algorithm]:
    return {alias: item for item in _all().values() for alias in (*item.aliases, item.name)}


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def own_plan(spec: JobSpec) -> Plan | None:
    """The plan that a train spec's algorithm brings with it; None where it unrolls as trainings do."""
    found = _by_name().get(_plain(spec.algorithm))
    return None if found is None else found.plan


def requires(name: str) -> tuple[str, ...]:
    """What a worker must have for tasks of an algorithm and its models; nothing for one that is not in this release."""
    found = _by_name().get(_plain(name))
    return () if found is None else found.requires


def operator(name: str) -> Operator:
    """The operator of `family.name@version`. NotFound where there is none in this release."""
    family = name.partition(".")[0]
    own = import_module(ELSEWHERE[family]) if family in ELSEWHERE else _files().get(family)
    for module in (own,) if own is not None else _plugins():
        found: Operator | None = module.OPERATORS.get(name)
        if found is not None:
            return found
    raise NotFound(f"this release has no operator {name!r}", reason="UNKNOWN_OPERATOR")


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` with the nearest known name, or nothing where none is near."""
    import difflib

    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


@cache
def _files() -> Mapping[str, ModuleType]:
    """The package's own files, by name: adding one is all that a family needs."""
    names = sorted(module.name for module in iter_modules(package.__path__))
    return {name: import_module(f"{package.__name__}.{name}") for name in names}


@cache
def _plugins() -> tuple[ModuleType, ...]:
    from importlib.metadata import entry_points

    return tuple(point.load() for point in sorted(entry_points(group=GROUP), key=lambda point: point.name))


def parameters(spec: JobSpec) -> dict[str, Value]:
    """Every hyperparameter of a valid train spec: its own, else the default; an unseeded one has the job's seed."""
    return _seeded({**algorithm(spec.algorithm).defaults(), **spec.hyperparameters}, spec.seed)


def validate(spec: JobSpec) -> tuple[JobSpec, list[FieldViolation]]:
    """The spec with its names normalised and its defaults filled in, and every field that is bad.

    Whether a dataset or a model of a name exists is for whoever keeps them to say; see also `check_columns`.
    """
    violations = list(_general(spec))
    if spec.kind is JobKind.TRAIN:
        spec, found = _train(spec)
        return spec, violations + found
    if spec.kind is JobKind.PREDICT:
        missing = () if spec.model else [FieldViolation("spec.model", "expected a model's name, got none")]
    elif spec.kind is JobKind.PROCESS:
        missing = _process(spec)
    else:
        missing = [FieldViolation("spec.kind", f"jobs of kind {spec.kind} are not in this release")]
    return spec, [*violations, *missing]


def check_columns(
    spec: JobSpec, columns: Sequence[Mapping[str, Any]], rows: int = 2, target: str = ""
) -> list[FieldViolation]:
    """What would keep a valid train spec from being trained on a dataset with these columns, as its manifest has them.

    rows: of the dataset. target: its default, for a spec that names none.
    """
    from tensorfleet.data import checks

    chosen = algorithm(spec.algorithm)
    wanted = spec.target or target
    found = checks.findings(columns, rows, target=wanted, task=chosen.goal, exclude=spec.exclude_features)
    violations = []
    others = [item.name for item in algorithms().values() if "image" in item.takes and item.goal == chosen.goal]
    wrong = checks.untaken(
        columns, chosen.takes, spec.exclude_features, who=chosen.name, instead=" or ".join(others) or "another"
    )
    if wrong is not None:
        violations.append(FieldViolation("spec.algorithm", wrong.message))
    for finding in found:
        if finding.severity == "error":
            place = "target" if finding.reason.startswith("TARGET") else "dataset"
            name = "exclude_features" if finding.reason == "COLUMN_MISSING" else place
            violations.append(FieldViolation(f"spec.{name}", finding.message))
    return violations


def _train(spec: JobSpec) -> tuple[JobSpec, list[FieldViolation]]:
    violations = []
    if not spec.dataset and own_plan(spec) is None:
        violations.append(FieldViolation("spec.dataset", "expected a dataset's name, got none"))
    if spec.target and spec.target in spec.exclude_features:
        violations.append(FieldViolation("spec.exclude_features", f"leaves out the target {spec.target!r}"))
    if spec.model_name and not SAFE.fullmatch(spec.model_name):
        expected = "expected letters, digits, `.`, `_` and `-`, at most 128, the first a letter or a digit"
        violations.append(FieldViolation("spec.model_name", f"{expected}; got {spec.model_name!r}"))
    try:
        chosen = algorithm(spec.algorithm)
    except NotFound as error:
        missing = "expected an algorithm's name, got none"
        return spec, [FieldViolation("spec.algorithm", error.message if spec.algorithm else missing), *violations]
    if spec.model and chosen.rounds is None:
        told = f"{chosen.name} trains anew and goes on from no model; networks do, such as dnn"
        violations.append(FieldViolation("spec.model", told))
    hyperparameters, found = _hyperparameters(chosen, spec)
    name = spec.model_name or default_name(spec.dataset, chosen.name)
    spec = replace(spec, algorithm=chosen.name, hyperparameters=hyperparameters, model_name=name)
    return spec, violations + found


def _hyperparameters(chosen: Algorithm, spec: JobSpec) -> tuple[dict[str, Value], list[FieldViolation]]:
    """Every hyperparameter in its own type, and what is wrong with them."""
    wrong: dict[str, str] = {}
    values = chosen.defaults()
    for name, given in spec.hyperparameters.items():
        parameter = chosen.parameters.get(name)
        if parameter is None:
            wrong[name] = f"{chosen.name} has no such hyperparameter{nearest(name, chosen.parameters)}"
            continue
        try:
            values[name] = parameter.coerce(given)
        except Unacceptable as error:
            wrong[name] = str(error)
    wrong = wrong or chosen.rules(values)
    return _seeded(values, spec.seed), [
        FieldViolation(f"spec.hyperparameters.{name}", said) for name, said in wrong.items()
    ]


def _seeded(values: dict[str, Value], seed: int) -> dict[str, Value]:
    return {**values, "random_state": seed} if values.get("random_state", seed) is None else values


def _process(spec: JobSpec) -> list[FieldViolation]:
    if spec.algorithm == "export":
        return [] if spec.model else [FieldViolation("spec.model", "expected a model's name, got none")]
    if spec.algorithm not in ("", "ingest"):
        return [FieldViolation("spec.algorithm", f"expected ingest or export, got {spec.algorithm!r}")]
    return [] if spec.dataset else [FieldViolation("spec.dataset", "expected a source, got none")]


def _general(spec: JobSpec) -> Iterable[FieldViolation]:
    """The fields that every kind has."""
    retry, resources = spec.retry, spec.resources
    table: tuple[tuple[str, bool, str, Any], ...] = (
        ("workers", spec.workers >= 0, "0 for no limit, or more", spec.workers),
        ("validation_split", 0 <= spec.validation_split < 1, "at least 0 and less than 1", spec.validation_split),
        ("seed", 0 <= spec.seed < 2**32, "a whole number from 0 to 4294967295", spec.seed),
        ("task_timeout", 0 < spec.task_timeout < math.inf, "more than 0 seconds", spec.task_timeout),
        ("deadline", spec.deadline is None or 0 < spec.deadline < math.inf, "more than 0 seconds", spec.deadline),
        ("retry_policy.max_attempts", retry.max_attempts >= 1, "at least 1", retry.max_attempts),
        ("retry_policy.backoff", 0 <= retry.backoff < math.inf, "0 seconds or more", retry.backoff),
        (
            "retry_policy.max_backoff",
            retry.backoff <= retry.max_backoff < math.inf,
            "at least the backoff",
            retry.max_backoff,
        ),
        ("resources.cpus", resources.cpus >= 1, "at least 1", resources.cpus),
        ("resources.memory_bytes", resources.memory >= 0, "0 or more", resources.memory),
        ("resources.gpus", resources.gpus >= 0, "0 or more", resources.gpus),
        ("priority", abs(spec.priority) < 2**31, "a whole number of 32 bits", spec.priority),
    )
    for name, right, expected, got in table:
        if not right:
            yield FieldViolation(f"spec.{name}", f"expected {expected}, got {got}")
