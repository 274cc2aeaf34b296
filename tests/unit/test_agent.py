"""The agent, with slots of a few lines in the place of processes."""

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from tensorfleet.errors import NotFound
from tensorfleet.model import Cause, Ref, Resources
from worker import agent as module
from worker.agent import Agent, Options
from worker.messages import TOKEN_BYTES, Blob, GaveUp, Order, OrderInput, Run, Saved, Stored, Succeeded, Work, to_slot
from worker.protocol import Identity
from worker.slots import Host, Slots
from worker.words import Wish


class Pipes:
    """Slots whose orders a test takes."""

    host: Host

    def __init__(self) -> None:
        self.pipe: list[bytes] = []
        self.stopped: list[int] = []
        self.steered: list[tuple[int, int, Wish, int]] = []

    def give(self, number: int, packets: Sequence[bytes], warm: bool = True) -> int:
        self.pipe += packets
        return len(packets)

    def take_back(self, number: int) -> int:
        count = len(self.pipe)
        self.pipe.clear()
        return count

    def stop(self, number: int) -> None:
        self.stopped.append(number)

    def steer(self, number: int, token: int, wish: Wish, saves: int) -> None:
        self.steered.append((number, token, wish, saves))

    def tokens(self) -> list[int]:
        return [int.from_bytes(packet[:TOKEN_BYTES], "big") for packet in self.pipe]

    def run(self, at: int) -> Run | Stored:
        return to_slot.decode(self.pipe[at][TOKEN_BYTES:])


def made(tmp_path: Path) -> tuple[Agent, Pipes]:
    who = Identity(worker_id="w", incarnation="a", slots=1, credit=2, resources=Resources())
    pipes = Pipes()
    agent = Agent(Options(servers=("127.0.0.1:1",), home=tmp_path), who, cast(Slots, pipes))
    (tmp_path / "scratch" / str(module.os.getpid())).mkdir(parents=True)
    agent.act(agent.state.welcome((), 0.0))
    agent.slot_came(0, 77)
    return agent, pipes


async def test_orders_go_into_the_pipe_and_what_is_cancelled_comes_out_of_it(tmp_path: Path) -> None:
    agent, pipes = made(tmp_path)
    work = Work(operator="a.b@1", params={"a": 1})
    agent.act(agent.state.assign([Order(token, work) for token in (1, 2, 3)], 0.0))
    assert pipes.tokens() == [1, 2, 3]
    assert pipes.run(0) == pipes.run(2)
    del pipes.pipe[0]
    agent.act(agent.state.cancel([2], "changed my mind", 0.0))
    assert pipes.tokens() == [3]
    assert [(ended.token, ended.ending.cause) for ended in agent.state.collect().ended] == [(2, Cause.CANCELLED)]
    assert pipes.stopped == []


async def test_a_long_order_goes_by_a_file(tmp_path: Path) -> None:
    agent, pipes = made(tmp_path)
    text = "x" * module.LONGEST_RUN
    agent.act(agent.state.assign([Order(1, Work(operator="a.b@1", params={"text": text}))], 0.0))
    stored = pipes.run(0)
    assert isinstance(stored, Stored)
    run = to_slot.decode(Path(stored.path).read_bytes())
    assert isinstance(run, Run)
    assert run.params == {"text": text}
    assert len(pipes.pipe[0]) < 1000
    agent.act(agent.state.welcome([1], 0.0))
    assert not Path(stored.path).exists()


async def test_inputs_are_fetched_before_and_outputs_put_away_after(tmp_path: Path) -> None:
    agent, pipes = made(tmp_path)
    given = OrderInput(Ref("ab", 3), b"abc")
    agent.act(agent.state.assign([Order(1, Work(operator="a.b@1", inputs=(given,)))], 0.0))
    while not pipes.pipe:
        await asyncio.sleep(0)
    run = pipes.run(0)
    assert isinstance(run, Run)
    assert Path(run.inputs[0]).read_bytes() == b"abc"
    made_here = Path(run.inputs[0]).with_name("0")
    made_here.write_bytes(b"made")
    pipes.pipe.clear()
    agent.slot_said(0, [Succeeded(0.5, None, ((str(made_here), Ref("cd", 4)),))])
    while not (batch := agent.state.collect()):
        await asyncio.sleep(0)
    assert [blob.inline for blob in batch.ended[0].ending.outputs] == [b"made"]
    assert not made_here.parent.exists()


async def test_an_attempt_that_is_stopped_before_its_inputs_come_leaves_nothing(tmp_path: Path) -> None:
    agent, pipes = made(tmp_path)
    wanted = OrderInput(Ref("ab" * 32, 100_000))
    agent.act(agent.state.assign([Order(token, Work(operator="a.b@1", inputs=(wanted,))) for token in (1, 2)], 0.0))
    agent.act(agent.state.cancel([1], "before its first step", 0.0))
    for _ in range(5):
        await asyncio.sleep(0)
    agent.act(agent.state.recall([2], 0.0))
    for _ in range(5):
        await asyncio.sleep(0)
    batch = agent.state.collect()
    assert [ended.token for ended in batch.ended] == [1]
    assert batch.released == [2]
    assert pipes.pipe == []
    assert list((tmp_path / "scratch").glob("*/*")) == []


