"""The process that slots are forked from: it loads the numerics once, so that a slot is ready in milliseconds.

The rule: it stays single-threaded and never imports grpc, since only such a process may be forked. It dies with its
agent, and its slots die with it.
"""

import argparse
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

from tensorfleet.processes import die_with_parent
from worker import sandbox, slot
from worker.messages import MAX_MESSAGE, Exited, Fork, Forked, FromZygote, Preloaded, Signal, encode, to_zygote

PRELOAD = (
    "numpy",
    "sklearn.ensemble",
    "sklearn.compose",
    "sklearn.datasets",
    "sklearn.impute",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "pandas",
    "pyarrow.ipc",
    "threadpoolctl",
    "tensorfleet.execution",
)
"""What nearly every task needs. The rest is imported by the task that needs it."""


class Zygote:
    """Serves one agent over one socket until the agent is gone."""

    def __init__(self, agent: socket.socket) -> None:
        self._agent = agent
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._slots: set[int] = set()

    def serve(self) -> None:
        signal.signal(signal.SIGCHLD, _ignored)
        # From here on the closed socket tells that the agent is gone, and leaves time to end what the slots started.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._agent, select.POLLIN)
        poll.register(self._wake_out, select.POLLIN)
        while True:
            ready = {number for number, _ in poll.poll()}
            if self._wake_out in ready:
                self._reap()
            if self._agent.fileno() in ready and not self._obey():
                break
        for pid in self._slots:
            _kill(pid, signal.SIGKILL)

    def _obey(self) -> bool:
        """Takes one message; False where the agent is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._agent, MAX_MESSAGE, 3)
        except ConnectionResetError:
            return False
        if not data:
            return False
        message = to_zygote.decode(data)
        if isinstance(message, Fork):
            self._fork(message, descriptors)
        elif isinstance(message, Signal) and message.pid in self._slots:
            _kill(message.pid, message.signal)
        return True

    def _fork(self, order: Fork, descriptors: list[int]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                self._become_slot(parent, order, descriptors)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        for descriptor in descriptors:
            os.close(descriptor)
        self._slots.add(pid)
        self.say(Forked(order.number, pid))

    def _become_slot(self, parent: int, order: Fork, descriptors: list[int]) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)  # so that it can be signalled together with all it starts
        die_with_parent(parent)
        self._agent.close()
        os.close(self._wake_out)
        os.close(self._wake_in)
        connection, stdout, stderr = descriptors
        slot.main(connection, stdout, stderr, order)

    def _reap(self) -> None:
        try:
            while os.read(self._wake_out, 4096):
                pass
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._slots:
                self._slots.discard(pid)
                _kill(pid, signal.SIGKILL)  # what it started and left behind
                self.say(Exited(pid, os.waitstatus_to_exitcode(status)))

    def say(self, message: FromZygote) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the agent is gone, as the next read tells
            self._agent.send(encode(message))


def _kill(pid: int, number: int) -> None:
    """Signals a slot and its process group, which the slot may not have made yet."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def _ignored(_signal: int, _frame: object) -> None:
    """Being handled at all is what writes to the wake-up pipe."""


def preload(modules: tuple[str, ...]) -> None:
    """Imports what tasks need. A module that is missing is left to the task that needs it to say so."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"worker: could not preload {name}: {error}", file=sys.stderr)


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="worker.zygote")
    parser.add_argument("descriptor", type=int)
    parser.add_argument("agent", type=int)
    options = parser.parse_args(arguments)
    die_with_parent(options.agent, signal.SIGTERM)
    sandbox.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    agent = socket.socket(fileno=options.descriptor)
    agent.set_inheritable(False)
    begun = time.monotonic()
    gc.disable()
    preload(PRELOAD)
    gc.enable()
    gc.collect()
    gc.freeze()  # what is here now is never collected, so that counting it does not copy shared pages
    if threads() > 1:
        print(f"worker: the zygote has {threads()} threads; forking it is not safe", file=sys.stderr)
    zygote = Zygote(agent)
    zygote.say(Preloaded(time.monotonic() - begun))
    zygote.serve()
    os._exit(0)


if __name__ == "__main__":
    main()
