"""`python -m bench`: every measurement, small; two minutes in all, but for those that are asked for by name.

The rule: each runs as a program of its own, so that none measures what another left behind.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

SMALL = {
    "startup": ("--repeat", "2"),
    "roundtrip": ("--runs", "300"),
    "stages": ("--repeat", "2"),
    "points": ("--points", "100000", "--repeat", "1"),
    "dispatch": ("--slots", "2", "--tasks", "2000", "--jobs", "200", "--repeat", "2"),
    "recovery": ("--repeat", "2", "--tasks", "2000"),
    "flat": ("--sizes", "1000", "100000", "--crowds", "2", "200", "--tasks", "50000", "--repeat", "2"),
    "load": ("--tasks", "5000", "--workers", "200", "--beside", "1000", "--seconds", "5", "--repeat", "2"),
    "bytes": ("--mib", "128", "--repeat", "2"),
    "forest": ("--rows", "20000", "--trees", "40", "--repeat", "2"),
    "neural": ("--quick",),
}
BY_NAME = {"neural"}
"""What takes minutes, and so is run only where it is asked for."""


def run(name: str) -> dict[str, Any]:
    """Shows what a measurement prints, and gives its JSON line, with the seconds that it took."""
    begun = perf_counter()
    with subprocess.Popen([sys.executable, "-m", f"bench.{name}", *SMALL[name]], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        last = b"{}"
        for line in program.stdout:
            last = line
            if not line.startswith(b"{"):
                sys.stdout.write(line.decode())
                sys.stdout.flush()
    if program.returncode:
        raise SystemExit(f"bench.{name} ended with exit code {program.returncode}")
    figures: dict[str, Any] = json.loads(last)
    return {**figures, "took": perf_counter() - begun}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        choices=[*SMALL, []],
        help="which; default: all but those that take minutes, which are neural",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures there")
    options = parser.parse_args()
    figures = [run(name) for name in options.names or [name for name in SMALL if name not in BY_NAME]]
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps({"bench": "all", "measured": figures}))


if __name__ == "__main__":
    main()
