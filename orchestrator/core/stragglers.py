"""Stragglers: when a stage is nearly done and an attempt is far past its cohort's times, a twin starts elsewhere.

The first to commit wins. Tasks are pure, so whichever it is, the result is the same.
"""

from collections.abc import Collection, Iterator

from orchestrator.core.decision import Decision, join
from orchestrator.core.events import HelpStragglers
from orchestrator.core.placement import Room, assignment
from orchestrator.core.state import Attempt, Job, Now, OpenStage, State
from tensorfleet.model import WorkerState

COHORT = 4
"""Tasks that must have run before their mean says anything."""


def _watched(state: State) -> Iterator[tuple[Job, OpenStage, float]]:
    """Stages in which only attempts that run are left, with the time past which one is a straggler."""
    for job_id in state.active:
        job = state.jobs[job_id]
        stage = job.open
        if stage is None or stage.timed < COHORT or stage.waiting or stage.has_pending():
            continue
        if stage.live and stage.checked == stage.stage.count and stage.done * 4 >= stage.stage.count * 3:
            mean = stage.mean_seconds or 0.0
            yield job, stage, max(state.settings.straggler_floor, state.settings.straggler_factor * mean)


def _alone(state: State, stage: OpenStage) -> Iterator[Attempt]:
    for index, tokens in stage.live.items():
        attempt = state.attempts[tokens[0]]
        if len(tokens) == 1 and attempt.started and stage.stage.task(index).pure:
            yield attempt


def next_look(state: State) -> float | None:
    """When the next attempt becomes a straggler that an idle worker could help out."""
    idle = _idle(state)
    if not idle:
        return None
    times = [
        attempt.since + limit
        for job, stage, limit in _watched(state)
        for attempt in _alone(state, stage)
        if any(_helps(room, job, attempt, job.by_worker) for room in idle)
    ]
    return min(times, default=None)


def _idle(state: State) -> list[Room]:
    return [
        Room.of(state, worker)
        for worker in state.workers.values()
        if worker.state == WorkerState.READY and len(worker.held) < worker.info.slots
    ]


def _helps(room: Room, job: Job, attempt: Attempt, among: Collection[str]) -> bool:
    return room.worker.info.id != attempt.worker and room.fits(job, among)


def help_out(state: State, event: HelpStragglers, now: Now) -> Decision:
    """A twin for each straggler, as far as idle workers go, one each."""
    idle = _idle(state)
    decisions: list[Decision] = []
    for job, stage, limit in _watched(state):
        among = set(job.by_worker)
        for attempt in _alone(state, stage):
            helper = next((room for room in idle if _helps(room, job, attempt, among)), None)
            if helper is None or attempt.since + limit > now.mono:
                continue
            idle.remove(helper)
            among.add(helper.worker.info.id)
            token = state.token(len(decisions))
            record, command = assignment(token, helper.worker, job, stage, attempt.index, now)
            decisions.append(Decision((record,), (command,)))
    return join(decisions)
