"""Live sessions with workers: streams in, bounded outboxes out; protos to events and commands to protos.

The rule: what a worker says becomes events, in its order; what it is told are the commands of durable decisions. A
session that does not read what it is told is ended, and comes back with a new one.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import grpc
import msgspec

from orchestrator.core import commands as c
from orchestrator.core import events as e
from orchestrator.core.values import WorkerInfo
from orchestrator.engine import Engine
from orchestrator.incoming import Incoming, Kept, News
from orchestrator.reaching import reached
from tensorfleet.api.v1 import worker_pb2 as pb
from tensorfleet.api.v1 import worker_pb2_grpc
from tensorfleet.errors import BadInput, InvalidRequest
from tensorfleet.logs import Logger
from tensorfleet.model import FieldViolation, Ref, Resources, Task, TaskResult, Value
from tensorfleet.stores.contract import ObjectStore
from tensorfleet.wire import (
    cause_from_proto,
    duration,
    duration_seconds,
    line_from_proto,
    points_from_proto,
    ref_from_proto,
    ref_to_proto,
    values_from_proto,
    values_to_proto,
)

log = Logger(__name__)

OUTBOX = 50_000
"""Commands that a session may leave unread."""

ACKS = (c.AckFinished, c.AckReport)
TASKS = 2048
"""Tasks in one message, from which on there is another."""

LULL = 0.02
"""Seconds that an acknowledgement may wait for others, or for anything to come along with: nobody's work waits for
it."""

HELLO_SECONDS = 30.0
_encode = msgspec.msgpack.Encoder().encode
BEATS_SECONDS = 0.1
"""How long a heartbeat may wait for those of other workers."""


class _Session:
    """One stream's outbox."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting: deque[c.ToWorker] = deque()
        self.more = asyncio.Event()
        self.over = False

    def put(self, command: c.ToWorker) -> None:
        if len(self.waiting) >= OUTBOX:
            self.over = True
        self.waiting.append(command)
        if self.over or not isinstance(command, ACKS):
            self.more.set()
        elif len(self.waiting) == 1:
            asyncio.get_running_loop().call_later(LULL, self.more.set)


