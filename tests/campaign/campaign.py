"""Plans one after another, over fleets that are kept as long as they are sound.

The rule: plans of one setting share a fleet, since starting one takes longer than a plan; after a plan that failed
there is a new one, and what the old one logged is kept.
"""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorfleet.testing.faults import Plan, Setting, plan
from tests.campaign.cluster import Cluster
from tests.campaign.machines import can_mount
from tests.campaign.run import TASKS, Story, run

ROOT = Path(__file__).parents[2]
PLANS_OF_A_FLEET = {Setting.GRIDFS: 3, Setting.CLUSTER: 4}
"""FerretDB reads whole collections for most questions, so what earlier plans left there makes later ones slow."""
PACE = 0.15
"""Seconds of a range of trees, about."""


def plans(seeds: Iterable[int]) -> list[Plan]:
    """The plans of seeds, those of one setting in a row."""
    order = list(Setting)
    return sorted((plan(seed, TASKS) for seed in seeds), key=lambda plan: (order.index(plan.setting), plan.seed))


def lacking(setting: Setting) -> str:
    """What keeps a setting from being tried here; empty where nothing does. Of servers, see `tests.servers.running`."""
    if setting is Setting.FAR and not can_mount():
        return "needs root, unshare, nsenter, mkfs.ext4 and loop devices, for disks of its own"
    return ""


class Campaign:
    """Runs plans. `kept`: where the logs of fleets are whose plans failed. grace: of workers whose stream broke."""

    def __init__(self, grace: float = 0.8) -> None:
        self._grace = grace
        self._folder = Path(tempfile.mkdtemp(prefix="tensorfleet-campaign-"))
        self.cluster: Cluster
        """The fleet of the last plan."""
        self._cluster: Cluster | None = None
        self._fleets = self._plans = 0
        self.kept: list[Path] = []

    async def __aenter__(self) -> Self:
        site = self._plugin()
        # It inherits no handle of ours: what is forked from a process with gRPC in it may hang.
        self._pool = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_look_in, initargs=(str(site),)
        )
        self._environment = {
            "PYTHONPATH": f"{ROOT}:{site}",
            "CAMPAIGN_PACE": str(PACE),
            "TENSORFLEET_LOG_LEVEL": "debug",
        }
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
        if not self.kept:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def run(self, plan: Plan) -> Story:
        """What came of it. Raises what `run` raises, with the place of the logs."""
        cluster = await self._of(plan.setting)
        try:
            return await run(plan, cluster, self._pool, self._folder / "direct")
        except BaseException as error:
            self.kept.append(cluster.logs)
            error.add_note(f"{plan}\nlogs: {cluster.logs}\nagain: python -m tests.campaign --seed {plan.seed}")
            await self._end()
            raise

    async def _of(self, setting: Setting) -> Cluster:
        worn = self._plans >= PLANS_OF_A_FLEET.get(setting, 1000)
        self._plans += 1
        if worn or self._cluster is None or self._cluster.setting is not setting:
            await self._end()
            self._plans = 1
            self._fleets += 1
            self.cluster = self._cluster = Cluster(
                setting, self._folder / f"fleet-{self._fleets}", self._environment, self._grace
            )
            await self._cluster.start()
        return self._cluster

    async def _end(self) -> None:
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            await cluster.stop()

    def _plugin(self) -> Path:
        """A folder of packages, in which the campaign's algorithm is a plugin."""
        metadata = self._folder / "site" / "campaign-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: campaign\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("[tensorfleet.algorithms]\ncampaign = tests.campaign.slow_forest\n")
        return metadata.parent


def _look_in(folder: str) -> None:
    sys.path.append(folder)
