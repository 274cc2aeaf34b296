"""Why a live job has nothing running, or not more; in one line, by the same tests that place it."""

from orchestrator.core.pools import able, lacks
from orchestrator.core.room import Round
from orchestrator.core.state import Job, OpenStage, State
from tensorfleet.counts import counted, either
from tensorfleet.model import JobState
from tensorfleet.plan import Stage


def why_pending(state: State, job: Job) -> str:
    if job.state == JobState.PAUSED:
        return f"it is paused; `tensorfleet jobs resume {job.id}` has it go on"
    unfit = [state.workers[name].unfit for name in state.unfit if lacks(job, state.workers[name].info) is None]
    pools = [pool for _, pool in able(state, job)]
    if not pools and unfit:
        take = either(len(unfit), "takes", "take")
        return f"{counted(len(unfit), 'worker')} that could run it {take} no work for now: {unfit[0]}"
    if not state.pools and state.suspects:
        away = len(state.suspects)
        who = f"{counted(away, 'worker')} {either(away, 'is', 'are')} away"
        return f"{who} and {either(away, 'has', 'have')} a moment to come back; no other takes work"
    if not state.pools:
        return "no worker takes work; `tensorfleet worker join ADDRESS` adds one"
    if not pools:
        ready = sum(len(pool.places) for pool in state.pools.values())
        return f"of {counted(ready, 'worker')} none can run it: {lacks(job, next(iter(state.pools.values())).like)}"
    stage = job.open
    if stage is None or stage.asked > stage.checked:
        return "known results are being looked up"
    if stage.done == stage.stage.count:
        return "its next stage is about to open"
    if not stage.has_pending():
        if live := len(stage.live):
            return f"{counted(live, 'task')} {either(live, 'is', 'are')} running, and the stage has no others"
        return backing_off(stage)
    if 0 < job.spec.workers <= len(job.by_worker):
        return f"it runs on {counted(len(job.by_worker), 'worker')}, the most that its spec allows"
    if stage.stage.gang:
        return _why_gang(state, job, stage)
    if all(pool.places[0][0] >= pool.like.slots for pool in pools):
        return "every slot that could run it is busy"
    if Round(state).choose(job, ()) is None:
        return "a slot is free, but what runs has taken the memory or the GPUs that it needs"
    return "it is next"


def backing_off(stage: OpenStage) -> str:
    """Of a stage that has tasks that do."""
    waiting = len(stage.waiting)
    return f"{counted(waiting, 'task')} {either(waiting, 'waits out its', 'wait out their')} backoff"


def _why_gang(state: State, job: Job, stage: OpenStage) -> str:
    count, turn = stage.stage.count, Round(state)
    capacity = turn.capacity(job)
    if capacity < count:
        allowed = f", of whom its spec allows {job.spec.workers}," if job.spec.workers else ""
        return (
            f"its {count} members begin at once, and the workers that could run them{allowed} have "
            f"{counted(capacity, 'slot')}: it waits for {count - capacity} more{_instead(state, stage.stage, capacity)}"
        )
    if not turn.gather(job, count):
        return f"its {count} members begin at once, and not so many slots are free; those that are free are kept for it"
    return "it is next"


def _instead(state: State, gang: Stage, capacity: int) -> str:
    """What else a gang waits for, or else what can be done for one that the fleet has so few slots for."""
    if 0 < gang.least <= capacity:
        return f", or for {state.settings.gather:g} s to go by, to begin with {capacity}"
    asks = [f"with `-p {name}={capacity}` it {what}" for name, what in zip(gang.sized_by, _ASKS, strict=False)]
    anew = f"; submitted anew {', '.join(asks)}" if asks else ""
    return f"; `tensorfleet worker join ADDRESS` adds some{anew}"


_ASKS = ("asks for no more than there are", "begins with those")
"""What a gang does once a hyperparameter that sizes it has another value; see `Stage.sized_by`."""
