"""What is sent ahead: tasks that wait at a worker for a slot of it to come free.

The rule: it has not begun, so it can be asked back; for a worker that has nothing to do, or for a gang that is to have
the slot.
"""

from collections.abc import Iterable, Iterator

from orchestrator.core import records as r
from orchestrator.core.commands import Recall
from orchestrator.core.decision import Decision
from orchestrator.core.room import Round, may_hold
from orchestrator.core.state import OpenStage, State, Worker

LONG = 60.0
"""Seconds that a task may take for another to be sent ahead of its end."""


def how_far(state: State, stage: OpenStage) -> int:
    """How many of a stage's tasks a slot may have waiting.

    A short wait for the next task is a large part of a short task. One that takes a minute is worth its wait: what
    waits at a worker waits behind what it runs, also when work of higher priority comes.
    """
    pace = stage.mean_seconds if stage.timed else state.paces.get(stage.operator)
    if pace is None or pace > LONG:
        return 0
    return max(1, int(state.settings.prefetch / max(pace, 0.0001)))


def recall_for_idle(state: State) -> Decision | None:
    """Asks back what was sent ahead to one worker while another, which could run it, has nothing to do."""
    if not state.ahead or all(pool.places[0][0] >= pool.like.slots for pool in state.pools.values()):
        return None
    turn = Round(state)
    for name in state.ahead:
        worker = state.workers[name]
        ahead = _waiting(state, worker)
        if not ahead:
            continue
        job = state.jobs[state.attempts[ahead[0]].job]
        idle = turn.choose(job, (), apart=name)
        if idle is not None and job.open is not None:
            room = may_hold(idle, how_far(state, job.open)) - len(idle.held)
            back = tuple(ahead[: min((len(ahead) + 1) // 2, room)])  # so that both have as much to do
            return Decision((r.AttemptsRecalled(back),), (Recall(name, worker.session, back),))
    return None


def recall_for_gang(state: State, kept: Iterable[str]) -> Iterator[Decision]:
    """Asks back what was sent ahead to workers of whom a gang waits for slots."""
    for name in kept:
        worker = state.workers[name]
        back = tuple(_waiting(state, worker)[: max(0, len(worker.held) - worker.info.slots)])
        if back and worker.reachable:
            yield Decision((r.AttemptsRecalled(back),), (Recall(name, worker.session, back),))


def _waiting(state: State, worker: Worker) -> list[int]:
    """What a worker holds and has not begun, the last first, as far as it is of one job; none while some of it is
    asked back."""
    found: list[int] = []
    job = ""
    for token in reversed(worker.held):
        attempt = state.attempts[token]
        if attempt.started or attempt.gang:  # a gang's has a slot, and would take the others with it
            continue
        if attempt.recalled:
            return []
        if job and attempt.job != job:
            break
        job = attempt.job
        found.append(token)
    return found
