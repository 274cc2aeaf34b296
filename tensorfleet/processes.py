"""What a process asks of the kernel for itself: to end with its parent, and to have as many open files as it may."""

import ctypes
import os
import resource
import signal

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, with_signal: int = signal.SIGKILL) -> None:
    """Has the kernel send this process a signal when its parent ends; one that ended before is noticed, too.

    parent: its process id, as the parent told it or as it was when this process began. Raises OSError.
    """
    prctl(PR_SET_PDEATHSIG, with_signal)
    if os.getppid() != parent:
        os.kill(os.getpid(), with_signal)


def open_many_files() -> int:
    """Raises the limit on this process's open files as far as it goes, and returns it: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def prctl(option: int, value: int) -> None:
    """Linux's prctl(2). Raises OSError."""
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
