"""An orchestrator of a few lines, for the worker's tests: it says what a test tells it to, and keeps what it hears."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from tensorfleet import wire
from tensorfleet.api.v1 import artifacts_pb2, artifacts_pb2_grpc, values_pb2, worker_pb2, worker_pb2_grpc
from tensorfleet.rpc.channels import OPTIONS

TERM = 7


class Stream:
    """One stream of a worker, from the orchestrator's side."""

    def __init__(self, number: int, hello: worker_pb2.Hello) -> None:
        self.number = number
        self.hello = hello
        self.outbox: asyncio.Queue[worker_pb2.OrchestratorMessage | None] = asyncio.Queue()
        self.heard: list[worker_pb2.WorkerMessage] = []
        self.over = asyncio.Event()

    def say(self, **message: Any) -> None:
        self.outbox.put_nowait(worker_pb2.OrchestratorMessage(**message))

    def hang_up(self) -> None:
        self.outbox.put_nowait(None)


class FakeOrchestrator(worker_pb2_grpc.WorkerServiceServicer, artifacts_pb2_grpc.ArtifactServiceServicer):
    """Serves one worker. `welcome` may be replaced by what a test wants a hello to be answered with."""

    def __init__(self, object_store: str = "") -> None:
        self.object_store = object_store
        self.sessions: list[Stream] = []
        self.blobs: dict[str, bytes] = {}
        self.gets: list[str] = []
        self.puts: list[str] = []
        self.acks = True
        self.port = 0
        self.welcome: Callable[[worker_pb2.Hello], worker_pb2.OrchestratorMessage] = self.answer
        self._news = asyncio.Event()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[*OPTIONS, ("grpc.so_reuseport", 0)])
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(self, self._server)
        artifacts_pb2_grpc.add_ArtifactServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        assert self._server is not None
        await self._server.stop(0)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, hello: worker_pb2.Hello) -> worker_pb2.OrchestratorMessage:
        """The welcome of an orchestrator that keeps all that is held."""
        welcome = worker_pb2.Welcome(
            term=TERM,
            session=len(self.sessions),
            lease=Duration(seconds=10),
            heartbeat=Duration(nanos=100_000_000),
            keep=[held.token for held in hello.held],
            object_store=self.object_store,
            protocol=1,
        )
        return worker_pb2.OrchestratorMessage(welcome=welcome)

    # --- what a test does

    async def until(self, condition: Callable[[], Any]) -> Any:
        while not (found := condition()):
            self._news.clear()
            await self._news.wait()
        return found

    async def session(self, number: int = 1) -> Stream:
        await self.until(lambda: len(self.sessions) >= number)
        return self.sessions[number - 1]

    def assign(self, token: int, operator: str, timeout: float = 0.0, inputs: Any = (), **params: Any) -> None:
        assignment = worker_pb2.Assignment(
            tokens=[token],
            indexes=[0],
            operator=f"probe.{operator}@1" if "." not in operator else operator,
            params=wire.values_to_proto(params),
            own=[worker_pb2.Own(inputs=inputs)],
            threads=1,
            timeout=wire.duration(timeout),
        )
        self.sessions[-1].say(assign=worker_pb2.Assign(assignments=[assignment]))

    async def result(self, token: int) -> worker_pb2.AttemptResult:
        found = await self.until(lambda: self.results(token))
        assert isinstance(found[0], worker_pb2.AttemptResult)
        return found[0]

    async def started(self, token: int) -> int:
        found = await self.until(lambda: [start.pid for start in self._all("started") if start.token == token])
        return int(found[0])

    async def reported(self, token: int) -> list[worker_pb2.Report]:
        return list(await self.until(lambda: self.reports(token)))

    def results(self, token: int) -> list[worker_pb2.AttemptResult]:
        bare = [
            worker_pb2.AttemptResult(token=each, duration=wire.duration(seconds), started=True)
            for finished in self._messages("finished")
            for each, seconds in zip(finished.succeeded, finished.seconds, strict=True)
        ]
        return [result for result in [*self._all("finished"), *bare] if result.token == token]

    def reports(self, token: int) -> list[worker_pb2.Report]:
        """Every report of an attempt that came, in order, those that came twice also."""
        return [report for report in self._all("reports") if report.token == token]

    def lines(self, token: int) -> list[tuple[str, str]]:
        return [(line.stream, line.text) for report in self.reports(token) for line in report.lines]

    def _all(self, kind: str) -> list[Any]:
        fields = {"started": "attempts", "finished": "results", "reports": "reports"}
        return [item for said in self._messages(kind) for item in getattr(said, fields[kind])]

    def _messages(self, kind: str) -> list[Any]:
        return [
            getattr(message, kind)
            for session in self.sessions
            for message in session.heard
            if message.WhichOneof("message") == kind
        ]

    def add(self, data: bytes) -> values_pb2.ArtifactRef:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return values_pb2.ArtifactRef(digest=digest, size_bytes=len(data))

    # --- the services

    async def Session(
        self, request_iterator: AsyncIterator[worker_pb2.WorkerMessage], context: Any
    ) -> AsyncIterator[worker_pb2.OrchestratorMessage]:
        first = await anext(request_iterator)
        session = Stream(len(self.sessions) + 1, first.hello)
        self.sessions.append(session)
        yield self.welcome(first.hello)
        self._news.set()
        listening = asyncio.create_task(self._listen(session, request_iterator))
        try:
            while (message := await session.outbox.get()) is not None:
                yield message
        finally:
            listening.cancel()
            session.over.set()
            self._news.set()

    async def _listen(self, session: Stream, messages: AsyncIterator[worker_pb2.WorkerMessage]) -> None:
        async for message in messages:
            session.heard.append(message)
            self._news.set()
            if self.acks:
                self._ack(session, message)
        session.hang_up()

    def _ack(self, session: Stream, message: worker_pb2.WorkerMessage) -> None:
        finished = [result.token for result in message.finished.results] + list(message.finished.succeeded)
        reports = [worker_pb2.ReportAck(token=item.token, number=item.number) for item in message.reports.reports]
        if finished or reports:
            session.say(ack=worker_pb2.Ack(finished=finished, reports=reports))

    async def GetArtifact(
        self, request: artifacts_pb2.GetArtifactRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[artifacts_pb2.GetArtifactResponse]:
        self.gets.append(request.digest)
        if request.digest not in self.blobs:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no blob {request.digest}")
        data = self.blobs[request.digest]
        for start in range(0, len(data), 1 << 20):
            yield artifacts_pb2.GetArtifactResponse(chunk=data[start : start + (1 << 20)])

    async def PutArtifact(
        self, request_iterator: AsyncIterator[artifacts_pb2.PutArtifactRequest], context: Any
    ) -> artifacts_pb2.PutArtifactResponse:
        data, digest = b"", ""
        async for request in request_iterator:
            digest, data = digest or request.digest, data + request.chunk
        ref = self.add(data)
        assert ref.digest == digest
        self.puts.append(digest)
        return artifacts_pb2.PutArtifactResponse(ref=ref)

    async def GrantGet(self, request: artifacts_pb2.GrantGetRequest, context: Any) -> artifacts_pb2.GrantGetResponse:
        return artifacts_pb2.GrantGetResponse()

    async def GrantPut(self, request: artifacts_pb2.GrantPutRequest, context: Any) -> artifacts_pb2.GrantPutResponse:
        return artifacts_pb2.GrantPutResponse()


def own(home: Path, term: int = TERM) -> None:
    """Writes the file by which an orchestrator shows that a home is its own."""
    (home / "orchestrator.json").write_text(json.dumps({"address": "", "pid": os.getpid(), "term": term}))
