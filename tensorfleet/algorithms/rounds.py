"""Training by rounds: what a family says of itself, the parameters that all such families share, how an epoch's rows
are dealt out, and how the replicas' weights become one state.

The rule: who trains on which row, and when, follows from the rows' number, the seed and the parameters; never from
workers. NumPy is imported by what computes, not by what plans.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from msgspec import Struct

from tensorfleet.algorithms.common import NOT_NEGATIVE, NULL, POSITIVE
from tensorfleet.algorithms.parameters import Choice, Integer, Parameter, Real, one_of
from tensorfleet.model import Value

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

Way: TypeAlias = Literal["whole", "rounds", "gang"]

PLANNED = frozenset(
    {
        "way",
        "replicas",
        "local_steps",
        "outer_learning_rate",
        "outer_momentum",
        "patience",
        "min_delta",
        "keep",
        "plateau_patience",
        "plateau_factor",
        "plateau_floor",
        "min_members",
    }
)
"""The shared parameters that the plan alone reads: the hyperparameters of a round's tasks do not have them."""

STEPS_TO_SHARE = 32
"""Batches a replica an epoch, from which on `auto` shares an epoch among replicas."""


class Rounds(Struct, frozen=True, kw_only=True):
    """How a family trains by rounds: its operators, by name; docs/architecture.md says what each is given.

    gang: of those that train all at once and meet; empty where the family has none. apart: parameters that leave what a
    round does as it is, so that its tasks are not given them, by the parameters.
    """

    start: str
    local: str
    reduce: str
    finish: str
    gang: str = ""
    apart: Callable[[Mapping[str, Value]], Collection[str]] = lambda parameters: PLANNED


def parameters(*, gang: bool = False, **defaults: Value) -> dict[str, Parameter]:
    """The parameters that every such family has; `defaults` takes the place of some of their defaults.

    epochs, batch_size: as in Keras. way: whole (one replica), rounds (replicas that train apart and are averaged), gang
    (members that average each step), or auto. local_steps: batches a replica goes through in a round; 0 for an epoch's.
    outer_learning_rate, outer_momentum: of the step from a round's old weights to the replicas' average. patience:
    epochs without a loss lower by `min_delta` after which training ends; null for never. keep: the state with the best
    validation loss, or the last. plateau_…: after so many such epochs the learning rate is multiplied by the factor,
    down to the floor's share of what it would be. min_members: of a gang, how many train where the fleet has no slots
    for all replicas; null for no fewer.
    """
    ways = ("auto", "whole", "rounds", "gang") if gang else ("auto", "whole", "rounds")
    table = {
        "epochs": Parameter(Integer(1), 10),
        "batch_size": Parameter(Integer(1), 32),
        "way": Parameter(Choice(ways), "auto"),
        "replicas": Parameter(Integer(1, 1024), 4),
        "local_steps": Parameter(Integer(0), 0),
        "outer_learning_rate": Parameter(POSITIVE, 1.0),
        "outer_momentum": Parameter(Real(0.0, 1.0, open_high=True), 0.0),
        "patience": Parameter(one_of(Integer(1), NULL), None),
        "min_delta": Parameter(NOT_NEGATIVE, 0.0),
        "keep": Parameter(Choice(("best", "last")), "best"),
        "plateau_patience": Parameter(one_of(Integer(1), NULL), None),
        "plateau_factor": Parameter(Real(0.0, 1.0, open_low=True, open_high=True), 0.1),
        "plateau_floor": Parameter(Real(0.0, 1.0), 0.0),
    }
    if gang:
        table["min_members"] = Parameter(one_of(Integer(1, 1024), NULL), None)
    return table | {name: Parameter(table[name].kind, default) for name, default in defaults.items()}


def way(given: Mapping[str, Any], rows: int) -> Way:
    """How a training of so many rows goes: as asked for, or by rounds where an epoch has work enough to share."""
    asked: Any = given["way"]
    if asked != "auto":
        return asked  # type: ignore[no-any-return]
    replicas = int(given["replicas"])
    return "rounds" if replicas > 1 and rows >= rows_to_share(given) else "whole"


def rows_to_share(given: Mapping[str, Any]) -> int:
    """The training rows from which on `auto` goes by rounds."""
    return STEPS_TO_SHARE * int(given["batch_size"]) * int(given["replicas"])


