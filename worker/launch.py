"""Starts a zygote.

The rule: this imports almost nothing, because it is the first thing that a worker does: the zygote loads numerics
while the agent is still importing grpc.
"""

import os
import socket
import subprocess
import sys
from typing import NamedTuple

from worker import sandbox


class Zygote(NamedTuple):
    """A zygote that was started, and the agent's end of the socket between them."""

    process: subprocess.Popen[bytes]
    connection: socket.socket


def launch_zygote() -> Zygote:
    """Starts a zygote by exec, which is safe whatever threads this process has. Call it in the main thread alone: the
    zygote dies with the thread that started it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.zygote", str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=sandbox.zygote_environment(os.environ),
            start_new_session=True,  # a terminal's Ctrl-C is for the agent to act on
        )
    return Zygote(process, ours)
