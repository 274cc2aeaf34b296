"""What a seed is: the machines and their links, the jobs that people bring, and all that goes wrong, and when.

The rule: it is drawn whole before anything runs, so that it can be read.
"""

from random import Random

from msgspec import Struct

from orchestrator.core.state import Settings
from orchestrator.garbage import Keep
from tensorfleet.model import Cause, JobSpec, JobState, RetryPolicy
from tests.simulation import drills

TROUBLES = ("raise 1", "raise 2", "die 1", "die 2", "memory 1", "slow 1", "hang 1", "unfit 1", "raise", "bad")
ENDLESS = {"raise": Cause.EXCEPTION, "bad": Cause.BAD_INPUT}


class Errand(Struct, frozen=True, kw_only=True):
    """A job that somebody brings, and what they do about it. Times are seconds; None is never.

    runs: it is also run, in a call that submits and watches, under its request id. twice: it is submitted again under
    it. watchers: how many follow it to its end. retry: it is put back in the queue where it failed or was cancelled.
    pause_after, pause_for: it is paused, and goes on again. stop_after: it is to end early, where it can. save_every:
    seconds between two checkpoints that are asked for, also while it is paused.
    """

    at: float
    spec: JobSpec
    request_id: str
    cancel_after: float | None
    runs: bool
    twice: bool
    watchers: int
    retry: bool
    pause_after: float | None
    pause_for: float
    stop_after: float | None
    save_every: float | None


class Fault(Struct, frozen=True):
    """Something that goes wrong at a time, to someone, for so many seconds."""

    at: float
    kind: str
    who: str
    seconds: float


class Scenario(Struct, frozen=True, kw_only=True):
    """orchestrators: one leads. leader_lease: seconds. latency, store_latency: mean seconds of a way. tears: the share
    of a commit's writes before which it is interrupted. store_faults: the share of ways to the store that fail. slots:
    of each worker. calm: when everything works again.
    """

    orchestrators: int
    leader_lease: float
    keep: Keep
    latency: float
    store_latency: float
    tears: float
    store_faults: float
    slots: tuple[int, ...]
    fingerprints: tuple[str, ...]
    settings: Settings
    errands: tuple[Errand, ...]
    faults: tuple[Fault, ...]
    calm: float


def draw(chance: Random) -> Scenario:
    workers = chance.choice([1, 2, 2, 3, 3, 4])
    settings = Settings(
        lease=2.0,
        heartbeat=0.7,
        grace=0.4,
        restart_grace=1.5,
        deaths=chance.choice([3, 1000, 1000, 1000]),
        lookup_window=4,
        straggler_floor=0.6,
        gather=0.8,
        remember_ended=2,
        remember_gone=1,
        remember_requests=2,
    )
    slots = tuple(chance.choice([1, 1, 2, 3]) for _ in range(workers))
    errands = tuple(_errand(chance, number, slots) for number in range(chance.choice([1, 2, 3, 4])))
    count = chance.choice([0, 2, 4, 6, 8, 10])
    faults = sorted((_fault(chance, workers) for _ in range(count)), key=lambda fault: fault.at)
    return Scenario(
        orchestrators=chance.choice([1, 1, 2]),
        leader_lease=1.5,
        keep=Keep(grace=2.0, outputs=4.0, results=3.0, every=chance.choice([0.0, 0.0, 1.0])),
        latency=chance.choice([0.0005, 0.002, 0.02]),
        store_latency=chance.choice([0.0002, 0.001, 0.01]),
        tears=chance.choice([0.0, 0.0, 0.2, 0.6]),
        store_faults=chance.choice([0.0, 0.0, 0.01, 0.05]),
        slots=slots,
        fingerprints=tuple(chance.choice(["cpu", "cpu", "cpu", "other"]) for _ in range(workers)),
        settings=settings,
        errands=errands,
        faults=tuple(faults),
        calm=max((fault.at + fault.seconds / 2 for fault in faults), default=0.0),
    )


def _errand(chance: Random, number: int, slots: tuple[int, ...]) -> Errand:
    return Errand(
        at=chance.uniform(0.0, 2.5),
        spec=_spec(chance, number, min(slots)),
        request_id=f"request-{number}",
        cancel_after=chance.uniform(0.1, 3.0) if chance.random() < 0.15 else None,
        runs=number % 2 == 1,
        twice=chance.random() < 0.3,
        watchers=chance.choice([1, 1, 2]),
        retry=chance.random() < 0.5,
        pause_after=chance.uniform(0.0, 2.0) if chance.random() < 0.3 else None,
        pause_for=chance.choice([0.0, 0.3, 2.0]),
        stop_after=chance.uniform(0.0, 2.0) if chance.random() < 0.3 else None,
        save_every=chance.uniform(0.1, 0.5) if chance.random() < 0.3 else None,
    )


