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
    """What is shown in one table, and in one column of its part's. rate: more is better. share: of several values of a
    turn, the one to show."""

    part: str
    name: str
    title: str
    column: str = ""
    rate: bool = False
    scale: float = 1.0
    digits: int = 0
    share: float = 0.5
    samples: str = ""
    """The samples' name, where it is not the measure's."""

    def of(self, values: Sequence[float]) -> float:
        return percentile(values, self.share) * self.scale


def trip(at: str, share: float) -> Measure:
    title, column = f"round trip of one task, {at}: ms", f"round trip {at}, ms"
    return Measure(
        "dispatch", f"round_trip_{at}", title, column, scale=1e3, digits=2, share=share, samples="round_trip"
    )  # fmt: skip


MEASURES = (
    Measure("dispatch", "tasks", "no-op tasks of one job, results at the client: tasks/s", "tasks/s", rate=True),
    Measure("dispatch", "tasks_cost", "the same: microseconds of processors a task, in all processes", "µs a task"),
    Measure("dispatch", "jobs", "many jobs of one task: jobs/s", "jobs/s, in batches", rate=True),
    Measure("dispatch", "single_jobs", "the same, by 8 clients one by one: jobs/s", "jobs/s, one by one", rate=True),
    trip("p50", 0.5),
    trip("p99", 0.99),
    Measure("start", "cold_start", "start of the program to its first result: s", "first result, s", digits=2),
    Measure("start", "cold_start_cost", "the same: seconds of processors, in all processes", "processors, s", digits=2),
    Measure("start", "rss_first", "memory at the first result, RSS of all processes: MiB", "RSS then, MiB"),
    Measure("start", "rss_idle", "memory 5 s later, RSS: MiB", "5 s later"),
    Measure("start", "rss_loaded", "memory once numerics are loaded, RSS: MiB", "with numerics"),
    Measure("start", "pss_idle", "memory 5 s later, PSS: MiB", "PSS 5 s later"),
    Measure("forest", "forest", "a forest: s", "a forest, s", digits=2),
)
OURS = ("TensorFleet", "tensorfleet", "AsyncLocalFleet")
KEPT = {"TensorFleet": "everything, before it is told", "Celery, Redis with fsync": "messages and results"}
"""What each keeps on disk meanwhile, by how its name begins; the others keep nothing."""


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


def markdown(figures: Mapping[str, Mapping[str, Row]]) -> str:
    """The parts' tables as the README has them: medians and, for a peer, how far the fleet is ahead of it."""
    parts = dict.fromkeys(measure.part for measure in MEASURES)
    return "\n\n".join(filter(None, (_part(part, figures) for part in parts)))


def _part(part: str, figures: Mapping[str, Mapping[str, Row]]) -> str:
    shown = [measure for measure in MEASURES if measure.part == part and measure.name in figures]
    everybody = dict.fromkeys(who for measure in shown for who in figures[measure.name])
    if not shown:
        return ""
    keeps = ["keeps on disk"] if part == "dispatch" else []
    lines = [["", *(measure.column for measure in shown), *keeps], ["---"] * (1 + len(shown) + len(keeps))]
    for who in everybody:
        cells = [_cell(measure, figures[measure.name].get(who)) for measure in shown]
        lines.append([who, *cells, *([_kept(who)] if keeps else [])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(measure: Measure, row: Row | None) -> str:
    if row is None:
        return ""
    median = f"{row.values.median:,.{measure.digits}f}"
    if row.ahead is None:
        return median
    least, ahead, most = row.ahead.shown(1 if row.ahead.median >= 1 else 2)
    return f"{median}; **{ahead}** ({least} to {most})"


def _kept(who: str) -> str:
    return next((kept for name, kept in KEPT.items() if who.startswith(name)), "nothing")