class WorkerSessions(worker_pb2_grpc.WorkerServiceServicer):
    """Serves `WorkerService.Session`."""

    def __init__(self, engine: Engine, objects: ObjectStore) -> None:
        self._engine = engine
        self._objects = objects
        self._sessions: dict[int, _Session] = {}
        self._numbers = itertools.count(1)
        self._kept = Kept()
        self._beats: list[e.Event] = []
        engine.to_worker = self._to_worker

    def _to_worker(self, command: c.ToWorker) -> None:
        session = self._sessions.get(command.session)
        if session is not None:
            session.put(command)

    async def Session(
        self, request_iterator: AsyncIterator[pb.WorkerMessage], context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[pb.OrchestratorMessage]:
        hello = await self._hello(request_iterator)
        session = _Session(next(self._numbers))
        self._sessions[session.number] = session
        incoming = Incoming(self._objects, self._kept, lambda results: self._tell(hello.worker_id, session, results))
        hearing = [
            asyncio.create_task(self._read(hello, session, request_iterator, incoming, context)),
            asyncio.create_task(incoming.run()),
        ]
        for task in hearing:
            task.add_done_callback(lambda _: session.more.set())
        try:
            async for message in self._write(session, hearing):
                yield message
        finally:
            for task in hearing:
                task.cancel()
            del self._sessions[session.number]
            self._feed(e.SessionLost(hello.worker_id, session.number))
            log.info("session over", worker=hello.worker_id, session=session.number)

    async def _hello(self, messages: AsyncIterator[pb.WorkerMessage]) -> pb.Hello:
        try:
            first = await asyncio.wait_for(anext(messages), HELLO_SECONDS)
        except (StopAsyncIteration, TimeoutError):
            raise BadInput("a session begins with a hello, and none came") from None
        hello = first.hello
        faults = _faults(hello) if first.WhichOneof("message") == "hello" else [FieldViolation("hello", "comes first")]
        if faults:
            raise InvalidRequest(faults)
        return hello

    async def _read(
        self,
        hello: pb.Hello,
        session: _Session,
        messages: AsyncIterator[pb.WorkerMessage],
        incoming: Incoming,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> None:
        log.info("worker says hello", worker=hello.worker_id, session=session.number, slots=hello.slots)
        self._feed(_opened(hello, session.number))
        incoming.take(hello.finished)
        async for message in messages:
            await self._engine.room()
            if message.session != session.number:
                continue
            kind = message.WhichOneof("message")
            if kind == "finished":
                self._hear_ends(hello.worker_id, session.number, message.finished, incoming)
                continue
            if kind == "saved":
                incoming.take(message.saved.attempts)
                continue
            if kind == "gang_ready":
                peer = context.peer()
                members = [(each.token, reached(each.address, peer)) for each in message.gang_ready.members]
                self._feed(*(e.GangReady(hello.worker_id, session.number, *member) for member in members))
                continue
            if kind == "leaving":  # its last results come before it is gone
                await incoming.through()
            events = self._events(hello.worker_id, session.number, message)
            (self._keep_beat if kind == "heartbeat" else self._feed)(*events)
        await incoming.through()

    def _hear_ends(self, worker: str, session: int, finished: pb.Finished, incoming: Incoming) -> None:
        incoming.take(finished.results)
        if len(finished.seconds) != len(finished.succeeded):
            raise InvalidRequest([FieldViolation("finished.seconds", "expected one for each of succeeded")])
        if finished.succeeded:
            self._feed(e.Succeeded(worker, session, tuple(finished.succeeded), tuple(finished.seconds)))

    def _feed(self, *events: e.Event) -> None:
        """Heartbeats that are kept go first, so that no worker's words change their order."""
        beats, self._beats = self._beats, []
        self._engine.feed(*beats, *events)

    def _keep_beat(self, *beat: e.Event) -> None:
        """Keeps a heartbeat for a moment: those of many workers are decided together, or with what else comes."""
        if not self._beats:
            asyncio.get_running_loop().call_later(BEATS_SECONDS, self._feed)
        self._beats += beat

    def _events(self, worker: str, session: int, message: pb.WorkerMessage) -> Sequence[e.Event]:
        kind = message.WhichOneof("message")
        if kind == "heartbeat":
            return (_heartbeat(worker, session, message.heartbeat),)
        if kind == "started":
            return [e.Began(worker, session, attempt.token, attempt.pid) for attempt in message.started.attempts]
        if kind == "released":
            return [e.Released(worker, session, token) for token in message.released.tokens]
        if kind == "reports":
            return [_report(worker, session, report) for report in message.reports.reports]
        if kind == "leaving":
            return (e.Leaving(worker, session, message.leaving.reason),)
        raise InvalidRequest([FieldViolation("message", f"not expected in a session: {kind}")])

    def _tell(self, worker: str, session: _Session, news: Sequence[News]) -> None:
        self._feed(*(_told(worker, session.number, each) for each in news))

    async def _write(
        self, session: _Session, hearing: Sequence[asyncio.Task[None]]
    ) -> AsyncIterator[pb.OrchestratorMessage]:
        while True:
            await session.more.wait()
            session.more.clear()
            batch, session.waiting = session.waiting, deque()
            ack = _ack(batch)
            told = [command for command in batch if not isinstance(command, ACKS)]
            for kind, run in _alike(told):
                message = await self._message(kind, run)
                if ack is not None:
                    message.ack.CopyFrom(ack)
                    ack = None
                yield message
                if message.HasField("goodbye"):
                    return
            if ack is not None:
                yield pb.OrchestratorMessage(ack=ack)
            if session.over:
                yield pb.OrchestratorMessage(goodbye=pb.Goodbye(reason="it does not read", reconnect=True))
                return
            if ended := [task for task in hearing if task.done()]:
                ended[0].result()
                return

    async def _message(self, kind: type[c.ToWorker], run: list[Any]) -> pb.OrchestratorMessage:
        if kind is c.Assign:
            return pb.OrchestratorMessage(assign=pb.Assign(assignments=[self._assignment(command) for command in run]))
        if kind is c.Welcome:
            return self._welcome(run[0])
        return _MESSAGES[kind](run)

    def _welcome(self, command: c.Welcome) -> pb.OrchestratorMessage:
        settings = self._engine.state.settings
        return pb.OrchestratorMessage(
            welcome=pb.Welcome(
                term=self._engine.state.term,
                session=command.session,
                lease=duration(settings.lease),
                heartbeat=duration(settings.heartbeat),
                keep=command.keep,
                stop=command.stop,
                paused=command.paused,
                object_store=self._objects.url,
                protocol=command.protocol,
            )
        )

    def _assignment(self, command: c.Assign) -> pb.Assignment:
        """What all of its tasks have is told once."""
        tasks, first = command.tasks, command.tasks[0]
        shared = {name: value for name, value in first.params.items() if _in_all(tasks, name, value)}
        alike = not command.saved and not any(task.inputs or len(task.params) > len(shared) for task in tasks)
        saved = map(command.saved.get, command.indexes)
        return pb.Assignment(
            job_id=command.job,
            stage=command.stage,
            operator=first.operator,
            params=values_to_proto(shared),
            threads=first.threads,
            timeout=duration(command.timeout),
            gpus=command.gpus,
            tokens=range(command.token, command.token + len(tasks)),
            indexes=command.indexes,
            own=() if alike else [self._own(task, shared, ref) for task, ref in zip(tasks, saved, strict=True)],
        )

    def _own(self, task: Task, shared: Mapping[str, Value], saved: Ref | None) -> pb.Own:
        params = {name: value for name, value in task.params.items() if name not in shared}
        inputs = [self._input(ref) for ref in task.inputs]
        return pb.Own(params=values_to_proto(params), inputs=inputs, saved=self._input(saved) if saved else None)

    def _input(self, ref: Ref) -> pb.Input:
        return pb.Input(ref=ref_to_proto(ref), inline=self._kept.get(ref.digest))


def _faults(hello: pb.Hello) -> list[FieldViolation]:
    faults = []
    if not hello.worker_id or not hello.incarnation:
        faults.append(FieldViolation("hello.worker_id", "a worker has an id and an incarnation"))
    if hello.slots < 1:
        faults.append(FieldViolation("hello.slots", f"expected at least 1, not {hello.slots}"))
    return faults


def _opened(hello: pb.Hello, session: int) -> e.OpenSession:
    info = WorkerInfo(
        id=hello.worker_id,
        incarnation=hello.incarnation,
        slots=hello.slots,
        credit=max(hello.credit, hello.slots),
        resources=Resources(
            cpus=hello.resources.cpus,
            memory=hello.resources.memory_bytes,
            gpus=hello.resources.gpus,
            labels=dict(hello.labels),
        ),
        capabilities=tuple(hello.capabilities),
        fingerprint=hello.fingerprint,
        pid=hello.pid,
        host=hello.host,
        release=hello.release,
    )
    return e.OpenSession(
        session=session,
        info=info,
        protocol_min=hello.protocol_min,
        protocol_max=hello.protocol_max,
        held={attempt.token: attempt.started for attempt in hello.held},
        finished=tuple(result.token for result in hello.finished),
        cached=tuple(hello.cached_digests),
    )


def _heartbeat(worker: str, session: int, heartbeat: pb.Heartbeat) -> e.Heartbeat:
    running = {slot.token: slot.pid for slot in heartbeat.slots if slot.token}
    cached = tuple(heartbeat.cached_digests)
    return e.Heartbeat(worker, session, running, heartbeat.load, heartbeat.memory_bytes, cached, heartbeat.unfit)


def _report(worker: str, session: int, report: pb.Report) -> e.Report:
    points = points_from_proto(report.points)
    lines = tuple(line_from_proto(line) for line in report.lines)
    return e.Report(worker, session, report.token, report.number, points, lines)


def _in_all(tasks: Sequence[Task], name: str, value: Value) -> bool:
    """Whether a parameter has a value in all tasks; the integer 1 and the real 1.0 are not one."""
    encoded = _encode(value)
    return all(task is tasks[0] or (name in task.params and _encode(task.params[name]) == encoded) for task in tasks)


def _told(worker: str, session: int, news: News) -> e.Event:
    if isinstance(news, pb.AttemptResult):
        return _finished(worker, session, news)
    return e.Saved(worker, session, news.token, ref_from_proto(news.saved.ref))


def _finished(worker: str, session: int, result: pb.AttemptResult) -> e.Finished:
    outputs = tuple(ref_from_proto(output.ref) for output in result.outputs)
    return e.Finished(
        worker=worker,
        session=session,
        token=result.token,
        result=TaskResult(outputs, values_from_proto(result.summary, "summary")),
        cause=cause_from_proto(result.cause),
        reason=result.reason,
        message=result.message,
        log_tail=tuple(result.log_tail),
        duration=duration_seconds(result.duration),
        last_report=result.last_report,
        started=result.started,
        gave_up=result.gave_up,
        saved=ref_from_proto(result.saved.ref) if result.HasField("saved") else None,
    )


def _alike(told: Iterable[c.ToWorker]) -> Iterator[tuple[type[c.ToWorker], list[Any]]]:
    """What is said together: neighbours of one kind, up to so many tasks."""
    for kind, commands in itertools.groupby(told, type):
        run: list[Any] = []
        tasks = 0
        for command in commands:
            run.append(command)
            tasks += len(command.tasks) if isinstance(command, c.Assign) else 0
            if tasks >= TASKS or kind is c.Roster:
                yield kind, run
                run, tasks = [], 0
        if run:
            yield kind, run


def _ack(batch: Iterable[c.ToWorker]) -> pb.Ack | None:
    """All acknowledgements of what is to be said; None where there are none."""
    finished: list[int] = []
    numbers: dict[int, int] = {}
    for command in batch:
        if isinstance(command, c.AckFinished):
            finished += command.tokens
        elif isinstance(command, c.AckReport):
            numbers[command.token] = max(command.number, numbers.get(command.token, 0))
    if not (finished or numbers):
        return None
    reports = [pb.ReportAck(token=token, number=number) for token, number in numbers.items()]
    return pb.Ack(finished=finished, reports=reports)


def _tokens(run: list[Any]) -> list[int]:
    return [token for command in run for token in command.tokens]


_MESSAGES: dict[type[c.ToWorker], Callable[[list[Any]], pb.OrchestratorMessage]] = {
    c.Goodbye: lambda run: pb.OrchestratorMessage(goodbye=pb.Goodbye(reason=run[0].reason, reconnect=run[0].reconnect)),
    c.Cancel: lambda run: pb.OrchestratorMessage(cancel=pb.Cancel(tokens=_tokens(run), reason=run[0].reason)),
    c.Recall: lambda run: pb.OrchestratorMessage(recall=pb.Recall(tokens=_tokens(run))),
    c.Roster: lambda run: pb.OrchestratorMessage(
        roster=pb.Roster(token=run[0].token, place=run[0].place, addresses=run[0].addresses)
    ),
    c.Pause: lambda run: pb.OrchestratorMessage(pause=pb.Pause(tokens=_tokens(run))),
    c.Resume: lambda run: pb.OrchestratorMessage(resume=pb.Resume(tokens=_tokens(run))),
    c.Checkpoint: lambda run: pb.OrchestratorMessage(checkpoint=pb.Checkpoint(tokens=_tokens(run))),
    c.EndEarly: lambda run: pb.OrchestratorMessage(end_early=pb.EndEarly(tokens=_tokens(run))),
    c.Drain: lambda run: pb.OrchestratorMessage(drain=pb.Drain(reason=run[0].reason)),
}
