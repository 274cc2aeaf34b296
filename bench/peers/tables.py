"""What the peers' turns came to, measure by measure: each peer's spread, and how far ahead of it the fleet is.

The rule: ours and a peer's are divided turn by turn of the same round; above 1 the fleet is ahead.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from bench.figures import Spread, show
from clients.cli.measures import percentile

Rounds = Sequence[Mapping[str, Mapping[str, Sequence[float]]]]
"""Of each round the samples by measure and by who."""


class Measure(Struct, frozen=True):
    """What is shown in one table. rate: more is better. share: of several values of a turn, the one to show."""

    name: str
    title: str
    rate: bool = False
    scale: float = 1.0
    digits: int = 0
    share: float = 0.5
    samples: str = ""
    """The samples' name, where it is not the measure's."""

    def of(self, values: Sequence[float]) -> float:
        return percentile(values, self.share) * self.scale


MEASURES = (
    Measure("tasks", "no-op tasks of one job, results at the client: tasks/s", rate=True),
    Measure("tasks_cost", "the same: microseconds of processors a task, in all processes"),
    Measure("jobs", "many jobs of one task: jobs/s", rate=True),
    Measure("single_jobs", "the same, one by one: jobs/s", rate=True),
    Measure("round_trip_p50", "round trip of one task, p50: ms", scale=1e3, digits=2, samples="round_trip"),
    Measure("round_trip_p99", "round trip of one task, p99: ms", scale=1e3, digits=2, samples="round_trip", share=0.99),
    Measure("cold_start", "start of the program to its first result: s", digits=2),
    Measure("cold_start_cost", "the same: seconds of processors, in all processes", digits=2),
    Measure("rss_first", "memory at the first result, RSS of all processes: MiB"),
    Measure("rss_idle", "memory 5 s later, RSS: MiB"),
    Measure("pss_idle", "memory 5 s later, PSS: MiB"),
    Measure("forest", "a forest: s", digits=2),
)
OURS = ("TensorFleet", "tensorfleet", "AsyncLocalFleet")


class Row(Struct, frozen=True):
    """A peer's values of a measure. ahead: how far our first is ahead of it."""

    values: Spread
    ahead: Spread | None


def rows(measure: Measure, rounds: Rounds) -> dict[str, Row]:
    """By who, ours first."""
    samples = measure.samples or measure.name
    by_round = [{who: measure.of(values) for who, values in each.get(samples, {}).items() if values} for each in rounds]
    named = dict.fromkeys(who for each in by_round for who in each)
    everybody = sorted(named, key=lambda who: not who.startswith(OURS))
    first = everybody[0] if everybody and everybody[0].startswith(OURS) else None
    return {who: _row(measure, by_round, who, first) for who in everybody}


def _row(measure: Measure, by_round: Sequence[Mapping[str, float]], who: str, ours: str | None) -> Row:
    pairs = [(each[ours], each[who]) for each in by_round if ours and ours in each and who in each]
    ahead = [mine / theirs if measure.rate else theirs / mine for mine, theirs in pairs]
    values = Spread.of(each[who] for each in by_round if who in each)
    return Row(values, Spread.of(ahead) if ahead and who != ours else None)


def print_table(measure: Measure, found: Mapping[str, Row]) -> None:
    shown = [
        (who, *row.values.shown(measure.digits), *(row.ahead.shown(2) if row.ahead else ("", "", "")))
        for who, row in found.items()
    ]
    show(measure.title, ["", "min", "median", "max", "ahead: min", "median", "max"], shown)
