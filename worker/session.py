"""The stream to the orchestrator: opened, kept, and opened again for ever.

The rule: it says what the state has to say, as soon as the stream can take it and in few messages, and passes on what
it hears. It keeps nothing of its own: whatever a broken stream lost, the state says again.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import grpc

from tensorfleet import wire
from tensorfleet.api.v1 import worker_pb2, worker_pb2_grpc
from tensorfleet.errors import TensorFleetError, Unavailable
from tensorfleet.logs import Logger
from tensorfleet.loops import EARLY
from tensorfleet.rpc.addresses import Addresses
from tensorfleet.rpc.channels import open_channel
from tensorfleet.rpc.pauses import pauses
from tensorfleet.rpc.status import ended
from worker import protocol
from worker.actions import Action
from worker.protocol import Identity, Vitals
from worker.remote import RemoteArtifacts
from worker.state import State

log = Logger(__name__)

LONGEST_PAUSE = 1.0
WELCOME_WITHIN = 10.0
"""Seconds a server that took the stream has to answer the hello."""
LULL = 0.01
"""Seconds that starts and reports wait for company, and whatever else is not pressing."""
FAREWELL = 1.0
"""Seconds the orchestrator has to take the last words of a worker that leaves, and a broken stream to tell why."""

Call = grpc.aio.StreamStreamCall[worker_pb2.WorkerMessage, worker_pb2.OrchestratorMessage]


class Refused(Exception):  # noqa: N818
    """The orchestrator wants this worker no more."""


class Lost(Exception):  # noqa: N818
    """The session is over and another may be tried. why: what ended it."""

    def __init__(self, why: TensorFleetError) -> None:
        super().__init__(why.message)
        self.why = why


class Host(Protocol):
    """What a session needs of the agent."""

    state: State

    def act(self, actions: Sequence[Action]) -> None: ...

    async def welcomed(self, welcome: worker_pb2.Welcome, remote: RemoteArtifacts) -> None: ...

    def disconnected(self) -> None: ...

    def cached(self) -> list[str]: ...

    def vitals(self) -> Vitals: ...


class Sessions:
    """A worker's sessions, one after another."""

    def __init__(self, servers: Sequence[str], who: Identity, host: Host) -> None:
        self._addresses = Addresses(servers)
        self._pauses = pauses(LONGEST_PAUSE)
        self._told: set[str] = set()
        self._who = who
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._due = asyncio.Event()  # there is something to say that should not wait
        self._lull: asyncio.TimerHandle | None = None
        self._starts_due = False
        self._closing = False

    def wake(self, pressing: bool) -> None:
        """There may be something to say, and it may be pressing."""
        if pressing:
            self._due.set()
        if self._lull is None:
            self._lull = self._loop.call_later(LULL, self._lull_over)

    def close(self) -> None:
        """Says what is left to say, and ends."""
        self._closing = True
        self._due.set()

    def _lull_over(self) -> None:
        self._lull, self._starts_due = None, True
        self._due.set()

    async def run(self) -> None:
        """Holds sessions until `close`. Refused where the orchestrator sends the worker away."""
        while not self._closing:
            server = self._addresses.current
            try:
                await self._one(server)
            except Lost as lost:
                self._tell(server, str(lost))
                if self._addresses.failed(server, lost.why) and not self._closing:
                    await asyncio.sleep(next(self._pauses))

    def _tell(self, server: str, why: str) -> None:
        """Once at each server until there is a session again, or the log would be full of it."""
        tell = log.debug if server in self._told else log.warning
        self._told.add(server)
        tell("no session", server=server, why=why)

    async def _one(self, server: str) -> None:
        """One session, to its end: Lost, unless it was closed from here. Refused."""
        channel = open_channel(server, watchful=len(self._addresses) > 1)
        call: Call = worker_pb2_grpc.WorkerServiceStub(channel).Session()  # type: ignore[call-arg]
        try:
            first = await self._greet(call)
            await self._hold(server, channel, call, first)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):  # a write does not know what the stream ended with
            raise await _end(call) from None
        finally:
            call.cancel()
            self._host.act(self._host.state.stream_lost())
            self._host.disconnected()
            await channel.close(None)

    async def _greet(self, call: Call) -> worker_pb2.OrchestratorMessage:
        """The answer to the hello: a welcome, and what may come along with it."""
        hello = protocol.hello(self._who, self._host.state.holdings(), self._host.cached())
        try:
            async with asyncio.timeout(WELCOME_WITHIN):
                await call.write(hello)
                answer = await call.read()
        except TimeoutError:
            raise Lost(Unavailable("the hello was not answered")) from None
        if not isinstance(answer, worker_pb2.OrchestratorMessage):
            raise await _end(call)
        if answer.WhichOneof("message") == "goodbye":
            raise _parting(answer.goodbye)
        if answer.WhichOneof("message") != "welcome":
            raise Lost(Unavailable("the hello was answered with something else"))
        return answer

    async def _hold(
        self, server: str, channel: grpc.aio.Channel, call: Call, first: worker_pb2.OrchestratorMessage
    ) -> None:
        welcome = first.welcome
        log.info("joined", server=server, session=welcome.session, term=welcome.term)
        self._addresses.served()
        self._told.clear()
        self._pauses = pauses(LONGEST_PAUSE)
        await self._host.welcomed(welcome, RemoteArtifacts(channel))
        self._host.act(self._host.state.welcome(welcome.stop, self._loop.time(), welcome.paused))
        self._hear_ack(first)
        listening = asyncio.create_task(self._listen(call))
        speaking = asyncio.create_task(self._speak(call, welcome))
        try:
            await asyncio.wait([listening, speaking], return_when=asyncio.FIRST_COMPLETED)
            if self._closing and speaking.done():
                await asyncio.wait([listening], timeout=FAREWELL)
        finally:
            for task in (listening, speaking):
                task.cancel()
            ends = await asyncio.gather(listening, speaking, return_exceptions=True)
        errors = [end for end in ends if isinstance(end, Exception)]
        for error in sorted(errors, key=lambda error: isinstance(error, _ENDS)):  # what should not happen comes first
            raise error
        if not self._closing:
            raise await _end(call)

    async def _listen(self, call: Call) -> None:
        while isinstance(message := await call.read(), worker_pb2.OrchestratorMessage):
            self._hear(message)

    def _hear(self, message: worker_pb2.OrchestratorMessage) -> None:
        self._hear_ack(message)
        state, act, now = self._host.state, self._host.act, self._loop.time()
        match message.WhichOneof("message"):
            case "assign":
                act(state.assign(protocol.orders(message.assign), now))
            case "cancel":
                act(state.cancel(message.cancel.tokens, message.cancel.reason, now))
            case "recall":
                act(state.recall(message.recall.tokens, now))
            case "pause":
                act(state.pause(message.pause.tokens, now))
            case "resume":
                act(state.resume(message.resume.tokens, now))
            case "checkpoint":
                act(state.checkpoint(message.checkpoint.tokens))
            case "end_early":
                act(state.end_early(message.end_early.tokens))
            case "roster":
                act(state.roster(message.roster.token, protocol.members(message.roster)))
            case "drain":
                act(state.drain(message.drain.reason))
            case "goodbye":
                raise _parting(message.goodbye)
            case None if message.HasField("ack"):
                pass
            case other:
                log.warning("a message of an unknown kind", kind=other)

    def _hear_ack(self, message: worker_pb2.OrchestratorMessage) -> None:
        if message.HasField("ack"):
            acks = protocol.report_acks(message.ack.reports)
            self._host.act(self._host.state.ack(message.ack.finished, acks, self._loop.time()))

    async def _speak(self, call: Call, welcome: worker_pb2.Welcome) -> None:
        loop, state = self._loop, self._host.state
        interval = wire.duration_seconds(welcome.heartbeat) or 1.0
        beat, timer = loop.time(), None
        self._starts_due = True
        try:
            while True:
                self._due.clear()
                if loop.time() >= beat - EARLY or not state.fitness_told:
                    beat = loop.time() + interval
                    if timer is not None:
                        timer.cancel()
                    timer = loop.call_at(beat, self._due.set)
                    vitals, state.fitness_told = self._host.vitals(), True
                    await call.write(protocol.heartbeat(welcome.session, vitals))
                starts, self._starts_due = self._starts_due, False
                while batch := state.collect(starts):
                    for message in protocol.messages(welcome.session, batch):
                        await call.write(message)
                if self._closing:
                    await call.done_writing()
                    return
                await self._due.wait()
        finally:
            if timer is not None:
                timer.cancel()


_ENDS = (grpc.aio.AioRpcError, asyncio.InvalidStateError, Lost)
"""How a stream that held can end."""


async def _end(call: Call) -> Lost:
    """What a stream that is over has ended with."""
    try:
        async with asyncio.timeout(FAREWELL):
            return Lost(await ended(call))
    except TimeoutError:
        return Lost(Unavailable("the stream broke"))


def _parting(goodbye: worker_pb2.Goodbye) -> Exception:
    return Lost(Unavailable(goodbye.reason)) if goodbye.reconnect else Refused(goodbye.reason)
