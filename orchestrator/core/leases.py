"""Time: leases, grace times, backoffs, deadlines, stragglers; and when the timer must fire next."""

from collections.abc import Iterator

from orchestrator.core import records as r
from orchestrator.core.commands import Goodbye
from orchestrator.core.decision import Decision
from orchestrator.core.events import Event, GiveUp, HelpStragglers, PastDeadline, Tick
from orchestrator.core.state import GONE, Now, OpenStage, State, Worker
from orchestrator.core.stragglers import next_look
from orchestrator.core.workers import give_up
from tensorfleet.model import WorkerState


def tick_every(state: State) -> float:
    """The longest time between ticks while there are workers: a longer one means that we were stalled."""
    return state.settings.lease / 4


def next_tick(state: State) -> float | None:
    """The monotonic time at which the timer must fire; None where nothing waits for time."""
    return min(_times(state), default=None)


def _times(state: State) -> Iterator[float]:
    for worker in state.workers.values():
        if worker.deadline is not None:
            yield worker.deadline
        elif worker.reachable:
            yield worker.heard + state.settings.lease
    for job_id in state.active:
        job = state.jobs[job_id]
        if job.deadline is not None:
            yield job.deadline
        if job.open is not None and job.open.waiting:
            yield job.open.dues[0][0]
    look = next_look(state)
    if look is not None:
        yield look
    if state.ticked is not None and any(worker.state not in GONE for worker in state.workers.values()):
        yield state.ticked + tick_every(state)


def tick(state: State, event: Tick, now: Now) -> Decision:
    """Does what is due. After a stall of our own nothing is due but the ticking: no lease expires for our fault."""
    since = 0.0 if state.ticked is None else now.mono - state.ticked
    stalled = since if since > 2 * tick_every(state) else 0.0
    ticked = r.Ticked(stalled)
    if stalled:
        return Decision((ticked,))
    jobs = [state.jobs[job] for job in state.active]
    ended = [job for job in jobs if job.deadline is not None and job.deadline <= now.mono]
    waits = [record for job in jobs if job.open is not None for record in _backoffs(job.id, job.open, now)]
    silent = [
        name for name, worker in state.workers.items() if worker.state not in GONE and _is_due(state, worker, now)
    ]
    then: tuple[Event, ...] = (
        *(PastDeadline(job.id) for job in ended),
        *(GiveUp(worker) for worker in silent),
        HelpStragglers(),
    )
    return Decision((ticked, *waits), then=then)


def _is_due(state: State, worker: Worker, now: Now) -> bool:
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


def _backoffs(job: str, stage: OpenStage, now: Now) -> Iterator[r.BackoffEnded]:
    for due, index in sorted(_due(stage.dues, now.mono)):
        if stage.waiting.get(index) == due:
            yield r.BackoffEnded(job, index)


def _due(heap: list[tuple[float, int]], mono: float, at: int = 0) -> Iterator[tuple[float, int]]:
    """What a heap has up to a time, without a look at the rest."""
    if at < len(heap) and heap[at][0] <= mono:
        yield heap[at]
        yield from _due(heap, mono, 2 * at + 1)
        yield from _due(heap, mono, 2 * at + 2)
