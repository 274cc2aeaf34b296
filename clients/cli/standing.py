"""A fleet that stands: what `tensorfleet up` does.

The rule: this and what it imports stay in memory as long as the fleet does, so they are light: no command line, nothing
that draws, no gRPC. Flags that are plainly given are read here; help, and whatever is not understood, is for the
command line (`commands.py`), whose `up` has the same flags and comes here as well.
"""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from clients.cli.connection import kept, run
from tensorfleet.config import DEFAULT_LISTEN, address_problem
from tensorfleet.counts import counted
from tensorfleet.errors import InvalidRequest, TensorFleetError
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.model import FieldViolation


class Standing(Struct, frozen=True, kw_only=True):
    """What `up` was asked for. listen: none for `DEFAULT_LISTEN` where it is free. json: how it says where it is."""

    home: Path | None = None
    workers: int = 2
    slots: int = 1
    labels: Mapping[str, str] = {}
    listen: str | None = None
    insecure: bool = False
    json: bool = False


def plain(arguments: Sequence[str]) -> Standing | None:
    """What is asked for by an `up` with nothing but flags that are right; None for everything else."""
    if not arguments or arguments[0] != "up":
        return None
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--listen")
    parser.add_argument("--insecure", action="store_true")
    parser.add_argument("--output", "-o", choices=["table", "json"])
    try:
        given, rest = parser.parse_known_args(arguments[1:])
    except argparse.ArgumentError:
        return None
    labels = {name.strip(): value.strip() for name, _, value in (text.partition("=") for text in given.label)}
    unlike = any(not text.partition("=")[0].strip() or "=" not in text for text in given.label)
    if rest or given.workers < 0 or given.slots < 1 or unlike:
        return None
    return Standing(
        home=given.home,
        workers=given.workers,
        slots=given.slots,
        labels=labels,
        listen=given.listen,
        insecure=given.insecure,
        json=given.output == "json",
    )


def main(asked: Standing) -> int:
    """Stands until Ctrl-C; the exit code."""
    try:
        stand(asked)
    except (TensorFleetError, OSError, ValueError, KeyboardInterrupt) as error:
        from typer import Exit

        from clients.cli.output import exits

        try:
            with exits():
                raise error
        except Exit as ending:
            return ending.exit_code
    return 0


def stand(asked: Standing) -> None:
    """Starts a fleet on this machine and keeps it running until Ctrl-C."""
    run(_stand(asked, _listen(asked.listen)))


async def _stand(asked: Standing, listen: str) -> None:
    fleet = AsyncLocalFleet(
        asked.home,
        workers=asked.workers,
        slots=asked.slots,
        labels=asked.labels,
        listen=listen,
        insecure=asked.insecure,
        tell=_tell,
    )
    try:
        async with kept(fleet):
            _greet(asked, fleet)
            await fleet.broken()
    except asyncio.CancelledError:
        return  # Ctrl-C and SIGTERM are how a standing fleet ends


def _listen(asked: str | None) -> str:
    if asked is not None:
        if not asked.endswith(":0") and (problem := address_problem(asked)):
            raise InvalidRequest([FieldViolation("--listen", problem)])
        return asked
    host, _, port = DEFAULT_LISTEN.partition(":")
    try:
        socket.create_server((host, int(port))).close()
    except OSError:
        _tell(f"Port {port} is taken; a free one is used.")
        return f"{host}:0"
    return DEFAULT_LISTEN


def _tell(line: str) -> None:
    sys.stderr.write(f"{_styled(line, '2', sys.stderr.isatty())}\n")


def _greet(asked: Standing, fleet: AsyncLocalFleet) -> None:
    address, workers = fleet.address, asked.workers if fleet.owned else None
    if asked.json:
        import json

        told = {"address": address, "home": str(fleet.home), "pid": os.getpid(), "workers": workers}
        print(json.dumps(told, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None), flush=True)
        return
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    who = (
        "joined the orchestrator that owns this home"
        if workers is None
        else f"{counted(workers, 'worker')} x {counted(asked.slots, 'slot')}"
    )
    dot, place = _styled("●", "32", colours), _styled(address, "1", colours)
    print(f"{dot} The fleet serves at {place}{_styled(f'  {who}', '2', colours)}")
    facts = {
        "Home": str(fleet.home),
        "Train": f"tensorfleet train digits --server {address}",
        "Python": f'Client("{address}").train("iris", algorithm="random_forest")',
        "Stop": "Ctrl-C",
    }
    for name, value in facts.items():
        print(f"{_styled(f'{name:6}  ', '1', colours)}{value}")
    sys.stdout.flush()


def _styled(text: str, style: str, colours: bool) -> str:
    """style: a terminal's number for it."""
    return f"\x1b[{style}m{text}\x1b[0m" if colours else text
