"""`python -m bench.peers`: our figures and the peers', side by side in one run.

Each round gives every peer a turn, forwards and backwards by turns. A turn starts the peer's system, warms it up,
measures, and ends it. Where other programs had more than a tenth of the processors, that is said.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench.figures import finish
from bench.peers import environments, tables
from bench.peers.sampling import PARTS
from bench.peers.turns import Told, Turn, adopt_orphans, take

TURNS = {
    "dispatch": (
        Turn("tensorfleet", "dispatch"),
        Turn("tensorfleet", "dispatch", "mongodb"),
        Turn("ray", "dispatch"),
        Turn("dask", "dispatch"),
        Turn("celery", "dispatch"),
        Turn("celery", "dispatch", "fsync"),
        Turn("grpc", "dispatch"),
    ),
    "start": (
        Turn("tensorfleet", "start"),
        Turn("tensorfleet", "start", "inside"),
        Turn("ray", "start"),
        Turn("ray", "start", "dashboard"),
        Turn("dask", "start"),
        Turn("celery", "start"),
    ),
    "forest": (
        Turn("tensorfleet", "forest"),  # first, since it makes the matrix
        Turn("sklearn", "forest"),
        Turn("dask", "forest"),
        Turn("ray", "forest"),
    ),
}
DISTURBED = 0.1


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--only", nargs="+", default=[], metavar="PEER", help="of tensorfleet, ray, dask, celery, …")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=500, help="round trips")
    parser.add_argument("--full", action="store_true", help="the forest at 100,000 rows and 200 trees")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds after which a turn is ended")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds to wait for a quiet machine, a turn")
    parser.add_argument("--markdown", action="store_true", help="also print the tables as the README has them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all samples there")
    options = parser.parse_args(given)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"expected parts of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    return options


def measure(options: argparse.Namespace, matrix: str, missing: set[str]) -> list[list[tuple[Turn, Told]]]:
    """The turns of each round. missing: variants for which this machine has no server."""
    rows, trees = ("100000", "200") if options.full else ("20000", "40")
    sizes = ["--tasks", str(options.tasks), "--jobs", str(options.jobs), "--runs", str(options.runs)]
    sizes += ["--trees", trees, "--shape", rows, "54", "7", "--matrix", matrix]
    turns = [
        turn
        for part in options.parts or PARTS
        for turn in TURNS[part]
        if (not options.only or turn.environment in options.only) and turn.variant not in missing
    ]
    for turn in turns:
        if turn.part == "start":  # so that what programs read is in the page cache from here on
            take(turn, sizes, limit=options.limit, patience=0.0)
    rounds: list[list[tuple[Turn, Told]]] = []
    for number in range(options.repeat):
        rounds.append([])
        for turn in turns if number % 2 == 0 else reversed(turns):
            told = take(turn, sizes, limit=options.limit, patience=options.patience)
            rounds[-1].append((turn, told))
            others = f", others had {told.others:.0%} of the processors" if told.others > DISTURBED else ""
            sys.stderr.write(f"round {number + 1}: {turn}{others}{told.error and f'; failed: {told.error}'}\n")
    return rounds


def main() -> None:
    options = arguments()
    missing = environments.ready()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as matrix:
        rounds = measure(options, matrix, missing)
    told = [each for turns in rounds for _, each in turns]
    merged = [merge([each for _, each in turns]) for turns in rounds]
    figures = {one.name: found for one in tables.MEASURES if (found := tables.rows(one, merged))}
    for one in tables.MEASURES:
        if one.name in figures:
            tables.print_table(one, figures[one.name])
    answers = {each.answers for each in told if each.answers}
    if answers:
        print(f"the forests answer alike, bit for bit: {len(answers) == 1}")
    others = [each.others for each in told]
    print(f"others had {min(others):.0%} to {max(others):.0%} of the processors during a turn")
    versions = sorted({each.version for each in told if each.version})
    print(", ".join(versions))
    if options.markdown:
        print(tables.markdown(figures))
    if options.json:
        options.json.write_text(json.dumps(merged) + "\n")
    failed = [f"{turn}: {each.error}" for turns in rounds for turn, each in turns if each.error]
    finish("peers", **{**vars(options), "json": None}, versions=versions, figures=figures, others=others, failed=failed)
    if failed:
        raise SystemExit(1)


def merge(turns: list[Told]) -> dict[str, dict[str, list[float]]]:
    """The samples of a round by measure and by who."""
    merged: dict[str, dict[str, list[float]]] = {}
    for told in turns:
        for name, samples in told.samples.items():
            merged.setdefault(name, {}).update(samples)
    return merged


if __name__ == "__main__":
    main()