def _spec(chance: Random, number: int, room: int) -> JobSpec:
    """room: slots of any worker at least, where a gang of so many finds a place."""
    stages = [chance.choice([0, 1, 2, 3, 5, 9]) for _ in range(chance.choice([1, 1, 2]))]
    given: dict[str, object] = {"stages": stages, "recipe": "shared", "seconds": 0.1, "big": chance.random() < 0.2}
    if chance.random() < 0.7:
        given |= {"recipe": f"of job {number}", "seconds": chance.choice([0.01, 0.1, 0.3, 1.0])}
        given["impure"] = chance.random() < 0.2
        given["broken"] = "s1" if chance.random() < 0.05 else ""
        if any(stages) and chance.random() < 0.4:
            at = chance.choice([stage for stage, count in enumerate(stages) if count])
            given["troubles"] = {f"s{at}.{chance.randrange(stages[at])}": chance.choice(TROUBLES)}
    given["rounds"] = chance.random() < 0.5
    hangs = "hang 1" in given.get("troubles", {}).values()  # type: ignore[attr-defined]
    if any(stages) and not hangs and chance.random() < 0.3:  # those who wait for a member that hangs would time out
        at = chance.choice([stage for stage, count in enumerate(stages) if count])
        given["gangs"] = {f"s{at}": 0 if stages[at] <= room else 1}
    return JobSpec(
        algorithm=drills.NAME,
        hyperparameters=given,  # type: ignore[arg-type]
        workers=chance.choice([0, 0, 0, 1, 2]),
        priority=chance.choice([0, 0, 1]),
        deadline=chance.uniform(2.0, 12.0) if chance.random() < 0.1 else None,
        task_timeout=2.5 if hangs else 3600.0,
        retry=RetryPolicy(max_attempts=10 if hangs else 3, backoff=chance.choice([0.0, 0.2, 1.0]), max_backoff=4.0),
        allow_mixed_numerics=chance.random() < 0.2,
        ignore_known_results=chance.random() < 0.2,
    )


KINDS = (
    "kill orchestrator",
    "kill orchestrator",
    "kill orchestrator",
    "stop orchestrator",
    "turn back the clock",
    "kill worker",
    "kill worker",
    "stop worker",
    "stop worker",
    "tell worker to leave",
    "drain worker",
    "kill slot",
    "cut worker",
    "cut worker",
    "part worker",
    "lose cache",
    "cut user",
    "part user",
    "database away",
    "database crashes",
    "database crashes",
    "objects away",
)


def _fault(chance: Random, workers: int) -> Fault:
    kind = chance.choice(KINDS)
    who = f"worker-{chance.randrange(workers) + 1}" if "worker" in kind or kind in ("kill slot", "lose cache") else ""
    return Fault(chance.uniform(0.0, 5.0), kind, who, chance.choice([0.1, 0.5, 1.0, 3.0, 6.0]))


def ends(errand: Errand, settings: Settings) -> set[tuple[JobState, Cause | None]]:
    """How the errand's job may end, with the cause of its failure."""
    spec = errand.spec
    troubles = list(spec.hyperparameters.get("troubles", {}).values())  # type: ignore[union-attr]
    # A plan with a bug and a task that always fails may meet in one job: whichever comes first ends it.
    allowed: set[tuple[JobState, Cause | None]] = {
        (JobState.FAILED, ENDLESS[trouble]) for trouble in troubles if trouble in ENDLESS
    }
    if spec.hyperparameters.get("broken"):
        allowed.add((JobState.FAILED, Cause.EXCEPTION))
    spared = spec.hyperparameters.get("gangs") or (errand.stop_after is not None and spec.hyperparameters["rounds"])
    if not allowed or spared:  # what would have failed is a gang's member that was not needed, or was left out
        allowed.add((JobState.SUCCEEDED, None))
    if errand.cancel_after is not None:
        allowed.add((JobState.CANCELLED, Cause.CANCELLED))
    if spec.deadline is not None:
        allowed.add((JobState.FAILED, Cause.DEADLINE))
    if settings.deaths < 100:
        allowed |= {(JobState.FAILED, cause) for cause in (Cause.SIGNAL, Cause.LOST_WORKER, Cause.OUT_OF_MEMORY)}
    return allowed
