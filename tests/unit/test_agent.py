"""The agent, with slots of a few lines in the place of processes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from tensorfleet.model import Cause, Ref, Resources
from worker import agent as module
from worker.agent import Agent, Options
from worker.messages import TOKEN_BYTES, Order, OrderInput, Run, Stored, Succeeded, Work, to_slot
from worker.protocol import Identity
from worker.slots import Host, Slots


class Pipes:
    """Slots whose orders a test takes."""

    host: Host

    def __init__(self) -> None:
        self.pipe: list[bytes] = []
        self.stopped: list[int] = []

    def give(self, number: int, packets: Sequence[bytes], warm: bool = True) -> int:
        self.pipe += packets
        return len(packets)

    def take_back(self, number: int) -> int:
        count = len(self.pipe)
        self.pipe.clear()
        return count

    def stop(self, number: int) -> None:
        self.stopped.append(number)

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