class Schedule(Struct, frozen=True):
    """How an epoch's rows are dealt out: in its order, a run of them to each replica, in batches; see `schedule`.

    local_steps: of a round; a round never goes past the end of an epoch.
    """

    rows: int
    batch_size: int
    replicas: int
    local_steps: int

    @property
    def epoch_steps(self) -> int:
        """Batches of the replica that has the most."""
        return -(-self._most // self.batch_size)

    @property
    def epoch_rounds(self) -> int:
        return -(-self.epoch_steps // self.local_steps)

    @property
    def _most(self) -> int:
        return -(-self.rows // self.replicas)

    def part(self, replica: int) -> tuple[int, int]:
        """The places in an epoch's order that are a replica's: from, to."""
        return part(self.rows, self.replicas, replica)

    def steps(self, replica: int, number: int) -> tuple[int, int]:
        """Of a replica in an epoch's round of that number: the first step, counted in the epoch, and how many."""
        start, stop = self.part(replica)
        first = number * self.local_steps
        return first, max(0, min(self.local_steps, -(-(stop - start) // self.batch_size) - first))

    def working(self, number: int) -> int:
        """How many replicas have steps in an epoch's round of that number: these are the first ones."""
        if self.steps(self.replicas - 1, number)[1] > 0:
            return self.replicas
        return self.rows % self.replicas  # those with one row more have one batch more

    def taken(self, replica: int, first_step: int, steps: int) -> tuple[int, int]:
        """The places in an epoch's order that a replica's steps go through: from, to."""
        start, stop = self.part(replica)
        begin = start + first_step * self.batch_size
        return begin, min(stop, begin + steps * self.batch_size)


def part(rows: int, replicas: int, replica: int) -> tuple[int, int]:
    """A replica's run of an epoch's order: from, to. The first replicas have one row more, if any do."""
    each, more = divmod(rows, replicas)
    start = replica * each + min(replica, more)
    return start, start + each + (replica < more)


def schedule(rows: int, batch_size: int, replicas: int = 1, local_steps: int = 0) -> Schedule:
    """The schedule of a training of one row at least. No replica is without a row; 0 steps are an epoch's."""
    replicas = min(replicas, rows)
    whole = Schedule(rows, batch_size, replicas, 1)
    return Schedule(rows, batch_size, replicas, min(local_steps or whole.epoch_steps, whole.epoch_steps))


def order(seed: int, epoch: int, rows: int) -> "Array":
    """The order in which an epoch goes through the training rows: a permutation of 0…rows-1."""
    import numpy as np

    return np.random.default_rng([seed, epoch]).permutation(rows)


def ledger(rows: "Array", block_rows: Sequence[int] = ()) -> list[list[Any]]:
    """Which dataset rows were trained on: for each block that has any, [block, how many, digest].

    rows: dataset row ids, int64, in any order. block_rows: rows of each of the dataset's blocks; none for one block.
    digest: the sum of the rows' hashes, in 16 hexadecimal digits: those of parts add up to that of the whole.
    """
    import numpy as np

    ids = np.asarray(rows).astype(np.uint64)
    ends = np.cumsum(np.asarray(block_rows, dtype=np.uint64))
    blocks = np.searchsorted(ends, ids, side="right") if len(ends) else np.zeros(len(ids), dtype=np.int64)
    found = []
    hashes = _mixed(ids)
    for block in np.unique(blocks):
        own = hashes[blocks == block]
        found.append([int(block), len(own), f"{int(own.sum(dtype=np.uint64)):016x}"])
    return found


def _mixed(ids: "Array") -> "Array":
    """A hash of each number: the output function of SplitMix64 (Steele, Lea, Flood 2014)."""
    import numpy as np

    mixed = ids + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def average(
    before: Sequence["Array"],
    velocity: Sequence["Array"],
    results: Sequence[Sequence["Array"]],
    samples: Sequence[int],
    *,
    learning_rate: float = 1.0,
    momentum: float = 0.0,
    statistics: Collection[int] = (),
) -> tuple[list["Array"], list["Array"]]:
    """The weights and the velocity after a round.

    The replicas' weights are averaged by their samples, in their order and in float64 (Stich 2019); the state goes
    towards that by a step of SGD with Nesterov's momentum (Douillard et al. 2023). before, velocity: of the state; no
    velocity where there has been none. results: each replica's weights, shaped as `before`. statistics: places of
    weights that are measured and not trained: they are averaged, and no more. What does not hold real numbers, such as
    the states of seed generators, stays as it was.
    """
    import numpy as np

    shares = [count / sum(samples) for count in samples]
    weights, speeds = [], []
    for place, old in enumerate(before):
        if old.dtype.kind != "f":
            weights.append(old)
            speeds.append(np.zeros(0))
            continue
        mean = np.zeros(old.shape)
        for share, result in zip(shares, results, strict=True):
            mean += share * result[place].astype(np.float64)
        if place in statistics:
            weights.append(mean.astype(old.dtype))
            speeds.append(np.zeros(0))
            continue
        gap = old.astype(np.float64) - mean
        speed = gap + (momentum * velocity[place].astype(np.float64) if momentum and velocity else 0.0)
        # Written from the mean on, so that without momentum and at a rate of 1 the mean comes out, to the last bit.
        stepped = mean + (1.0 - learning_rate) * gap - learning_rate * momentum * speed
        weights.append(stepped.astype(old.dtype))
        speeds.append(speed.astype(old.dtype))
    return weights, speeds if momentum else []
