"""Starts a zygote, or takes the one that the fleet on this machine has for all its workers.

The rule: this imports almost nothing, because it is the first thing that a worker does: the zygote comes up while the
agent is still importing grpc.
"""

import socket
import subprocess
import sys
from contextlib import suppress
from typing import NamedTuple


class Zygote(NamedTuple):
    """A zygote, and the agent's end of the socket between them. process: none where somebody else started it."""

    process: "subprocess.Popen[bytes] | None"
    connection: socket.socket


def launch_zygote() -> Zygote:
    """Starts a zygote by exec, which is safe whatever threads this process has. Call it in the main thread alone: the
    zygote dies with the thread that started it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.zygote", "--agent", str(theirs.fileno()), "--parent-death"],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C is for the agent to act on
        )
    return Zygote(process, ours)


def shared_zygote(descriptor: int) -> Zygote:
    """The zygote at the other end of a socket that this process was started with."""
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    return Zygote(None, connection)


def part(zygote: Zygote, patience: float) -> None:
    """Tells a zygote that its agent is gone, and waits until the agent's slots are, and a zygote of its own as well.

    patience: seconds, after which a zygote of its own is killed.
    """
    with suppress(OSError):
        zygote.connection.shutdown(socket.SHUT_WR)
        zygote.connection.settimeout(patience)
        while zygote.connection.recv(1):
            pass
    zygote.connection.close()
    if zygote.process is not None:
        try:
            zygote.process.wait(patience)
        except subprocess.TimeoutExpired:
            zygote.process.kill()  # its slots follow by their death signal
            zygote.process.wait()
