"""Fault plans: what happens to a fleet while it trains, as data drawn from a seed.

The rule: a plan is a pure function of its seed. Its times are counted in the job's task events, never
in seconds, so a seed strikes at the same progress whatever the machine does meanwhile.
"""

import random
from enum import StrEnum

from msgspec import Struct


class Fault(StrEnum):
    """What is done to the fleet. A program that is killed is started again; a disk that is full gets its room back."""

    KILL_WORKER = "kill_worker"
    KILL_SLOT = "kill_slot"
    KILL_ORCHESTRATOR = "kill_orchestrator"
    KILL_DOCUMENTS = "kill_documents"
    KILL_OBJECTS = "kill_objects"
    STOP_ORCHESTRATOR = "stop_orchestrator"
    STOP_AGENT = "stop_agent"
    STOP_WORKER = "stop_worker"
    CUT_STREAM = "cut_stream"
    HANG_STREAM = "hang_stream"
    FILL_DISK = "fill_disk"
    DELETE_CACHED = "delete_cached"
    CORRUPT_CACHED = "corrupt_cached"
    CORRUPT_BLOB = "corrupt_blob"
    CUT_POWER = "cut_power"


class Setting(StrEnum):
    """What a fleet is made of.

    NEAR: SQLite and a directory, which the workers see too. FAR: the same on a disk of the orchestrator's own; workers
    have a small disk each. GRIDFS: MongoDB for documents and objects. CLUSTER: MongoDB and S3, and two orchestrators.
    """

    NEAR = "near"
    FAR = "far"
    GRIDFS = "gridfs"
    CLUSTER = "cluster"


EVERYWHERE = (
    Fault.KILL_WORKER,
    Fault.KILL_SLOT,
    Fault.KILL_ORCHESTRATOR,
    Fault.STOP_ORCHESTRATOR,
    Fault.STOP_AGENT,
    Fault.STOP_WORKER,
    Fault.CUT_STREAM,
    Fault.HANG_STREAM,
    Fault.CORRUPT_BLOB,
)
APART = (Fault.FILL_DISK, Fault.DELETE_CACHED, Fault.CORRUPT_CACHED)
"""Of workers with a disk of their own."""
POSSIBLE: dict[Setting, tuple[Fault, ...]] = {
    Setting.NEAR: EVERYWHERE,
    Setting.FAR: (*EVERYWHERE, *APART, Fault.CUT_POWER),
    Setting.GRIDFS: (*EVERYWHERE, *APART, Fault.KILL_DOCUMENTS),
    Setting.CLUSTER: (*EVERYWHERE, *APART, Fault.KILL_DOCUMENTS, Fault.KILL_OBJECTS),
}
ORDER = (*(Setting.NEAR, Setting.FAR, Setting.CLUSTER) * 3, Setting.GRIDFS)
"""The settings of seeds in a row."""
WORKERS = {Setting.NEAR: 2, Setting.FAR: 3, Setting.GRIDFS: 2, Setting.CLUSTER: 4}


class Strike(Struct, frozen=True):
    """One fault. after: it comes with this task event of the job, counted from 1. victim: which of those that it can
    hit, as a share of them. lasts: how long it goes on, in leases, where it does."""

    after: int
    fault: Fault
    victim: float
    lasts: float

    def choose(self, count: int) -> int:
        """The index of its victim among `count`."""
        return min(int(self.victim * count), count - 1)


class Plan(Struct, frozen=True):
    """What happens to one job. random_state: the job's own, so that nothing of another job is reused. drops: the
    watcher hangs up after these events and comes back with its cursor."""

    seed: int
    setting: Setting
    random_state: int
    strikes: tuple[Strike, ...]
    drops: tuple[int, ...]

    def __str__(self) -> str:
        strikes = ", ".join(f"{strike.fault} at {strike.after}" for strike in self.strikes)
        return f"{self.seed} {self.setting}: {strikes}"


def plan(seed: int, tasks: int) -> Plan:
    """The plan of a seed for a job of so many tasks, which has at least two events for each: assigned, succeeded."""
    chance = random.Random(seed)
    setting = ORDER[seed % len(ORDER)]
    events = range(1, 2 * tasks - 1)
    times = sorted(chance.choices(events, k=chance.choice((1, 2, 3, 4))))
    strikes = tuple(
        Strike(after, chance.choice(POSSIBLE[setting]), chance.random(), chance.uniform(0.1, 2.5)) for after in times
    )
    drops = tuple(sorted(chance.sample(events, k=3)))
    return Plan(seed, setting, chance.randrange(2**31), strikes, drops)