async def test_what_runs_too_long_is_stopped(tmp_path: Path) -> None:
    agent, pipes = made(tmp_path)
    agent.act(agent.state.assign([Order(1, Work(operator="a.b@1", timeout=3600.0))], 0.0))
    agent.act(agent.state.assign([Order(2, Work(operator="a.b@1", timeout=0.01))], 0.0))
    del pipes.pipe[0]
    agent.slot_said(0, [Succeeded(0.5)])
    del pipes.pipe[0]
    while not pipes.stopped:
        await asyncio.sleep(0.001)


async def test_an_attempt_goes_on_from_what_was_saved_or_without_it_where_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, pipes = made(tmp_path)

    async def gone(wanted: OrderInput, place: Path) -> Path:
        if wanted.ref.digest == "gone":
            raise NotFound("it was deleted")
        place.write_bytes(wanted.inline)
        return place

    monkeypatch.setattr(agent._cache, "fetch", gone)
    for token, saved in ((1, OrderInput(Ref("cd", 5), b"saved")), (2, OrderInput(Ref("gone", 5)))):
        agent.act(agent.state.assign([Order(token, Work(operator="a.b@1", saved=saved))], 0.0))
    while len(pipes.pipe) < 2:
        await asyncio.sleep(0)
    first, second = pipes.run(0), pipes.run(1)
    assert isinstance(first, Run)
    assert isinstance(second, Run)
    assert Path(first.saved).read_bytes() == b"saved"
    assert second.saved == ""


async def test_what_is_saved_is_kept_in_its_order_and_told_with_the_end_of_one_that_gives_up(tmp_path: Path) -> None:
    agent, pipes = made(tmp_path)
    agent.act(agent.state.assign([Order(1, Work(operator="a.b@1"))], 0.0))
    agent.act(agent.state.checkpoint([1]))
    assert pipes.steered == [(0, 1, Wish.GO_ON, 1)]
    for number in (1, 2):
        (tmp_path / f"saved-{number}").write_bytes(b"x" * number)
        agent.slot_said(0, [Saved(str(tmp_path / f"saved-{number}"), Ref(f"{number}", number))])
    while agent._keeping:
        await asyncio.sleep(0)
    assert [blob.inline for _, blob in agent.state.collect().saved] == [b"xx"]
    assert not (tmp_path / "saved-1").exists()
    (tmp_path / "last").write_bytes(b"last")
    agent.slot_said(0, [GaveUp((str(tmp_path / "last"), Ref("ef", 4)))])
    while not (batch := agent.state.collect()):
        await asyncio.sleep(0)
    ending = batch.ended[0].ending
    assert ending.saved is not None
    assert (ending.gave_up, ending.saved.inline, ending.cause) == (True, b"last", None)


async def test_what_is_saved_faster_than_it_can_be_put_away_is_put_away_in_its_last_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, _ = made(tmp_path)
    put: list[int] = []
    slow = asyncio.Event()

    async def slowly(path: Path, ref: Ref) -> Blob:
        put.append(ref.size)
        await slow.wait()
        return Blob(ref, path.read_bytes())

    monkeypatch.setattr(agent._cache, "put", slowly)
    agent.act(agent.state.assign([Order(1, Work(operator="a.b@1"))], 0.0))
    for number in range(1, 6):
        (tmp_path / f"saved-{number}").write_bytes(b"x" * number)
        agent.slot_said(0, [Saved(str(tmp_path / f"saved-{number}"), Ref(f"{number}", number))])
        await asyncio.sleep(0)
    slow.set()
    while agent._keeping:
        await asyncio.sleep(0)
    assert put == [1, 5]
    assert [blob.inline for _, blob in agent.state.collect().saved] == [b"xxxxx"]
    assert not list(tmp_path.glob("saved-*"))


async def test_one_that_gives_up_its_place_does_so_where_what_it_saved_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, _ = made(tmp_path)

    async def refused(path: Path, ref: Ref) -> None:
        raise OSError(errno.ENOSPC, "no room")

    looked: list[None] = []
    monkeypatch.setattr(agent._cache, "put", refused)
    monkeypatch.setattr(agent, "_look_at_disk", lambda: looked.append(None))
    agent.act(agent.state.assign([Order(1, Work(operator="a.b@1"))], 0.0))
    (tmp_path / "last").write_bytes(b"last")
    agent.slot_said(0, [GaveUp((str(tmp_path / "last"), Ref("ef", 4)), 2.0)])
    while not (batch := agent.state.collect()):
        await asyncio.sleep(0)
    ending = batch.ended[0].ending
    assert (ending.gave_up, ending.saved, ending.cause) == (True, None, None)
    assert ending.duration >= 2.0
    assert looked


async def test_what_cannot_be_kept_costs_a_checkpoint_and_not_the_task(tmp_path: Path) -> None:
    agent, _ = made(tmp_path)
    agent.act(agent.state.assign([Order(1, Work(operator="a.b@1"))], 0.0))
    agent.slot_said(0, [Saved(str(tmp_path / "missing"), Ref("cd", 5))])
    while agent._keeping:
        await asyncio.sleep(0)
    assert not agent.state.collect().saved
    agent.slot_said(0, [Succeeded(0.5)])
    assert agent.state.collect().succeeded == [1]
