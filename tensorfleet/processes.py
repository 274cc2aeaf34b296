"""What a process asks for itself: of the kernel, to end with its parent and to have as many open files as it may; of
the garbage collector, to leave alone what stays."""

import ctypes
import gc
import os
import resource
import signal

PR_SET_PDEATHSIG = 1
MADV_DONTNEED = 4
COLLECT_AFTER = (10_000, 20, 20)
"""Objects made and not freed before the collector looks at the new ones, and how many such looks go before one at the
older and at the oldest. Nothing that passes by in masses here refers to itself."""
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


def spare_the_collector() -> None:
    """Call it once a program is loaded: what it has then stays for good, and the collector never looks at it again."""
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def advise_unneeded(start: int, length: int) -> None:
    """Linux's madvise(2) of pages of this process with MADV_DONTNEED: what was written to them is lost. OSError."""
    if _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), MADV_DONTNEED) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def prctl(option: int, value: int) -> None:
    """Linux's prctl(2). Raises OSError."""
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
