"""What an operator is: a function from a context (parameters, mapped inputs) to outputs and a summary.

An operator computes; it never stores, sends or reads anything that is not in its context. Modules that hold operators
list them in `OPERATORS`, by `family.name@version`; `catalog.py` finds them.
"""

import mmap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from msgspec import Struct, field

from tensorfleet import bundle
from tensorfleet.model import Ref, Value

Output: TypeAlias = Sequence[bytes | memoryview]
"""A blob as the buffers it consists of, such as `bundle.encode` returns."""


class Written(Struct, frozen=True):
    """An output that is a file in the context's folder already: for what is made piece by piece, and is too large to be
    held until all of it is there."""

    ref: Ref
    path: Path


class Input(Struct, frozen=True):
    """An input on local disk."""

    path: Path

    def bundle(self) -> Any:
        """The input decoded by `bundle.load`: arrays are mapped from the file, read-only."""
        return bundle.load(self.path)

    def content(self) -> mmap.mmap:
        """The input's bytes, mapped, read-only."""
        return bundle.mapped(self.path)


class Unsuited(Exception):  # noqa: N818
    """This process cannot run the task, and a fresh one can: it is held to other threads by a library, say."""


class PeerLost(Exception):  # noqa: N818
    """Another member of the gang cannot be reached: this one is not to blame."""


class Roster(Struct, frozen=True):
    """The members of a gang: `addresses` (`HOST:PORT`) by member, of whom this one is at `place`."""

    place: int
    addresses: tuple[str, ...]


class Control(Protocol):
    """How whoever has a task run reaches into it while it runs. An operator that has no steps need not know of it."""

    def between_steps(self, save: Callable[[], Output]) -> bool:
        """For the operator to call between two steps of its work, as often as it can.

        Returns at once, or when a pause is over. save: gives all that another attempt at the task takes to go on from
        here; called when a checkpoint is asked for. It does not return where the task has to give up its place.

        True where the job ends early: a task whose outputs are no function of its inputs alone, and are of use as they
        are, is to return them now. Any other goes on to its end.
        """

    def keep(self, saved: Output) -> None:
        """Saves unasked, as `save` of `between_steps` would: for an operator whose steps take long to do again."""

    def meet(self, address: str) -> Roster:
        """Says where this member of a gang listens, and waits for the others'."""


class Alone:
    """Nobody reaches into the task: it is neither paused nor saved, and is a gang of its own."""

    def between_steps(self, save: Callable[[], Output]) -> bool:
        return False

    def keep(self, saved: Output) -> None:
        pass

    def meet(self, address: str) -> Roster:
        return Roster(0, (address,))


class Context(Struct, frozen=True):
    """What an operator is given. `report(series, step, value)` streams one point while it runs.

    control: see Control. saved: what an earlier attempt at the task saved last, to go on from; the outputs are the same
    as without it. folder: where it may write outputs, once it has made it; whatever else it leaves there is dropped.
    """

    params: Mapping[str, Value]
    inputs: Sequence[Input]
    report: Callable[[str, int, float], None]
    threads: int = 1
    control: Control = Alone()
    saved: Input | None = None
    folder: str | None = None


class Outcome(Struct, frozen=True):
    """What an operator returns: blobs in its own order, and a summary of small plain values."""

    outputs: Sequence[Output | Written] = ()
    summary: dict[str, Value] = field(default_factory=dict)


Operator: TypeAlias = Callable[[Context], Outcome]
