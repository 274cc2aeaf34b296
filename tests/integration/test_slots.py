"""Slots over real processes: whatever a task does to its process costs that task and nothing else."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tensorfleet.model import Cause, LogLine, Point
from tests.integration.processes import gone
from worker.executor import Said
from worker.launch import Zygote, launch_zygote
from worker.messages import (
    Died,
    End,
    Failed,
    GaveUp,
    Holding,
    Lines,
    Measured,
    Members,
    Ready,
    Run,
    Saved,
    Succeeded,
    Unfit,
    encode,
    packet,
)
from worker.numerics import needed_by
from worker.slots import MAX_FAILED_STARTS, REST, Limits, Slots
from worker.words import Wish

pytestmark = pytest.mark.asyncio(loop_scope="module")

Outcome = End | Died

MEMORY = 256 << 20


class Bench:
    """Slots whose orders wait for a free one, or for each other in a slot's pipe; and what was heard of each task."""

    def __init__(self, slots: Slots, directory: Path) -> None:
        slots.host = self
        self.slots = slots
        self.directory = directory
        self.points: dict[int, list[Point]] = {}
        self.lines: dict[int, list[LogLine]] = {}
        self.steps: dict[int, list[Holding | Saved | Ready]] = {}
        self.outcomes: dict[int, asyncio.Future[Outcome]] = {}
        self.pids: dict[int, int] = {}
        self.given: dict[int, list[int]] = {}
        self.back: list[int] = []
        self.news = asyncio.Event()
        self._waiting: list[int] = []
        self._packets: dict[int, bytes] = {}
        self._warm: set[int] = set()

    # --- the slots' host

    def slot_came(self, number: int, pid: int) -> None:
        self.pids[number], self.given[number] = pid, []
        self._fill()

    def slot_has(self, number: int, pid: int) -> None:
        self.pids[number] = pid
        self.news.set()

    def slot_said(self, number: int, messages: Said) -> None:
        given = self.given[number]
        for message in messages:
            if isinstance(message, Measured):
                self.points[given[0]].extend(message.points)
            elif isinstance(message, Lines):
                if given:
                    self.lines[given[0]].extend(message.lines)
            elif isinstance(message, Holding | Saved | Ready):
                self.steps.setdefault(given[0], []).append(message)
            else:
                self.outcomes[given.pop(0)].set_result(message)
        self._fill()

    def slot_gone(self, number: int, waiting: int, died: Died) -> None:
        given = self.given.pop(number)
        self.back = given[len(given) - waiting :]
        for token in given[: len(given) - waiting]:
            self.outcomes[token].set_result(died)
        self._waiting = self.back + self._waiting
        self._fill()

    def _fill(self) -> None:
        for number, given in self.given.items():
            if not given and self._waiting:
                self.give(number, self._waiting.pop(0))
        self.news.set()

    # --- what a test does

    def make(self, operator: str, inputs: Sequence[Path] = (), saved: str = "", **params: Any) -> int:
        token = len(self.outcomes) + 1
        self.points[token], self.lines[token] = [], []
        self.outcomes[token] = asyncio.get_running_loop().create_future()
        name = operator if "." in operator else f"probe.{operator}@1"
        if needed_by(name):
            self._warm.add(token)
        run = Run(name, params, tuple(map(str, inputs)), 1, str(self.directory), saved)
        self._packets[token] = packet(token, encode(run))
        return token

    def give(self, number: int, *tokens: int) -> int:
        """Puts orders into a slot's pipe; how many there was room for."""
        packets, warm = [self._packets[token] for token in tokens], not self._warm.isdisjoint(tokens)
        taken = self.slots.give(number, packets, warm)
        self.given[number] += tokens[:taken]
        return taken

    def take_back(self, number: int) -> list[int]:
        given = self.given[number]
        at = len(given) - self.slots.take_back(number)
        self.given[number] = given[:at]
        return given[at:]

    def start(self, operator: str, inputs: Sequence[Path] = (), **params: Any) -> tuple[int, asyncio.Future[Outcome]]:
        token = self.make(operator, inputs, **params)
        self._waiting.append(token)
        self._fill()
        return token, self.outcomes[token]

    async def run(self, operator: str, inputs: Sequence[Path] = (), **params: Any) -> Outcome:
        return await self.start(operator, inputs, **params)[1]

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.news.clear()
            await self.news.wait()

    async def begun(self, token: int) -> int:
        """Waits for the first point of a task; the slot that it runs in."""
        await self.until(lambda: bool(self.points[token]))
        return self.slot_of(token)

    def slot_of(self, token: int) -> int:
        return next(number for number, given in self.given.items() if given[:1] == [token])

    def said(self, token: int) -> list[tuple[str, str]]:
        return [(line.stream, line.text) for line in self.lines[token]]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory, probes: None) -> AsyncIterator[Bench]:
    slots = Slots(Limits(slots=2, memory=MEMORY, gpus=2), launch_zygote())
    yield Bench(slots, tmp_path_factory.mktemp("slots"))
    await slots.close()


