"""What records about workers do to the state; a part of `apply`, which alone calls it."""

from orchestrator.core import records as r
from orchestrator.core import transitions
from orchestrator.core.pools import forget, key_of, sort_in
from orchestrator.core.state import State, Worker
from orchestrator.core.timers import watch
from tensorfleet.model import WorkerState

CACHED_DIGESTS = 10_000


def joined(state: State, record: r.WorkerJoined, mono: float) -> None:
    if len(state.departed) == len(state.workers):
        state.ticked = mono  # nothing ticked while there was nobody; that was no stall
    known = state.workers.pop(record.info.id, None)
    same_life = known is not None and known.info.incarnation == record.info.incarnation
    draining = same_life and known is not None and known.draining
    joined = WorkerState.DRAINING if draining else WorkerState.READY
    state.joins += 1
    worker = Worker(
        info=record.info,
        pool=known.pool if known is not None and known.info == record.info else key_of(record.info),
        order=state.joins,
        state=transitions.check(transitions.WORKER, known.state, joined, record.info.id) if known else joined,
        session=record.session,
        joined_at=known.joined_at if same_life and known else record.at,
        heard=mono,
        heard_at=record.at,
        draining=draining,
    )
    if known is not None:
        forget(state, known)
        worker.held, worker.memory_taken, worker.gpus_taken = known.held, known.memory_taken, known.gpus_taken
        worker.cached = known.cached if same_life else set()
        for token in worker.held:  # what was asked back in an earlier session may not have been heard
            state.attempts[token].recalled = False
    state.workers[record.info.id] = worker
    state.suspects.pop(record.info.id, None)
    state.departed.pop(record.info.id, None)
    sort_in(state, worker)
    watch(state, worker)


def draining(state: State, record: r.WorkerDraining, mono: float) -> None:
    if worker := state.workers.get(record.worker):
        worker.draining = True
        if worker.state == WorkerState.READY:
            worker.state = transitions.check(transitions.WORKER, worker.state, WorkerState.DRAINING, record.worker)
            sort_in(state, worker)


def gone(state: State, record: r.WorkerGone, mono: float) -> None:
    worker = state.workers.pop(record.worker, None)
    if worker is None:
        return
    worker.state = transitions.check(transitions.WORKER, worker.state, record.state, record.worker)
    worker.session, worker.deadline, worker.reason = 0, None, record.reason
    worker.cached.clear()
    state.suspects.pop(record.worker, None)
    sort_in(state, worker)
    state.workers[record.worker] = worker
    watch(state, worker)
    state.departed[record.worker] = None
    if len(state.departed) > state.settings.remember_gone:
        forgotten = next(iter(state.departed))
        del state.departed[forgotten], state.workers[forgotten]


def suspected(state: State, record: r.WorkerSuspected, mono: float) -> None:
    suspect(state, state.workers[record.worker], record.grace, record.reason, mono)


def suspect(state: State, worker: Worker, grace: float, reason: str, mono: float) -> None:
    worker.state = transitions.check(transitions.WORKER, worker.state, WorkerState.SUSPECT, worker.info.id)
    worker.session, worker.reason = 0, reason
    worker.grace, worker.deadline = grace, mono + grace
    state.suspects[worker.info.id] = None
    sort_in(state, worker)
    watch(state, worker)


def heard(state: State, record: r.WorkerHeard, mono: float) -> None:
    worker = state.workers[record.worker]
    worker.heard, worker.heard_at = mono, record.at
    if record.load is not None:
        worker.load, worker.memory = record.load, record.memory
    if len(worker.cached) < CACHED_DIGESTS:
        worker.cached.update(record.cached)


def fit(state: State, record: r.WorkerFit, mono: float) -> None:
    worker = state.workers[record.worker]
    worker.unfit = record.unfit
    sort_in(state, worker)
