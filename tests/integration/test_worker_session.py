"""A worker process over real gRPC, against an orchestrator that a test speaks for."""

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tensorfleet import wire
from tensorfleet.api.v1 import jobs_pb2, values_pb2, worker_pb2, worker_pb2_grpc
from tensorfleet.errors import NotLeader
from tensorfleet.rpc.servers import make_server
from tensorfleet.stores import open_objects
from tests.integration.fake_orchestrator import FakeOrchestrator, own
from tests.integration.processes import children, gone

pytestmark = pytest.mark.usefixtures("probes")

Join = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest_asyncio.fixture
async def orchestrator() -> AsyncIterator[FakeOrchestrator]:
    served = FakeOrchestrator()
    await served.start()
    yield served
    await served.stop()


@pytest_asyncio.fixture
async def join(orchestrator: FakeOrchestrator, tmp_path: Path) -> AsyncIterator[Join]:
    """Starts workers of the orchestrator; what is left of them ends with the test."""
    workers: list[asyncio.subprocess.Process] = []

    async def start(*flags: str, server: str = "") -> asyncio.subprocess.Process:
        command = ["-m", "worker", "--server", server or orchestrator.address, "--home", str(tmp_path / "worker")]
        workers.append(await asyncio.create_subprocess_exec(sys.executable, *command, "--parent-death", *flags))
        return workers[-1]

    yield start
    for worker in workers:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()


