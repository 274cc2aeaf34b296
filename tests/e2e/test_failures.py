"""Whatever is killed, stopped, cut off, filled up or damaged: the same model, every task once, no event lost, nothing
left behind. `make chaos` runs more of these plans; see `tests/campaign`.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tensorfleet.testing.faults import Plan, Setting
from tests.campaign.campaign import Campaign, lacking, plans
from tests.servers.running import required

pytestmark = pytest.mark.stores("local")  # It has servers of its own.

SEEDS = range(40)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def campaign() -> AsyncIterator[Campaign]:
    async with Campaign() as campaign:
        yield campaign


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("plan", plans(SEEDS), ids=lambda plan: f"{plan.setting}-{plan.seed}")
async def test_a_plan_of_faults_changes_nothing(campaign: Campaign, plan: Plan) -> None:
    if plan.setting in (Setting.GRIDFS, Setting.CLUSTER):
        required()
    if why := lacking(plan.setting):
        pytest.skip(why)
    await campaign.run(plan)
