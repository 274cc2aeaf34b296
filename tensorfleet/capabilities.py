"""Capabilities: the engines that some workers have and others lack, told as `name==version`.

The rule: text alone is compared; whether an engine works is found out by the task that loads it.
"""

from collections.abc import Iterable, Sequence

ENGINES = ("tensorflow", "keras", "h5py", "torch", "xgboost")
"""What a worker looks for on its machine, by the name it is imported by."""

EXTRAS = {"tensorflow": "tensorflow", "keras": "tensorflow", "h5py": "tensorflow"}
"""Engines that come with an extra of this package."""


def versions(told: Iterable[str]) -> dict[str, str]:
    """What a worker told, by name; the version is empty where it told none."""
    return {name: version for name, _, version in (each.partition("==") for each in told)}


def missing(requires: Sequence[str], told: Iterable[str]) -> str | None:
    """The first of what is required that was not told; None where all was."""
    has = versions(told)
    return next((name for name in requires if name not in has), None)


def numerics(fingerprint: str, requires: Iterable[str], told: Iterable[str]) -> str:
    """A machine's fingerprint as a job sees it: with the versions of what the job requires, and of nothing else.

    So jobs that require nothing run alike wherever the rest is the same.
    """
    has = versions(told)
    return "+".join([fingerprint, *(f"{name}={has.get(name, '')}" for name in sorted(requires))])


def how_to_get(name: str) -> str:
    """The command that brings an engine to a machine."""
    wanted = f"tensorfleet[{EXTRAS[name]}]" if name in EXTRAS else name
    return f"pip install '{wanted}'"
