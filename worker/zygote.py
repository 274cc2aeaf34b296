"""The process that slots are forked from: it loads the numerics once, so that a slot is ready in milliseconds.

The rule: it stays single-threaded and never imports grpc, since only such a process may be forked. It forks slots from
its first moment on, and loads numerics step by step while nobody asks for anything. It ends with the last of its
agents, an agent's slots end with that agent, and all of them with it.
"""

import argparse
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
from worker import numerics, sandbox, slot
from worker.messages import (
    MAX_MESSAGE,
    Exited,
    Fork,
    Forked,
    FromZygote,
    Preload,
    Preloaded,
    Signal,
    encode,
    to_zygote,
)


class Agent:
    """One of the agents: its socket, its slots, and what it asked for that waits for the numerics."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.slots: set[int] = set()
        self.waiting: list[tuple[Fork, list[int]]] = []
        self.gone = False

    def say(self, message: FromZygote) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the agent is gone, as the next read tells
            self.connection.send(encode(message))


class Zygote:
    """Serves agents until the last one is gone. fleet: a socket over which more of them come, each as a descriptor.
    preload: load the numerics at once, and not when an agent asks for them."""

    def __init__(self, fleet: socket.socket | None = None, *, preload: bool = False) -> None:
        self._fleet = fleet
        self._agents: dict[int, Agent] = {}
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._wake_out, select.POLLIN)
        if fleet is not None:
            self._poll.register(fleet, select.POLLIN)
        self._loading = numerics.Loading()
        self._begun = time.monotonic() if preload else 0.0
        """When the loading of numerics began; 0 until then."""

    def adopt(self, connection: socket.socket) -> None:
        """Serves one more agent."""
        connection.set_inheritable(False)
        self._agents[connection.fileno()] = agent = Agent(connection)
        self._poll.register(connection, select.POLLIN)
        if self._loading.done:
            agent.say(Preloaded(0.0))

    def serve(self) -> None:
        signal.signal(signal.SIGCHLD, _ignored)
        # From here on closed sockets tell that nobody needs it, and leave time to end what the slots started.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)
        while self._agents or self._fleet is not None:
            idle = self._begun and not self._loading.done
            ready = [number for number, _ in self._poll.poll(0 if idle else None)]
            if idle and not ready:
                self._load()
            for number in ready:
                if number == self._wake_out:
                    self._reap()
                elif number in self._agents:
                    self._obey(self._agents[number])
                else:
                    self._take_agent()

    # --- the fleet and its agents

    def _take_agent(self) -> None:
        assert self._fleet is not None
        data, descriptors, _, _ = socket.recv_fds(self._fleet, 1, 1)
        for descriptor in descriptors:
            self.adopt(socket.socket(fileno=descriptor))
        if not data:  # the fleet is gone; its agents may have something to end
            self._poll.unregister(self._fleet)
            self._fleet.close()
            self._fleet = None

    def _obey(self, agent: Agent) -> None:
        """Takes one message of an agent."""
        try:
            data, descriptors, _, _ = socket.recv_fds(agent.connection, MAX_MESSAGE, len(slot.Ends._fields))
        except ConnectionResetError:
            data, descriptors = b"", []
        if not data:
            return self._lose(agent)
        message = to_zygote.decode(data)
        if isinstance(message, Preload):
            self._preload()
        elif isinstance(message, Signal):
            if message.pid in agent.slots:
                _kill(message.pid, message.signal)
        elif message.warm and not self._loading.done:
            agent.waiting.append((message, descriptors))
            self._preload()
        else:
            self._fork(agent, message, descriptors)
        return None

    def _lose(self, agent: Agent) -> None:
        """An agent is gone: its slots go, and once they have, its socket."""
        agent.gone = True
        self._poll.unregister(agent.connection)
        for _, descriptors in agent.waiting:
            for descriptor in descriptors:
                os.close(descriptor)
        agent.waiting.clear()
        for pid in agent.slots:
            _kill(pid, signal.SIGKILL)
        self._part(agent)

    def _part(self, agent: Agent) -> None:
        if agent.gone and not agent.slots:
            del self._agents[agent.connection.fileno()]
            agent.connection.close()

    # --- numerics

    def _preload(self) -> None:
        self._begun = self._begun or time.monotonic()

    def _load(self) -> None:
        """Loads some more of the numerics; what waited for the last of them is forked."""
        self._loading.step()
        if not self._loading.done:
            return
        if threads() > 1:
            print(f"worker: the zygote has {threads()} threads; forking it is not safe", file=sys.stderr)
        numerics.prepare()
        sandbox.give_back_code()
        for agent in self._agents.values():
            agent.say(Preloaded(time.monotonic() - self._begun))
            waiting, agent.waiting = agent.waiting, []
            for order, descriptors in waiting:
                self._fork(agent, order, descriptors)

    # --- slots

    def _fork(self, agent: Agent, order: Fork, descriptors: list[int]) -> None:
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
        agent.slots.add(pid)
        agent.say(Forked(order.number, pid))

    def _become_slot(self, parent: int, order: Fork, descriptors: list[int]) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)  # so that it can be signalled together with all it starts
        die_with_parent(parent)
        for agent in self._agents.values():
            agent.connection.close()
            for _, others in agent.waiting:
                for descriptor in others:
                    os.close(descriptor)
        if self._fleet is not None:
            self._fleet.close()
        os.close(self._wake_out)
        os.close(self._wake_in)
        slot.main(descriptors, order)

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
            agent = next((agent for agent in self._agents.values() if pid in agent.slots), None)
            if agent is not None:
                agent.slots.discard(pid)
                _kill(pid, signal.SIGKILL)  # what it started and left behind
                agent.say(Exited(pid, os.waitstatus_to_exitcode(status)))
                self._part(agent)


def _kill(pid: int, number: int) -> None:
    """Signals a slot and its process group, which the slot may not have made yet."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def _ignored(_signal: int, _frame: object) -> None:
    """Being handled at all is what writes to the wake-up pipe."""


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="worker.zygote")
    parser.add_argument("--agent", type=int, metavar="DESCRIPTOR", help="the only agent's socket")
    parser.add_argument("--fleet", type=int, metavar="DESCRIPTOR", help="the socket over which agents come")
    parser.add_argument("--preload", action="store_true", help="load the numerics at once")
    parser.add_argument("--parent-death", action="store_true", help="end when the process that started it ends")
    options = parser.parse_args(arguments)
    if options.parent_death:
        die_with_parent(os.getppid(), signal.SIGTERM)
    sandbox.adopt_orphans()
    sandbox.pin_threads()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fleet = None if options.fleet is None else socket.socket(fileno=options.fleet)
    zygote = Zygote(fleet, preload=options.preload)
    if options.agent is not None:
        zygote.adopt(socket.socket(fileno=options.agent))
    numerics.load(numerics.BARE)
    numerics.prepare()
    sandbox.give_back_code()
    zygote.serve()
    os._exit(0)


if __name__ == "__main__":
    main()
