"""Time goes by: leases, grace times, backoffs, deadlines, stragglers."""

from orchestrator.core import records as r
from orchestrator.core.commands import Goodbye
from orchestrator.core.decision import Decision
from orchestrator.core.events import Event, GiveUp, HelpStragglers, PastDeadline, Tick
from orchestrator.core.state import Now, State, TimerKind, Worker
from orchestrator.core.timers import due, tick_every
from orchestrator.core.workers import give_up
from tensorfleet.model import WorkerState


def tick(state: State, event: Tick, now: Now) -> Decision:
    """Does what is due. After a stall of our own nothing is due but the ticking: no lease expires for our fault."""
    since = 0.0 if state.ticked is None else now.mono - state.ticked
    stalled = since if since > 2 * tick_every(state) else 0.0
    ticked = r.Ticked(stalled)
    if stalled:
        return Decision((ticked,))
    waits: list[r.Record] = []
    then: list[Event] = []
    for timer in due(state, now):
        if timer.kind is TimerKind.BACKOFF:
            waits.append(r.BackoffEnded(timer.name, timer.task))
        elif timer.kind is TimerKind.DEADLINE:
            then.append(PastDeadline(timer.name))
        elif _is_due(state, state.workers[timer.name], now):
            then.append(GiveUp(timer.name))
    if state.look is None or state.look <= now.mono:
        then.append(HelpStragglers())
    return Decision((ticked, *waits), then=tuple(then))


def _is_due(state: State, worker: Worker, now: Now) -> bool:
    """Whether it is so still: its timer was set before it was heard last."""
    if worker.deadline is not None:
        return worker.deadline <= now.mono
    return worker.reachable and worker.heard + state.settings.lease <= now.mono


def give_up_due(state: State, event: GiveUp, now: Now) -> Decision:
    """Suspects a silent worker, and gives up a suspect whose grace time is over."""
    worker = state.workers[event.worker]
    if worker.deadline is not None:
        return give_up(state, worker, WorkerState.LOST, worker.reason, now)
    text = f"silent for {state.settings.lease:g} s"
    # Its stream may still be there: it is told to come back with a new session, if it is alive.
    goodbye = Goodbye(worker.info.id, worker.session, text, True)
    return Decision((r.WorkerSuspected(worker.info.id, state.settings.grace, text),), (goodbye,))
