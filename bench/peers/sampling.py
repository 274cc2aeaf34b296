"""What the peers' programs share: rates, round trips, processors' time, memory, and the one line that each ends with.

The rule: it runs on any of the peers' interpreters, so it imports the standard library alone.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTS = ("dispatch", "start", "forest")
TICKS = os.sysconf("SC_CLK_TCK")
SETTLING = 5.0
"""Seconds after which a system that was just started has loaded what it loads in the background."""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Those of every peer's program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--variant", default="", help="of the program, where it has several")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=10_000, help="of one job")
    parser.add_argument("--jobs", type=int, default=2_000, help="of one task each")
    parser.add_argument("--runs", type=int, default=500, help="round trips")
    parser.add_argument("--trees", type=int, default=40)
    parser.add_argument("--shape", type=int, nargs=3, default=[20_000, 54, 7], help="rows, features, classes")
    parser.add_argument("--matrix", type=Path, help="the folder of X.npy and y.npy, which the fleet's program makes")
    parser.add_argument("--begun", type=float, help="when the program was started, by the wall clock")
    return parser.parse_args(given)


class Samples:
    """What a program measured: values by measure and by who, in the order they were taken."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, list[float]]] = {}

    def add(self, measure: str, who: str, value: float) -> None:
        self.values.setdefault(measure, {}).setdefault(who, []).append(value)

    @contextmanager
    def counted(self, measure: str, who: str, count: int) -> Iterator[None]:
        """Things a second, and microseconds of processors that each costs this program and all that it started."""
        before, begun = processors(os.getpid()), time.perf_counter()
        yield
        seconds = time.perf_counter() - begun
        spent = sum(now - before.get(process, 0.0) for process, now in processors(os.getpid()).items())
        self.add(measure, who, count / seconds)
        self.add(f"{measure}_cost", who, spent / count * 1e6)

    @contextmanager
    def timed(self, measure: str, who: str) -> Iterator[None]:
        """Seconds."""
        begun = time.perf_counter()
        yield
        self.add(measure, who, time.perf_counter() - begun)

    def first_result(self, who: str, begun: float, *, with_client: bool = False) -> None:
        """Seconds since the program was started, by the clock and of processors; then memory at once, and when the
        system has settled."""
        self.add("cold_start", who, time.time() - begun)
        self.add("cold_start_cost", who, sum(processors(os.getpid()).values()))
        self.memory("first", who, with_client=with_client)
        time.sleep(SETTLING)
        self.memory("idle", who, with_client=with_client)

    def memory(self, when: str, who: str, *, with_client: bool = False) -> None:
        """MiB of what this program started. with_client: of this program too, since part of the system is in it."""
        processes = [*descendants(os.getpid()), *([os.getpid()] if with_client else [])]
        for kind in ("rss", "pss"):
            self.add(f"{kind}_{when}", who, sum(memory(process, kind) for process in processes) / 1024)

    def tell(self, **more: object) -> None:
        print(json.dumps({"samples": self.values, **more}), flush=True)


def descendants(root: int) -> list[int]:
    """The processes that a process started, and those that these did."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(place.name)):
            children.setdefault(int(fields[1]), []).append(int(place.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found[1:]


def processors(root: int) -> dict[int, float]:
    """Seconds that processors gave so far to a process and to each that descends from it and lives."""
    stats = {process: _stat(process) for process in (root, *descendants(root))}
    return {process: (int(fields[11]) + int(fields[12])) / TICKS for process, fields in stats.items() if fields}


def memory(process: int, kind: str) -> int:
    """KiB. kind: `rss`, which counts a page for each process that has it, or `pss`, which divides it among them."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().lower().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:"))


def _stat(process: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on; none where the process has gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
