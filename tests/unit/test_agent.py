"""The agent, with slots that are never reached."""

import asyncio
from pathlib import Path
from typing import Any, cast

from tensorfleet.model import Cause, Resources
from worker.agent import Agent, Options
from worker.messages import Order
from worker.protocol import Identity
from worker.slots import Slots


class NoSlots:
    """Every slot is always taken."""

    def stop(self, token: int) -> bool:
        return False

    async def run(self, *given: Any) -> Any:
        await asyncio.Event().wait()


async def test_an_attempt_that_is_stopped_before_its_first_step_gives_its_slot_back(tmp_path: Path) -> None:
    who = Identity(worker_id="w", incarnation="a", slots=1, credit=2, resources=Resources())
    agent = Agent(Options(servers=("127.0.0.1:1",), home=tmp_path), who, cast(Slots, NoSlots()))
    agent.state.welcome((), ())
    agent.act(agent.state.assign([Order(token=1, operator="a.b@1"), Order(token=2, operator="a.b@1")]))
    agent.act(agent.state.cancel([1], "changed my mind"))
    while not (batch := agent.state.collect()):
        await asyncio.sleep(0)
    assert [(ended.token, ended.ending.cause) for ended in batch.ended] == [(1, Cause.CANCELLED)]
    assert agent.state.busy == {2}
    agent.act(agent.state.cancel([2], "and again"))
    while agent.state.busy:
        await asyncio.sleep(0)
