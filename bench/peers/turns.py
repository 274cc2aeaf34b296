"""One turn of a peer: its program, run by its own interpreter to its end, with nothing left behind.

The rule: a turn begins when the machine is quiet, as far as patience goes, and tells what part of the processors others
had meanwhile.
"""

import ctypes
import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

from msgspec import Struct

from bench.peers.environments import interpreter
from bench.peers.sampling import TICKS, descendants

ROOT = Path(__file__).parents[2]
PR_SET_CHILD_SUBREAPER = 36
QUIET = 0.15
"""Part of the processors' time that may be taken by others when a turn begins."""


class Turn(Struct, frozen=True):
    """A peer's program, and what it is asked. environment: whose interpreter runs it."""

    environment: str
    part: str
    variant: str = ""

    def command(self, sizes: list[str], begun: float) -> list[str]:
        program = ["-m", f"bench.peers.with_{self.environment}", self.part, "--variant", self.variant]
        return [str(interpreter(self.environment)), *program, *sizes, "--begun", str(begun)]

    def __str__(self) -> str:
        return " ".join(filter(None, (self.environment, self.part, self.variant)))


class Told(Struct, frozen=True):
    """What a turn gave. others: the part of the processors' time that went to programs that are not the turn's."""

    samples: dict[str, dict[str, list[float]]] = {}
    version: str = ""
    answers: str = ""
    others: float = 0.0
    error: str = ""


def adopt_orphans() -> None:
    """Makes this process the parent of whatever its programs leave behind, so that it can end it."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def take(turn: Turn, sizes: list[str], *, limit: float, patience: float) -> Told:
    """Runs a turn. limit: seconds after which it is ended. patience: seconds to wait for a quiet machine."""
    _wait_until_quiet(patience)
    busy, own, begun = _busy(), _of_children(), time.time()
    told, error = _run(turn, sizes, begun, limit)
    _end_orphans()
    taken, spent = _busy() - busy, _of_children() - own
    others = max(0.0, taken - spent) / ((time.time() - begun) * (os.cpu_count() or 1))
    return Told(
        samples=told.get("samples", {}),
        version=told.get("version", ""),
        answers=told.get("answers", ""),
        others=others,
        error=error,
    )


def _run(turn: Turn, sizes: list[str], begun: float, limit: float) -> tuple[dict[str, Any], str]:
    """What a program's last line says, or why it says nothing."""
    place = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        turn.command(sizes, begun), cwd=ROOT, env=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        try:
            out, words = program.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            _end_orphans()
            return {}, f"it took more than {limit:.0f} s"
    last = out.strip().rpartition("\n")[2]
    if program.returncode or not last.startswith("{"):
        return {}, f"exit code {program.returncode}: {' '.join(words.splitlines()[-3:])}"
    told: dict[str, Any] = json.loads(last)
    return told, ""


def _end_orphans() -> None:
    """Ends all that still descends from this process, and waits for it."""
    while left := descendants(os.getpid()):
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        time.sleep(0.01)


def _wait_until_quiet(patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = _busy()
        time.sleep(1.0)
        if _busy() - before < QUIET * (os.cpu_count() or 1):
            return


def _busy() -> float:
    """Seconds that processors have worked since the machine was started."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + sum(interrupts[:3])) / TICKS


def _of_children() -> float:
    spent = getrusage(RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
