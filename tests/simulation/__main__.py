"""`python -m tests.simulation`: runs seeds of the whole-system simulation; see docs/architecture.md.

The rule: what it says of a seed holds on every machine; a seed that fails is printed with the command that tells its
whole story.
"""

import argparse
import gc
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Iterator

from tests.simulation.sealed import sealed
from tests.simulation.world import Run, run

LAST_LINES = 60
SHORT_LIVED = 20
"""Chunks of seeds that a process runs, at most."""
CHUNK = 10
"""Seeds that a process runs at a time."""


def main() -> int:
    given = _arguments()
    if given.seed is not None:
        return _tell(given.seed)
    seeds = range(given.first, given.first + given.seeds)
    began, done, failed = time.perf_counter(), 0, list[Run]()
    entries, seconds = 0, 0.0
    for came in _runs(seeds, given.jobs):
        done += 1
        entries, seconds = entries + came.entries, seconds + came.seconds
        if came.wrong:
            failed.append(came)
            print(f"seed {came.seed}: {'; '.join(came.wrong)}", flush=True)
            if len(failed) >= given.most:
                break
        if done % 500 == 0:
            print(f"{done} of {len(seeds)} seeds, {done / (time.perf_counter() - began):.1f} a second", flush=True)
    took = time.perf_counter() - began
    if failed:
        _explain(min(failed, key=lambda came: came.seed).seed)
    print(
        f"{done} seeds in {took:.0f} s ({done / took:.1f} a second): {len(failed)} failed; "
        f"{entries} journal entries, {seconds / 3600:.1f} simulated hours"
    )
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone, with its whole story")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--most", type=int, default=5, help="failures after which it ends")
    return parser.parse_args()


def _runs(seeds: range, jobs: int) -> Iterator[Run]:
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    gc.freeze()  # what is loaded already need not be looked at after each seed
    # A killed process of a simulation leaves what it held; so a real one ends after some of them.
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=SHORT_LIVED) as pool:
        for runs in pool.imap_unordered(_chunk, chunks):
            yield from runs


def _chunk(seeds: range) -> list[Run]:
    with sealed():
        return [run(seed) for seed in seeds]


def _explain(seed: int) -> None:
    """The end of a seed's story, and how to read the whole of it."""
    lines: deque[str] = deque(maxlen=LAST_LINES)
    with sealed():
        run(seed, lines.append)
    print("\n".join(lines))
    print(f"\nThe whole story of seed {seed}: python -m tests.simulation --seed {seed}")


def _tell(seed: int) -> int:
    with sealed():
        came = run(seed, print)
    print(f"seed {seed}: digest {came.digest:08x}, {'; '.join(came.wrong) or 'nothing is wrong'}")
    return 1 if came.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
