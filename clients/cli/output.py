"""What commands say: tables and JSON on stdout, everything else on stderr, and the exit codes.

The rule: with `--output json`, stdout has exactly one JSON value. Exit codes: 0 done, 1 the job failed, 2 usage or bad
input, 3 the server cannot be reached, 130 interrupted.
"""

import asyncio
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import typer

from clients.cli.connection import INTERRUPTED
from tensorfleet.errors import (
    NOT_STARTED,
    SOURCE_AWAY,
    InvalidRequest,
    JobFailed,
    NotFound,
    TensorFleetError,
    Unavailable,
)

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.text import Text

WIDE = 1000
CUT = 12
"""A column's least width where there is little room: states, times and figures fit; names are cut."""
FAILED, USAGE = 1, 2


@contextmanager
def exits(*, verbose: bool = False) -> Iterator[None]:
    """Turns what ends a command into its exit code, with one clear paragraph on stderr. The only place that does."""
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError):
        warn("Interrupted.")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:  # the reader of our stdout has seen enough
        sys.stderr.close()
        raise typer.Exit(0) from None
    except TensorFleetError as error:
        _complain(paragraph(error), verbose)
        raise typer.Exit(error.exit_code) from None
    except (OSError, ValueError) as error:
        _complain(f"{type(error).__name__}: {error}", verbose)
        raise typer.Exit(FAILED) from None


def paragraph(error: TensorFleetError) -> str:
    """An error for people: what is wrong, and what to do where that is known."""
    if isinstance(error, InvalidRequest):
        lines = [f"{_field(each.field)}: {each.description}" for each in error.violations]
        return lines[0] if len(lines) == 1 else "\n  ".join(["The request has bad fields:", *lines])
    if isinstance(error, JobFailed) and error.failure is not None:
        return _failure(error)
    text = error.message
    if isinstance(error, Unavailable) and error.reason not in (NOT_STARTED, SOURCE_AWAY) and "`" not in text:
        text += "\nIs the address right? `tensorfleet up` starts a fleet on this machine."
    return text


def _field(name: str) -> str:
    return name.removeprefix("spec.")


def _failure(error: JobFailed) -> str:
    failure = error.failure
    assert failure is not None
    where = f" in {failure.stage}/{failure.index}" if failure.stage else ""
    lines = [f"The job failed{where}: {error.message} ({failure.reason})"]
    tried = [
        (number, f"on {attempt.worker}: {attempt.cause}, {attempt.message}")
        for number, attempt in enumerate(failure.attempts, 1)
        if attempt.cause is not None and len(failure.attempts) > 1
    ]
    for how, alike in groupby(tried, key=itemgetter(1)):
        numbers = [number for number, _ in alike]
        which = f"attempt {numbers[0]}" if len(numbers) == 1 else f"attempts {numbers[0]} to {numbers[-1]}, each"
        lines.append(f"  {which} {how}")
    return "\n".join(lines)


def _complain(text: str, verbose: bool) -> None:
    if verbose:
        import traceback

        traceback.print_exc()
    console(stderr=True).print("[bold red]Error:[/] ", end="")
    console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    """One line on stderr."""
    console(stderr=True).print(text, markup=False, highlight=False, style="dim", soft_wrap=True)


def console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = WIDE  # whoever reads a pipe wants whole lines
    return made


def show_json(value: object) -> None:
    """One JSON value on stdout."""
    import json

    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=2 if sys.stdout.isatty() else None) + "\n")


def plain(value: Any) -> Any:
    """A value as JSON data: times in ISO 8601 UTC, and null for what is not a number."""
    from msgspec import Struct, structs

    if isinstance(value, Struct):
        return {each.name: _timed(each.name, getattr(value, each.name)) for each in structs.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _timed(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _timed(name: str, value: Any) -> Any:
    if (name == "time" or name.endswith("_at")) and isinstance(value, int | float):
        return iso(value)
    return plain(value)


def iso(seconds: float | None) -> str | None:
    """A time as ISO 8601 in UTC, to the millisecond."""
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(seconds: float | None, now: float) -> str:
    """How long ago something was, in one unit."""
    return span(now - seconds) + " ago" if seconds else "-"


def span(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


STATE_STYLES = {
    "queued": "yellow",
    "pending": "yellow",
    "running": "cyan",
    "paused": "yellow",
    "succeeded": "green",
    "ready": "green",
    "failed": "red",
    "lost": "red",
    "suspect": "yellow",
    "cancelled": "dim",
    "draining": "yellow",
    "left": "dim",
}


def styled(text: object, style: str) -> "Text":
    """Text in a style. What users named is never read as markup: it only ever comes through here or as plain text."""
    from rich.text import Text

    return Text(str(text), style)


def line(*parts: "str | Text") -> "Text":
    """One line of plain and styled parts."""
    from rich.text import Text

    return Text.assemble(*parts)


def dim(text: object) -> "Text":
    return styled(text, "dim")


def state(name: str) -> "Text":
    """A state in its colour."""
    return styled(name, STATE_STYLES.get(name, ""))


def say(*parts: "str | Text") -> None:
    """One line on stdout."""
    console().print(line(*parts), soft_wrap=True)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """A calm table on stdout; `empty` is said where there are no rows."""
    if not rows:
        say(dim(empty))
        return
    console().print(table(columns, rows))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Any:
    """Columns whose name begins with `>` are set to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    cells = [[_cell(cell) for cell in row] for row in rows]
    for place, name in enumerate(columns):
        widest = max((row[place].cell_len for row in cells), default=0)
        least = widest if place == 0 else min(widest, CUT)  # the first column names the row: it is never cut
        justify: JustifyMethod = "right" if name.startswith(">") else "left"
        made.add_column(name.removeprefix(">"), justify=justify, no_wrap=True, min_width=least)
    for row in cells:
        made.add_row(*row)
    return made


def show_facts(facts: Mapping[str, object]) -> None:
    """Names and values below one another, in whole lines that can be copied; what is empty is left out."""
    told = {name: _cell(value) for name, value in facts.items() if value not in (None, "", [], {}, ())}
    width = max(map(len, told), default=0)
    for name, value in told.items():
        say(styled(f"{name:{width}}  ", "bold"), value)


def _cell(value: object) -> "Text":
    from rich.text import Text

    return value if isinstance(value, Text) else Text("" if value is None else str(value))


def parameters(given: Mapping[str, object], algorithm: str) -> str:
    """Hyperparameters for people, in one line: those that are not the algorithm's defaults, where these are known here.
    A long one, such as an architecture, is cut."""
    defaults = _defaults(algorithm)
    own = {name: str(value) for name, value in given.items() if name not in defaults or value != defaults[name]}
    texts = [f"{name}={text if len(text) <= 60 else text[:57] + '…'}" for name, text in own.items()]
    if len(own) < len(given):
        texts.append(f"{'the others' if own else 'all'} by default")
    return ", ".join(texts)


def _defaults(algorithm: str) -> Mapping[str, object]:
    """Those of an algorithm; nothing of one that is on the fleet alone."""
    from tensorfleet import catalog

    try:
        return catalog.algorithm(algorithm).defaults() if algorithm else {}
    except NotFound:
        return {}


def number(value: object) -> str:
    """A metric or parameter for people."""
    if isinstance(value, float):
        return f"{value:.4f}" if 1e-4 <= abs(value) < 1e6 or value == 0 else f"{value:.4g}"
    return str(value)
