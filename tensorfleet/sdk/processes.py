"""Programs of ours as child processes.

The rule: a child is out of the terminal's reach (Ctrl-C is its parent's to pass on), it dies with its parent, and its
output is in a file.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import tensorfleet
from tensorfleet.config import STORE_VARIABLES

LARGEST_LOG = 16 * 1024 * 1024


class Child:
    """A running program. `name` is also its log's. within: a command that runs another one, itself no longer there.
    descriptors: open files that it has as well, under the same numbers."""

    def __init__(
        self,
        name: str,
        program: str,
        arguments: Sequence[str],
        logs: Path,
        *,
        within: Sequence[str] = (),
        descriptors: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        logs.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self._begun = log.tell()
            self._process = subprocess.Popen(
                [*within, *command(program), *arguments, "--parent-death"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(program),
                pass_fds=descriptors,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; nothing happens where it has ended."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Waits for its end; the exit code, negative for a signal."""
        await ended(self.pid)
        return self._process.wait()

    async def stop(self, grace: float) -> None:
        """Asks it to end; after `grace` seconds it is killed."""
        if not self.alive():
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.ended(), grace)
        except TimeoutError:
            self.kill()

    def kill(self) -> None:
        """Ends it by force, and waits: what is killed is gone at once."""
        if self.alive():
            self._process.kill()
            self._process.wait()

    def last_words(self, lines: int = 8) -> str:
        """The end of its log; nothing that earlier ones wrote there."""
        with self.log.open("rb") as log:
            log.seek(max(self._begun, self.log.stat().st_size - 8192))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])


def command(program: str) -> list[str]:
    """How to run one of our programs. `-P`: a folder of the same name where the user stands is not it."""
    return [sys.executable, "-P", "-m", program]


def environment(program: str) -> dict[str, str]:
    """The environment in which a program of ours finds the very package that is running here.

    A worker's has nothing of where the orchestrator keeps things: what users submit runs there.
    """
    root = str(Path(tensorfleet.__file__).parent.parent)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != root]
    hidden = STORE_VARIABLES if program.partition(".")[0] == "worker" else ()
    shown = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**shown, "PYTHONPATH": os.pathsep.join([root, *paths])}


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet waited for does not."""
    try:
        descriptor = os.pidfd_open(pid)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    try:
        return not _is_readable(descriptor)
    finally:
        os.close(descriptor)


async def ended(pid: int) -> None:
    """Waits for the end of a process, whoever's child it is."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def ending(code: int) -> str:
    """An exit code in words."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _is_readable(descriptor: int) -> bool:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