async def test_a_task_runs_and_leaves_its_outputs(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "input"
    source.write_bytes(b"bytes in")
    done = await bench.run("echo", [source], a=1, b=1.0, c=[None, True, "x"])
    assert isinstance(done, Succeeded)
    (path, ref), *rest = done.outputs
    assert not rest
    assert Path(path).read_bytes() == b"bytes in"
    assert ref.size == 8
    assert {name: done.summary[name] for name in "abc"} == {"a": 1, "b": 1.0, "c": [None, True, "x"]}
    assert isinstance(done.summary["a"], int)
    assert isinstance(done.summary["b"], float)


async def test_everything_a_task_says_is_heard_before_its_end(bench: Bench) -> None:
    token, task = bench.start("chatter")
    assert isinstance(await task, Succeeded)
    said = bench.said(token)
    for line in (
        ("stdout", "printed"),
        ("stderr", "to stderr"),
        ("stdout", "from C"),
        ("stderr", "raw bytes \\xff"),
        ("warning", "probe: logged"),
    ):
        assert line in said
    assert any(stream == "stdout" and text.startswith("no line end") for stream, text in said)
    assert any(stream == "warning" and "UserWarning: mind the gap" in text for stream, text in said)
    assert [(point.series, point.step) for point in bench.points[token]] == [("loss", 0), ("loss", 1)]


async def test_a_warning_is_given_again_to_the_next_task_of_the_process(bench: Bench) -> None:
    for _ in range(3):
        token, task = bench.start("chatter")
        await task
        assert any("mind the gap" in text for _, text in bench.said(token))


async def test_an_exception_is_told_with_its_traceback_and_the_slot_lives(bench: Bench) -> None:
    token, task = bench.start("fail")
    done = await task
    assert isinstance(done, Failed)
    assert done.cause is Cause.EXCEPTION
    assert (done.reason, done.message) == ("ValueError", "ValueError: this cannot be\nsecond line")
    assert any("worker_probes.py" in text for _, text in bench.said(token))
    again = await bench.run("echo")
    assert isinstance(again, Succeeded)


async def test_bad_input_keeps_its_reason(bench: Bench) -> None:
    done = await bench.run("bad_input")
    assert isinstance(done, Failed)
    assert (done.cause, done.reason, done.message) == (Cause.BAD_INPUT, "CSV_MALFORMED", "line 3 is broken")


async def test_an_unknown_operator_fails_the_task_alone(bench: Bench) -> None:
    done = await bench.run("nothing_like_it")
    assert isinstance(done, Failed)
    assert done.reason == "UNKNOWN_OPERATOR"


async def test_a_summary_that_is_not_plain_fails_the_task_alone(bench: Bench) -> None:
    done = await bench.run("odd_summary")
    assert isinstance(done, Failed)
    assert done.cause is Cause.EXCEPTION


async def test_a_segfault_is_a_signal_and_its_last_words_are_heard(bench: Bench) -> None:
    token, task = bench.start("segfault")
    done = await task
    assert isinstance(done, Died)
    assert (done.cause, done.reason) == (Cause.SIGNAL, "SIGSEGV")
    assert ("stdout", "last words") in bench.said(token)
    assert any("Segmentation fault" in text for _, text in bench.said(token))


async def test_a_task_that_leaves_is_told_with_its_exit_code(bench: Bench) -> None:
    done = await bench.run("leave")
    assert isinstance(done, Died)
    assert (done.cause, done.reason) == (Cause.SIGNAL, "EXITED")
    assert "exit code 3" in done.message


async def test_sys_exit_in_a_task_is_an_exception(bench: Bench) -> None:
    done = await bench.run("system_exit")
    assert isinstance(done, Failed)
    assert done.reason == "SystemExit"


async def test_a_task_that_closes_its_slots_socket_ends(bench: Bench) -> None:
    assert isinstance(await bench.run("close_everything"), Died)


async def test_the_memory_limit_is_out_of_memory_and_not_a_death(bench: Bench) -> None:
    done = await bench.run("greedy")
    assert isinstance(done, Failed)
    assert (done.cause, done.reason) == (Cause.OUT_OF_MEMORY, "MEMORY_LIMIT")


async def test_the_memory_limit_counts_what_the_task_allocates_alone(bench: Bench) -> None:
    assert isinstance(await bench.run("roomy", bytes=MEMORY // 2), Succeeded)
    done = await bench.run("roomy", bytes=MEMORY * 2)
    assert isinstance(done, Failed)


async def test_a_sleeping_task_is_stopped(bench: Bench) -> None:
    token, task = bench.start("sleep")
    bench.slots.stop(await bench.begun(token))
    assert isinstance(await task, Died)


async def test_an_endless_loop_that_ignores_sigterm_is_killed(bench: Bench) -> None:
    token, task = bench.start("stubborn")
    bench.slots.stop(await bench.begun(token))
    done = await task
    assert isinstance(done, Died)
    assert done.reason == "SIGKILL"


async def test_what_a_task_started_ends_with_it(bench: Bench) -> None:
    token, task = bench.start("with_child")
    number = await bench.begun(token)
    child = int(bench.points[token][0].value)
    bench.slots.stop(number)
    await task
    await gone(child)


async def test_a_killed_slot_is_a_signal_and_the_next_task_runs(bench: Bench) -> None:
    token, task = bench.start("sleep")
    os.kill(bench.pids[await bench.begun(token)], signal.SIGKILL)
    done = await task
    assert isinstance(done, Died)
    assert (done.cause, done.reason) == (Cause.SIGNAL, "SIGKILL")
    assert isinstance(await bench.run("echo"), Succeeded)


async def test_slots_do_not_share_random_numbers(bench: Bench) -> None:
    first, second = await asyncio.gather(bench.run("draw"), bench.run("draw"))
    assert isinstance(first, Succeeded)
    assert isinstance(second, Succeeded)
    assert first.summary["python"] != second.summary["python"]
    assert first.summary["numpy"] != second.summary["numpy"]


async def test_each_slot_sees_its_own_gpus_and_one_thread_by_default(bench: Bench) -> None:
    seen = await asyncio.gather(
        *(bench.run("environment", CUDA_VISIBLE_DEVICES=None, OMP_NUM_THREADS=None) for _ in range(2))
    )
    summaries = [done.summary for done in seen if isinstance(done, Succeeded)]
    assert {summary["CUDA_VISIBLE_DEVICES"] for summary in summaries} == {"0", "1"}
    assert {summary["OMP_NUM_THREADS"] for summary in summaries} == {"1"}


async def test_a_held_task_waits_and_loses_nothing(bench: Bench) -> None:
    token, task = bench.start("flood", points=50_000)
    number = await bench.begun(token)
    bench.slots.pause(number)
    before = len(bench.points[token])
    assert isinstance(await bench.run("echo"), Succeeded)  # the other slot goes on
    assert len(bench.points[token]) == before
    assert not task.done()
    bench.slots.resume(number)
    assert isinstance(await task, Succeeded)
    assert [point.step for point in bench.points[token]] == list(range(50_000))


async def test_what_waits_in_a_pipe_is_taken_back_and_has_not_begun(bench: Bench) -> None:
    token, task = bench.start("sleep")
    number = await bench.begun(token)
    waiting = [bench.make("echo", a=at) for at in range(5)]
    assert bench.give(number, *waiting) == 5
    assert bench.take_back(number) == waiting
    assert bench.take_back(number) == []
    assert bench.give(number, *waiting[3:]) == 2
    bench.slots.stop(number)
    assert isinstance(await task, Died)
    assert bench.back == waiting[3:]
    for token in waiting[3:]:
        done = await bench.outcomes[token]
        assert isinstance(done, Succeeded)
        assert done.summary["a"] == waiting.index(token)


async def test_a_pipe_takes_what_it_has_room_for(bench: Bench) -> None:
    token, _ = bench.start("sleep")
    number = await bench.begun(token)
    many = [bench.make("echo", text="x" * 10_000) for _ in range(200)]
    taken = bench.give(number, *many)
    assert 0 < taken < 200
    assert bench.take_back(number) == many[:taken]
    bench.slots.stop(number)
    await bench.outcomes[token]


async def test_orders_of_one_pipe_run_in_order_and_each_is_told_with_its_own_prints(bench: Bench) -> None:
    token, task = bench.start("sleep")
    number = await bench.begun(token)
    other = next(slot for slot in bench.given if slot != number)
    tokens = [bench.make(("say", "echo", "hush")[at % 3], text=f"text {at}", times=at % 5) for at in range(300)]
    bench.give(other, *tokens[:100])
    for at in range(100, 300, 50):
        await bench.outcomes[tokens[at - 100]]
        bench.give(other, *tokens[at : at + 50])
    for at, token in enumerate(tokens):
        assert isinstance(await bench.outcomes[token], Succeeded)
        said = [("stdout", f"text {at}"), ("stderr", f"text {at}")] * (at % 5) if at % 3 == 0 else []
        assert sorted(bench.said(token)) == sorted(said)
    bench.slots.stop(number)
    await task


async def test_a_killed_slot_tells_what_ran_and_what_waited(bench: Bench) -> None:
    token, task = bench.start("sleep")
    number = await bench.begun(token)
    waiting = [bench.make("echo") for _ in range(20)]
    bench.give(number, *waiting)
    os.kill(bench.pids[number], signal.SIGKILL)
    assert isinstance(await task, Died)
    assert bench.back == waiting
    for other in waiting:
        assert isinstance(await bench.outcomes[other], Succeeded)


async def test_what_waits_behind_a_held_task_can_be_taken_back(bench: Bench) -> None:
    token, task = bench.start("flood", points=20_000)
    number = await bench.begun(token)
    bench.slots.pause(number)
    waiting = [bench.make("echo") for _ in range(3)]
    bench.give(number, *waiting)
    assert bench.take_back(number) == waiting
    bench.give(number, *waiting)
    bench.slots.resume(number)
    assert isinstance(await task, Succeeded)
    assert len(bench.points[token]) == 20_000
    for other in waiting:
        assert isinstance(await bench.outcomes[other], Succeeded)


async def test_a_task_is_paused_between_two_steps_and_goes_on(bench: Bench) -> None:
    token, task = bench.start("stepper", steps=30, seconds=0.01)
    number = await bench.begun(token)
    bench.slots.steer(number, token, Wish.HOLD, 0)
    await bench.until(lambda: Holding() in bench.steps.get(token, []))
    before = len(bench.points[token])
    bench.slots.steer(number, token, Wish.HOLD, 1)  # it saves, and holds its place
    await bench.until(lambda: [type(said) for said in bench.steps[token][-2:]] == [Saved, Holding])
    saved = bench.steps[token][-2]
    assert len(bench.points[token]) == before
    bench.slots.steer(number, token, Wish.GO_ON, 1)
    done = await task
    assert isinstance(done, Succeeded)
    assert done.summary["total"] == sum(range(30))
    assert [said for said in bench.steps[token] if said != Holding()] == [saved]


async def test_what_was_saved_is_gone_on_from_and_the_result_is_the_same(bench: Bench) -> None:
    token, task = bench.start("stepper", steps=1_000_000, seconds=0.001)
    number = await bench.begun(token)
    bench.slots.steer(number, token, Wish.GO_ON, 1)
    await bench.until(lambda: token in bench.steps)
    (saved,) = bench.steps[token]
    assert isinstance(saved, Saved)
    bench.slots.steer(number, token, Wish.PART, 1)
    done = await task
    assert isinstance(done, GaveUp)
    assert done.saved is not None
    assert Path(done.saved[0]).stat().st_size == done.saved[1].size
    for path in (saved.path, done.saved[0]):
        resumed = await bench.run("stepper", saved=path, steps=100)
        assert isinstance(resumed, Succeeded)
        assert resumed.summary["begun"] > 0
    whole = await bench.run("stepper", steps=200)
    part = await bench.run("stepper", saved=saved.path, steps=200)
    assert isinstance(whole, Succeeded)
    assert isinstance(part, Succeeded)
    assert whole.outputs[0][1] == part.outputs[0][1]


async def test_a_task_that_is_to_end_early_does_so_once_it_goes_on(bench: Bench) -> None:
    token, task = bench.start("stepper", steps=1_000_000, seconds=0.001)
    number = await bench.begun(token)
    bench.slots.steer(number, token, Wish.HOLD, 0)
    await bench.until(lambda: Holding() in bench.steps.get(token, []))
    taken = len(bench.points[token])
    bench.slots.steer(number, token, Wish.END, 1)  # it saves first
    done = await task
    assert isinstance(done, Succeeded)
    assert done.summary["total"] == sum(range(taken))
    assert isinstance(bench.steps[token][-1], Saved)


async def test_what_is_wanted_of_one_task_is_not_wanted_of_the_next(bench: Bench) -> None:
    token, task = bench.start("stepper", steps=20, seconds=0.005)
    number = await bench.begun(token)
    behind = bench.make("stepper", steps=5)
    bench.give(number, behind)
    bench.slots.steer(number, token + 1000, Wish.HOLD, 3)
    assert isinstance(await task, Succeeded)
    assert isinstance(await bench.outcomes[behind], Succeeded)
    assert token not in bench.steps


async def test_a_task_that_holds_its_place_can_be_stopped(bench: Bench) -> None:
    token, task = bench.start("stepper", steps=1_000_000)
    number = await bench.begun(token)
    bench.slots.steer(number, token, Wish.HOLD, 0)
    await bench.until(lambda: token in bench.steps)
    bench.slots.stop(number)
    assert isinstance(await task, Died)


async def test_a_task_that_never_looks_wakes_up_to_all_that_is_wanted_by_then(bench: Bench) -> None:
    token, task = bench.start("sleep")
    number = await bench.begun(token)
    for saves in range(5000):  # more than the slot's socket has room for
        bench.slots.steer(number, token, Wish.HOLD, saves)
    bench.slots.stop(number)
    assert isinstance(await task, Died)


async def test_a_member_of_a_gang_waits_for_the_roster(bench: Bench) -> None:
    token, task = bench.start("meeting", address="127.0.0.1:7")
    await bench.until(lambda: token in bench.steps)
    assert bench.steps[token] == [Ready("127.0.0.1:7")]
    bench.slots.steer(bench.slot_of(token), token, Wish.GO_ON, 0)
    addresses = tuple(f"127.0.0.{at}:{at}" for at in range(100))
    bench.slots.tell(bench.slot_of(token), Members(7, addresses))
    done = await task
    assert isinstance(done, Succeeded)
    assert (done.summary["place"], done.summary["addresses"]) == (7, list(addresses))


async def test_a_process_that_does_not_suit_a_task_ends_and_another_does(tmp_path: Path, probes: None) -> None:
    slots = Slots(Limits(slots=1), launch_zygote())
    bench = Bench(slots, tmp_path)
    first = await bench.run("fresh")
    assert isinstance(first, Succeeded)
    assert isinstance(await bench.run("fresh"), Unfit)
    again = await bench.run("fresh")
    assert isinstance(again, Succeeded)
    assert again.summary["pid"] != first.summary["pid"]
    await slots.close()


async def test_a_process_that_has_loaded_what_takes_long_stays_for_longer(tmp_path: Path, probes: None) -> None:
    slots = Slots(Limits(slots=2, rest=REST * 2), launch_zygote())
    bench = Bench(slots, tmp_path)
    await bench.until(lambda: len(bench.given) == 2)
    pids = {}
    for number, name in enumerate(("json", "tensorflow")):
        token = bench.make("load", name=name)
        bench.give(number, token)
        assert isinstance(await bench.outcomes[token], Succeeded)
        pids[name] = bench.pids[number]
    await bench.until(lambda: bench.pids[0] == 0)
    assert bench.pids[1] == pids["tensorflow"]
    await bench.until(lambda: bench.pids[1] == 0)
    await slots.close()


async def test_a_look_between_two_steps_is_cheap(bench: Bench) -> None:
    done = await bench.run("looks", tries=20)
    assert isinstance(done, Succeeded)
    print(f"a look between two steps takes {float(str(done.summary['seconds'])) * 1e9:.0f} ns")


async def test_a_dead_zygote_is_replaced(bench: Bench) -> None:
    token, task = bench.start("sleep")
    zygote, pid = bench.slots.pids()[0], bench.pids[await bench.begun(token)]
    os.kill(zygote, signal.SIGKILL)
    done = await task
    assert isinstance(done, Died)
    assert done.reason == "ZYGOTE_LOST"
    await gone(pid)
    assert isinstance(await bench.run("echo"), Succeeded)
    assert bench.slots.pids()[0] != zygote


async def test_a_slot_retires_after_its_tasks_and_closing_leaves_no_process(tmp_path: Path, probes: None) -> None:
    slots = Slots(Limits(slots=1, max_tasks=2), launch_zygote())
    bench = Bench(slots, tmp_path)
    pids = []
    for _ in range(5):
        done = await bench.run("echo")
        assert isinstance(done, Succeeded)
        pids.append(done.summary["pid"])
    assert len(set(pids)) == 3
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 1]
    left = slots.pids()
    await slots.close()
    for pid in left:
        await gone(pid)


async def test_a_slot_that_retires_leaves_what_waits_in_its_pipe_to_the_next(tmp_path: Path, probes: None) -> None:
    slots = Slots(Limits(slots=1, max_tasks=3), launch_zygote())
    bench = Bench(slots, tmp_path)
    await bench.until(lambda: bool(bench.given))
    tokens = [bench.make("echo", at=at) for at in range(10)]
    bench.give(0, *tokens)
    summaries = []
    for token in tokens:
        done = await bench.outcomes[token]
        assert isinstance(done, Succeeded)
        summaries.append(done.summary)
    assert [summary["at"] for summary in summaries] == list(range(10)), "none is lost, none runs twice"
    pids = [summary["pid"] for summary in summaries]
    assert max(pids.count(pid) for pid in pids) == 3
    await slots.close()


async def test_a_zygote_that_never_comes_up_is_an_error_and_not_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[Zygote] = []

    def launch() -> Zygote:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen([sys.executable, "-c", ""], pass_fds=[theirs.fileno()])
        launched.append(Zygote(process, ours))
        return launched[-1]

    monkeypatch.setattr("worker.slots.launch_zygote", launch)
    slots = Slots(Limits(slots=1), launch())
    assert "cannot be started" in await slots.broken
    assert len(launched) == MAX_FAILED_STARTS
    for zygote in launched:
        zygote.process.wait()
