"""Figures as people and programs read them: the spread of repetitions, a table, a JSON line.

The rule: times are never averaged; the least, the median and the most are shown.
"""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from time import perf_counter
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.table import Table

T = TypeVar("T")


class Spread(Struct, frozen=True):
    """What some repetitions came to."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        listed = sorted(values)
        return cls(listed[0], median(listed), listed[-1])

    def shown(self, digits: int = 3) -> tuple[str, str, str]:
        return f"{self.min:,.{digits}f}", f"{self.median:,.{digits}f}", f"{self.max:,.{digits}f}"


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds that a call took, and what it gave."""
    begun = perf_counter()
    result = work()
    return perf_counter() - begun, result


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str] = ()) -> None:
    """A table on standard output: the first column names, the others are figures."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(table)
    for note in notes:
        console.print(note, style="dim", soft_wrap=True)


def finish(name: str, **figures: Any) -> None:
    """The JSON line, which ends a program's output."""
    print(json.dumps({"bench": name, **msgspec.to_builtins(figures)}), flush=True)
