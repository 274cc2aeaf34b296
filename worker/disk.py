"""The room on the worker's disk.

The rule: a worker takes work only while there is room for its outputs; what a cache holds gives way first.
"""

import errno
import os
from pathlib import Path

RESERVE = 64 * 1024 * 1024
"""Bytes that are kept free, or a twentieth of a smaller disk."""
REASON = "DISK_FULL"
"""Of an attempt that found no room."""
FULL = (errno.ENOSPC, errno.EDQUOT)
MIB = 1024 * 1024


def missing(folder: Path, wanted: int = 0) -> int:
    """Bytes that the disk of a folder lacks for `wanted` and its reserve; 0 where there is room."""
    disk = os.statvfs(folder)
    reserve = min(RESERVE, disk.f_blocks * disk.f_frsize // 20)
    return max(0, reserve + wanted - disk.f_bavail * disk.f_frsize)


def problem(folder: Path) -> str:
    """Why no work can be taken; empty where it can."""
    lacking = missing(folder)
    return f"its disk is full: it lacks {lacking / MIB:.1f} MiB of the room that a task may need" if lacking else ""


def is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in FULL
