"""Places for the programs of a fleet: with mounts of their own, as a machine with its own disk has them.

The rule: mounts are seen by the programs of their machine alone and are gone with it, so nothing is left to unmount. A
machine ends with whoever started it.
"""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from tensorfleet.sdk.processes import is_alive

IMAGE_BYTES = 256 * 1024 * 1024
_KEEPER = 'set -e; eval "$1"; echo ready; exec cat >/dev/null'
"""Holds the mounts for as long as somebody holds its standard input."""


@cache
def can_mount() -> bool:
    """Whether this user may have mounts of its own, a file's filesystem among them."""
    tools = all(shutil.which(tool) for tool in ("unshare", "nsenter", "mkfs.ext4"))
    if not tools or os.geteuid() != 0:
        return False
    script = (
        'd=$(mktemp -d) && truncate -s 8M "$d/i" && mkfs.ext4 -qF "$d/i" && mount -o loop "$d/i" "$d"; rm -f "$d/i"'
    )
    return subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True).returncode == 0


class Machine:
    """Programs started `within` it see its disk; `path` is how others reach what it sees."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self._keeper: subprocess.Popen[str] | None = None
        disk.mkdir(parents=True, exist_ok=True)

    def _mount(self, command: str) -> None:
        self._keeper = subprocess.Popen(
            ["unshare", "--mount", "--", "sh", "-c", _KEEPER, "sh", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != "ready\n":
            raise RuntimeError(f"{command} failed")

    @property
    def within(self) -> tuple[str, ...]:
        assert self._keeper is not None
        return ("nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt")

    def path(self, inside: Path) -> Path:
        assert self._keeper is not None
        return Path(f"/proc/{self._keeper.pid}/root{inside}")

    def programs(self) -> list[int]:
        """The processes that see this machine's disk."""
        assert self._keeper is not None
        ours = _mounts(self._keeper.pid)
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
        return [pid for pid in pids if pid != self._keeper.pid and ours is not None and _mounts(pid) == ours]

    def stop(self) -> None:
        """Lets go of the mounts; they end with the machine's last program."""
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper.communicate()
            self._keeper = None


class Small(Machine):
    """A machine whose disk has little room."""

    def __init__(self, disk: Path, size: int) -> None:
        super().__init__(disk)
        self._mount(f"mount -t tmpfs -o size={size} tmpfs '{disk}'")

    def fill(self) -> Path:
        """Leaves no room on the disk; the returned file holds all of it."""
        ballast = self.path(self.disk) / f"ballast-{os.urandom(4).hex()}"
        with ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue
        return ballast


class Durable(Machine):
    """A machine whose disk is a file's filesystem, ext4, which writes back late what nobody syncs.

    What stands in the file is what the disk has: the kernel keeps the rest in memory. So a copy of the file is what a
    power cut would leave.
    """

    def __init__(self, disk: Path) -> None:
        super().__init__(disk)
        self._generation = 0
        with self._image.open("wb") as image:
            image.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-qF", "-E", "lazy_itable_init=1", str(self._image)], check=True)
        self._start()

    @property
    def _image(self) -> Path:
        return self.disk.with_name(f"{self.disk.name}.{self._generation}.img")

    def _start(self) -> None:
        self._mount(f"mount -o loop,commit=600 '{self._image}' '{self.disk}'")

    def cut_power(self) -> None:
        """Ends the machine's programs at one moment, with all that they had not synced, and starts it again."""
        programs = self.programs()
        for pid in programs:
            _signal(pid, signal.SIGSTOP)
        while not all(map(_rests, programs)):
            time.sleep(0.001)
        old = self._image
        self._generation += 1
        written = None
        while written != old.stat().st_mtime_ns:  # the kernel itself may write meanwhile; a torn copy is none
            written = old.stat().st_mtime_ns
            subprocess.run(["cp", "--sparse=always", str(old), str(self._image)], check=True)
        for pid in programs:
            _signal(pid, signal.SIGKILL)
        while any(map(is_alive, programs)):
            time.sleep(0.001)
        self.stop()
        old.unlink()
        self._start()


def _mounts(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:
        return None


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _rests(pid: int) -> bool:
    """Whether every thread of a process is stopped, or has ended."""
    try:
        states = [task.read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return all(state in "TXZ" for state in states)