def inline(data: bytes) -> worker_pb2.Input:
    ref = values_pb2.ArtifactRef(digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    return worker_pb2.Input(ref=ref, inline=data)


def summary(result: worker_pb2.AttemptResult) -> dict[str, Any]:
    return wire.values_from_proto(result.summary)


async def test_a_worker_joins_and_tells_who_it_is(orchestrator: FakeOrchestrator, join: Join) -> None:
    worker = await join("--slots", "2", "--label", "zone=a", "--id", "w1")
    hello = (await orchestrator.session()).hello
    assert (hello.worker_id, hello.slots, dict(hello.labels), hello.pid) == ("w1", 2, {"zone": "a"}, worker.pid)
    assert hello.credit >= 2
    assert hello.protocol_min <= 1 <= hello.protocol_max
    assert hello.fingerprint.startswith("sklearn")
    assert hello.resources.cpus >= 1
    assert hello.resources.memory_bytes > 1 << 20
    session = await orchestrator.session()
    beats = await orchestrator.until(lambda: [item for item in session.heard if item.HasField("heartbeat")])
    assert beats[0].session == 1


async def test_tasks_run_in_order_with_reports_before_their_end(orchestrator: FakeOrchestrator, join: Join) -> None:
    await join("--slots", "1")
    await orchestrator.session()
    orchestrator.assign(11, "chatter")
    orchestrator.assign(12, "echo", inputs=[inline(b"small")], a=1, b=1.0)
    result = await orchestrator.result(11)
    assert result.cause == jobs_pb2.FAILURE_CAUSE_UNSPECIFIED
    assert result.started
    reports = orchestrator.reports(11)
    assert [report.number for report in reports] == list(range(1, result.last_report + 1))
    assert ("stdout", "printed") in orchestrator.lines(11)
    assert sum(len(report.points.steps) for report in reports) == 2
    echoed = await orchestrator.result(12)
    assert echoed.outputs[0].inline == b"small"
    assert summary(echoed)["a"] == 1
    assert echoed.started


async def test_a_large_input_is_fetched_once_and_a_large_output_is_put(
    orchestrator: FakeOrchestrator, join: Join
) -> None:
    await join("--slots", "2")
    await orchestrator.session()
    ref = orchestrator.add(os.urandom(3_000_000))
    for token in (1, 2, 3):
        orchestrator.assign(token, "echo", inputs=[worker_pb2.Input(ref=ref)])
    for token in (1, 2, 3):
        result = await orchestrator.result(token)
        assert result.outputs[0].ref == ref
        assert result.outputs[0].inline == b""
    assert orchestrator.gets == [ref.digest]
    assert set(orchestrator.puts) == {ref.digest}


async def test_a_corrupt_input_is_noticed_and_fetched_again(orchestrator: FakeOrchestrator, join: Join) -> None:
    await join("--slots", "1")
    await orchestrator.session()
    ref = orchestrator.add(b"a" * 100_000)
    orchestrator.blobs[ref.digest] = b"b" * 100_000
    orchestrator.assign(1, "echo", inputs=[worker_pb2.Input(ref=ref)])
    result = await orchestrator.result(1)
    assert (result.cause, result.reason) == (jobs_pb2.FAILURE_CAUSE_LOST_INPUT, "CORRUPT_ARTIFACT")
    orchestrator.blobs[ref.digest] = b"a" * 100_000
    orchestrator.assign(2, "echo", inputs=[worker_pb2.Input(ref=ref)])
    assert (await orchestrator.result(2)).outputs[0].ref == ref


async def test_a_missing_input_fails_the_attempt(orchestrator: FakeOrchestrator, join: Join) -> None:
    await join("--slots", "1")
    await orchestrator.session()
    missing = values_pb2.ArtifactRef(digest="0" * 64, size_bytes=100_000)
    orchestrator.assign(1, "echo", inputs=[worker_pb2.Input(ref=missing)])
    assert (await orchestrator.result(1)).reason == "NOT_FOUND"


async def test_a_store_on_this_machine_is_read_and_written_in_place(
    orchestrator: FakeOrchestrator, join: Join, tmp_path: Path
) -> None:
    store = await open_objects(tmp_path)
    own(tmp_path)
    orchestrator.object_store = store.url
    ref = (await store.put_many([[b"z" * 100_000]]))[0]
    await join("--slots", "1")
    await orchestrator.session()
    orchestrator.assign(1, "echo", inputs=[worker_pb2.Input(ref=wire.ref_to_proto(ref))])
    orchestrator.assign(2, "large", bytes=200_000)
    assert (await orchestrator.result(1)).outputs[0].ref.digest == ref.digest
    made = (await orchestrator.result(2)).outputs[0].ref
    assert await store.size(made.digest) == 200_000
    assert (orchestrator.gets, orchestrator.puts) == ([], [])
    await store.close()


async def test_another_fleets_directory_is_left_alone(
    orchestrator: FakeOrchestrator, join: Join, tmp_path: Path
) -> None:
    store = await open_objects(tmp_path)
    own(tmp_path, term=1)
    orchestrator.object_store = store.url
    await join("--slots", "1")
    await orchestrator.session()
    orchestrator.assign(1, "large", bytes=200_000)
    made = (await orchestrator.result(1)).outputs[0].ref
    assert orchestrator.puts == [made.digest]
    assert await store.size(made.digest) is None
    await store.close()


async def test_failures_are_told_with_cause_and_log_tail(orchestrator: FakeOrchestrator, join: Join) -> None:
    await join("--slots", "1", "--memory-limit", str(256 << 20))
    await orchestrator.session()
    causes = {
        "fail": (jobs_pb2.FAILURE_CAUSE_EXCEPTION, "ValueError"),
        "bad_input": (jobs_pb2.FAILURE_CAUSE_BAD_INPUT, "CSV_MALFORMED"),
        "segfault": (jobs_pb2.FAILURE_CAUSE_SIGNAL, "SIGSEGV"),
        "greedy": (jobs_pb2.FAILURE_CAUSE_OUT_OF_MEMORY, "MEMORY_LIMIT"),
    }
    for token, operator in enumerate(causes, 1):
        orchestrator.assign(token, operator)
    for token, operator in enumerate(causes, 1):
        result = await orchestrator.result(token)
        assert (result.cause, result.reason) == causes[operator]
    assert "last words" in (await orchestrator.result(3)).log_tail


async def test_cancel_and_timeout_end_what_runs_and_what_waits(orchestrator: FakeOrchestrator, join: Join) -> None:
    await join("--slots", "1")
    session = await orchestrator.session()
    orchestrator.assign(1, "stubborn")
    orchestrator.assign(2, "echo")
    orchestrator.assign(3, "stubborn", timeout=0.3)
    orchestrator.assign(4, "echo")
    await orchestrator.reported(1)
    session.say(cancel=worker_pb2.Cancel(tokens=[1, 2], reason="not wanted"))
    running, waiting = await orchestrator.result(1), await orchestrator.result(2)
    assert (running.cause, running.message, running.started) == (jobs_pb2.FAILURE_CAUSE_CANCELLED, "not wanted", True)
    assert (waiting.cause, waiting.started) == (jobs_pb2.FAILURE_CAUSE_CANCELLED, False)
    assert (await orchestrator.result(3)).cause == jobs_pb2.FAILURE_CAUSE_TIMEOUT
    assert (await orchestrator.result(4)).cause == jobs_pb2.FAILURE_CAUSE_UNSPECIFIED


async def test_a_timeout_of_what_runs_leaves_what_waits_behind_it_alone(
    orchestrator: FakeOrchestrator, join: Join
) -> None:
    await join("--slots", "1")
    await orchestrator.session()
    orchestrator.assign(1, "stubborn", timeout=0.3)
    for token in range(2, 40):
        orchestrator.assign(token, "echo", timeout=60.0)
    assert (await orchestrator.result(1)).cause == jobs_pb2.FAILURE_CAUSE_TIMEOUT
    for token in range(2, 40):
        result = await orchestrator.result(token)
        assert result.cause == jobs_pb2.FAILURE_CAUSE_UNSPECIFIED
        assert len(orchestrator.results(token)) == 1


async def test_of_many_that_wait_each_is_given_back_or_runs(orchestrator: FakeOrchestrator, join: Join) -> None:
    await join("--slots", "2")
    session = await orchestrator.session()
    orchestrator.assign(1, "sleep")
    orchestrator.assign(2, "sleep")
    await orchestrator.started(1)
    await orchestrator.started(2)
    for token in range(3, 203):
        orchestrator.assign(token, "echo")
    recalled = set(range(3, 203, 2))
    session.say(recall=worker_pb2.Recall(tokens=recalled))

    def released() -> set[int]:
        return {token for item in session.heard for token in item.released.tokens}

    await orchestrator.until(lambda: len(released()) == len(recalled))
    session.say(cancel=worker_pb2.Cancel(tokens=[1, 2], reason="make room"))
    for token in range(3, 203):
        if token not in recalled:
            await orchestrator.result(token)
    assert released() == recalled
    assert not [token for token in recalled if orchestrator.results(token)]


async def test_a_recall_gives_back_only_what_has_not_begun(orchestrator: FakeOrchestrator, join: Join) -> None:
    await join("--slots", "1")
    session = await orchestrator.session()
    orchestrator.assign(1, "sleep")
    orchestrator.assign(2, "echo")
    await orchestrator.reported(1)
    session.say(recall=worker_pb2.Recall(tokens=[1, 2]))
    released = await orchestrator.until(lambda: [item for item in session.heard if item.HasField("released")])
    assert list(released[0].released.tokens) == [2]


async def test_a_full_buffer_slows_the_task_and_loses_nothing(orchestrator: FakeOrchestrator, join: Join) -> None:
    await join("--slots", "1")
    session = await orchestrator.session()
    orchestrator.acks = False
    orchestrator.assign(1, "flood", points=200_000)

    def settled() -> bool:
        """Two heartbeats in a row with no report between them: the task waits."""
        kinds = [item.WhichOneof("message") for item in session.heard if item.WhichOneof("message") != "started"]
        return kinds[-2:] == ["heartbeat", "heartbeat"] and "reports" in kinds

    await orchestrator.until(settled)
    assert not orchestrator.results(1)
    orchestrator.acks = True
    last = orchestrator.reports(1)[-1].number
    session.say(ack=worker_pb2.Ack(reports=[worker_pb2.ReportAck(token=1, number=last)]))
    result = await orchestrator.result(1)
    reports = orchestrator.reports(1)
    assert [report.number for report in reports] == list(range(1, result.last_report + 1))
    assert [step for report in reports for step in report.points.steps] == list(range(200_000))


async def test_a_broken_stream_is_joined_again_and_all_that_is_unacknowledged_said_again(
    orchestrator: FakeOrchestrator, join: Join
) -> None:
    await join("--slots", "2")
    session = await orchestrator.session()
    orchestrator.acks = False
    orchestrator.assign(1, "sleep")
    orchestrator.assign(2, "chatter")
    pid = await orchestrator.started(1)
    ended = await orchestrator.result(2)
    await orchestrator.reported(1)
    orchestrator.acks = True
    session.hang_up()
    again = await orchestrator.session(2)
    held = {item.token: item.started for item in again.hello.held}
    assert held[1]
    assert 2 in held or [item.token for item in again.hello.finished] == [2]
    assert again.hello.incarnation == session.hello.incarnation
    await orchestrator.until(lambda: len(orchestrator.results(2)) == 2)
    numbers = [
        report.number
        for message in again.heard
        for report in message.reports.reports
        if report.token == 2 and message.session == 2
    ]
    assert numbers == list(range(1, ended.last_report + 1))
    orchestrator.sessions[-1].say(cancel=worker_pb2.Cancel(tokens=[1]))
    assert (await orchestrator.result(1)).started
    assert await orchestrator.started(1) == pid


async def test_a_server_that_is_away_is_waited_for(orchestrator: FakeOrchestrator, join: Join) -> None:
    await join("--slots", "1")
    await orchestrator.session()
    orchestrator.assign(1, "sleep")
    pid = await orchestrator.started(1)
    await orchestrator.stop()
    await orchestrator.start()
    again = await orchestrator.session(2)
    assert [(item.token, item.started) for item in again.hello.held] == [(1, True)]
    await orchestrator.until(
        lambda: (
            [start.pid for message in again.heard for start in message.started.attempts if (start.pid, start.token)]
            == [pid]
        )
    )


async def test_what_a_welcome_says_to_stop_is_stopped_without_a_word(
    orchestrator: FakeOrchestrator, join: Join
) -> None:
    await join("--slots", "1")
    session = await orchestrator.session()
    orchestrator.assign(1, "sleep")
    pid = await orchestrator.started(1)

    def stop_all(hello: worker_pb2.Hello) -> worker_pb2.OrchestratorMessage:
        answer = orchestrator.answer(hello)
        answer.welcome.stop.extend(answer.welcome.keep)
        del answer.welcome.keep[:]
        return answer

    orchestrator.welcome = stop_all
    session.hang_up()
    again = await orchestrator.session(2)
    await gone(pid)
    orchestrator.assign(2, "echo")
    await orchestrator.result(2)
    for message in again.heard:
        assert 1 not in [item.token for item in message.finished.results]
        assert 1 not in [item.token for item in message.reports.reports]


async def test_several_servers_are_tried_in_turn(orchestrator: FakeOrchestrator, join: Join) -> None:
    await join("--slots", "1", server=f"127.0.0.1:1,{orchestrator.address}")
    assert (await orchestrator.session()).hello.slots == 1


class Standby(worker_pb2_grpc.WorkerServiceServicer):
    """Leads nobody, and knows who does."""

    def __init__(self, leader: str) -> None:
        self.leader = leader

    async def Session(self, request_iterator: Any, context: Any) -> AsyncIterator[worker_pb2.OrchestratorMessage]:
        raise NotLeader("standing by", leader=self.leader)
        yield


async def test_a_standby_sends_the_worker_to_the_leader(orchestrator: FakeOrchestrator, join: Join) -> None:
    server = make_server()
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(Standby(orchestrator.address), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await join(server=f"127.0.0.1:{port}")
        await orchestrator.session()
    finally:
        await server.stop(None)


async def test_a_drained_worker_finishes_and_leaves(orchestrator: FakeOrchestrator, join: Join) -> None:
    worker = await join("--slots", "1")
    session = await orchestrator.session()
    for token in (1, 2):
        orchestrator.assign(token, "echo")
    session.say(drain=worker_pb2.Drain(reason="maintenance"))
    orchestrator.assign(3, "echo")
    assert await worker.wait() == 0
    assert orchestrator.results(1)
    assert orchestrator.results(2)
    assert not orchestrator.results(3)
    said = [message.WhichOneof("message") for message in session.heard]
    assert "leaving" in said
    assert [list(item.released.tokens) for item in session.heard if item.HasField("released")] == [[3]]


async def test_a_refused_worker_leaves_with_an_error(orchestrator: FakeOrchestrator, join: Join) -> None:
    goodbye = worker_pb2.Goodbye(reason="this release is too old", reconnect=False)
    orchestrator.welcome = lambda _: worker_pb2.OrchestratorMessage(goodbye=goodbye)
    worker = await join("--slots", "1")
    assert await worker.wait() == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopped_worker_says_so_and_its_tasks_go_elsewhere(
    orchestrator: FakeOrchestrator, join: Join, number: signal.Signals
) -> None:
    worker = await join("--slots", "1")
    session = await orchestrator.session()
    orchestrator.assign(1, "sleep")
    orchestrator.assign(2, "echo")
    pid = await orchestrator.started(1)
    await orchestrator.reported(1)
    processes = children(worker.pid)
    worker.send_signal(number)
    assert await worker.wait() == 0
    await gone(pid)
    for process in processes:
        await gone(process)
    assert (await orchestrator.result(1)).gave_up
    assert [list(item.released.tokens) for item in session.heard if item.HasField("released")] == [[2]]
    assert any(item.HasField("leaving") for item in session.heard)


async def test_a_stopped_worker_without_a_server_leaves_at_once(join: Join) -> None:
    worker = await join("--slots", "1", server="127.0.0.1:1")
    processes = await asyncio.to_thread(_first_children, worker.pid)
    worker.send_signal(signal.SIGTERM)
    await worker.wait()
    for process in processes:
        await gone(process)


def _first_children(pid: int) -> list[int]:
    while not (found := children(pid)):
        os.sched_yield()
    return found


async def test_a_killed_agent_leaves_no_process_behind(orchestrator: FakeOrchestrator, join: Join) -> None:
    worker = await join("--slots", "2")
    await orchestrator.session()
    orchestrator.assign(1, "stubborn")
    orchestrator.assign(2, "with_child")
    pids = [await orchestrator.started(1), await orchestrator.started(2)]
    await orchestrator.reported(1)
    child = int((await orchestrator.reported(2))[0].points.values[0])
    zygotes = children(worker.pid)
    assert zygotes
    worker.kill()
    for pid in (*zygotes, *pids, child):
        await gone(pid)
