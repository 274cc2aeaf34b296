"""What an operator is: a function from a context (parameters, mapped inputs) to outputs and a summary.

An operator computes; it never stores, sends or reads anything that is not in its context. Modules that hold operators
list them in `OPERATORS`, by `family.name@version`; `catalog.py` finds them.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct, field

from tensorfleet import bundle
from tensorfleet.model import Value

Output: TypeAlias = Sequence[bytes | memoryview]
"""A blob as the buffers it consists of, such as `bundle.encode` returns."""


class Input(Struct, frozen=True):
    """An input on local disk."""

    path: Path

    def bundle(self) -> Any:
        """The input decoded by `bundle.load`: arrays are mapped from the file, read-only."""
        return bundle.load(self.path)


class Context(Struct, frozen=True):
    """What an operator is given. `report(series, step, value)` streams one point while it runs."""

    params: Mapping[str, Value]
    inputs: Sequence[Input]
    report: Callable[[str, int, float], None]
    threads: int = 1


class Outcome(Struct, frozen=True):
    """What an operator returns: blobs in its own order, and a summary of small plain values."""

    outputs: Sequence[Output] = ()
    summary: dict[str, Value] = field(default_factory=dict)


Operator: TypeAlias = Callable[[Context], Outcome]
