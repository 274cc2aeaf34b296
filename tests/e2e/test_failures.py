"""Whatever is killed, stopped, cut off, filled up or damaged: the same model, every task once, no event lost, nothing
left behind. `make chaos` runs more of these plans; see `tests/campaign`.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tensorfleet.model import Cause
from tensorfleet.sdk.events import AttemptFailed, TasksSucceeded
from tensorfleet.testing.faults import Fault, Plan, Setting, Strike
from tests.campaign.campaign import Campaign, lacking, plans
from tests.servers.running import required

pytestmark = [pytest.mark.slow, pytest.mark.stores("local")]  # a plan's setting says what it runs on
SEEDS = range(40)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def campaign() -> AsyncIterator[Campaign]:
    async with Campaign() as campaign:
        yield campaign


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("plan", plans(SEEDS), ids=lambda plan: f"{plan.setting}-{plan.seed}")
async def test_a_plan_of_faults_changes_nothing(campaign: Campaign, plan: Plan) -> None:
    if plan.setting in (Setting.GRIDFS, Setting.CLUSTER):
        required()
    if why := lacking(plan.setting):
        pytest.skip(why)
    await campaign.run(plan)


def by_hand(setting: Setting, *strikes: Strike) -> Plan:
    return Plan(seed=-1, setting=setting, random_state=17, strikes=strikes, drops=())


async def test_a_worker_that_was_given_up_comes_back_and_its_late_result_is_refused() -> None:
    async with Campaign() as campaign:
        stopped = Strike(after=8, fault=Fault.STOP_AGENT, victim=0.0, lasts=4.0)
        story = await campaign.run(by_hand(Setting.NEAR, stopped))
        hellos = (campaign.cluster.logs / "orchestrator-1.log").read_text().count('"worker": "worker-1"')
    lost = [event for event in story.events if isinstance(event, AttemptFailed)]
    assert (Cause.LOST_WORKER, "worker-1") in {(event.attempt.cause, event.attempt.worker) for event in lost}
    assert hellos > 1, "it never came back"
    succeeded = {
        (event.stage, index): token
        for event in story.events
        if isinstance(event, TasksSucceeded)
        for index, token in zip(event.indexes, event.tokens, strict=True)
    }
    for event in lost:
        assert succeeded[event.stage, event.index] != event.attempt.token


async def test_work_goes_on_over_a_stream_that_was_cut() -> None:
    async with Campaign(grace=60.0) as campaign:
        cuts = [Strike(after=after, fault=Fault.CUT_STREAM, victim=after / 30, lasts=0.5) for after in (6, 9, 15, 21)]
        story = await campaign.run(by_hand(Setting.NEAR, *cuts))
        log = (campaign.cluster.logs / "orchestrator-1.log").read_text()
    assert log.count('"event": "session over"') >= 2
    assert not [event for event in story.events if isinstance(event, AttemptFailed)]


@pytest.mark.skipif(bool(lacking(Setting.FAR)), reason=lacking(Setting.FAR))
async def test_a_worker_that_does_not_see_the_store_has_its_bytes_from_the_orchestrator() -> None:
    async with Campaign() as campaign:
        await campaign.run(by_hand(Setting.FAR))
        cached = [list((worker.home / "cache").glob("??/*")) for worker in campaign.cluster.workers]
    assert not cached[0], "this one sees the store"
    assert cached[1]
    assert cached[2]
