"""Workers: joining, coming back, falling silent, draining, leaving."""

from collections.abc import Iterable

from orchestrator.core import records as r
from orchestrator.core.attempts import failed, held, release, speaker
from orchestrator.core.commands import Command, Drain, EndEarly, Goodbye, Welcome
from orchestrator.core.decision import Decision, join, nothing, refuse, reply
from orchestrator.core.events import Advance, DrainWorker, Heartbeat, Leaving, OpenSession, SessionLost
from orchestrator.core.pools import key_of
from orchestrator.core.state import GONE, Attempt, Now, State, Worker
from tensorfleet.errors import NotFound
from tensorfleet.model import Cause, JobState, WorkerState

PROTOCOL = 1


def open_session(state: State, event: OpenSession, now: Now) -> Decision:
    """Takes a worker in, or back. What it holds and nobody else got goes on; what it lost is pending again."""
    worker_id = event.info.id
    if not event.protocol_min <= PROTOCOL <= event.protocol_max:
        spoken = f"{event.protocol_min} to {event.protocol_max}"
        text = f"this orchestrator speaks protocol {PROTOCOL}, the worker {spoken}: install the same release on both"
        return Decision(commands=(Goodbye(worker_id, event.session, text, False),), reason=text)
    known = state.workers.get(worker_id)
    superseded = _supersede(known, event)
    ours = set(known.held) if known is not None else set()
    told = {*event.held, *event.finished}
    keep = tuple(token for token in event.held if token in ours)
    stop = tuple(token for token in event.held if token not in ours)
    same_life = known is not None and known.info.incarnation == event.info.incarnation
    gone = [state.attempts[token] for token in sorted(ours - told)]
    lost = (
        join(release(attempt, now) for attempt in gone)  # the assignments never reached it
        if same_life
        else _with_worker(state, gone, "its worker was started anew", now)
    )
    begun = tuple(r.AttemptBegan(token, 0) for token in keep if event.held[token])
    joined = r.WorkerJoined(event.info, event.session, now.wall)
    heard = r.WorkerHeard(worker_id, None, 0, event.cached, now.wall)
    paused = tuple(token for token in keep if state.jobs[state.attempts[token].job].state == JobState.PAUSED)
    said: list[Command] = [Welcome(worker_id, event.session, PROTOCOL, keep, stop, paused)]
    if early := tuple(token for token in keep if state.jobs[state.attempts[token].job].stopping):
        said.append(EndEarly(worker_id, event.session, early))
    if known is not None and same_life and known.draining:  # it may have been away when it was asked
        said.append(Drain(worker_id, event.session, "asked to drain"))
    # The first of its kind may be what jobs wait for.
    waiting = () if key_of(event.info) in state.pools else tuple(Advance(job) for job in state.unchosen)
    return join([superseded, lost, Decision((joined, heard, *begun), tuple(said), then=waiting)])


def _supersede(known: Worker | None, event: OpenSession) -> Decision:
    """Ends the session that was. Of the same life it may be the later one, where a hello of a stream that broke came
    after that of the next: then the worker hears this, and comes back."""
    if known is None or not known.reachable:
        return Decision()
    same_life = known.info.incarnation == event.info.incarnation
    reason = "a newer session took its place" if same_life else f"another worker joined as {known.info.id}"
    return Decision(commands=(Goodbye(known.info.id, known.session, reason, same_life),))


def lost(state: State, event: SessionLost, now: Now) -> Decision:
    if speaker(state, event) is None:
        return nothing("a superseded session")
    worker = state.workers[event.worker]
    if worker.draining and not worker.held:
        return give_up(state, worker, WorkerState.LEFT, "it was drained and left", now)
    grace = state.settings.grace
    return Decision((r.WorkerSuspected(event.worker, grace, f"its stream broke; {grace:g} s to come back"),))


def heartbeat(state: State, event: Heartbeat, now: Now) -> Decision:
    worker = speaker(state, event)
    if worker is None:
        return nothing("a superseded session")
    fit = () if bool(event.unfit) == bool(worker.unfit) else (r.WorkerFit(event.worker, event.unfit),)
    heard = r.WorkerHeard(event.worker, event.load, event.memory, event.cached, now.wall)
    known = ((pid, held(state, event, token)) for token, pid in event.running.items())
    begun = [r.AttemptBegan(attempt.token, pid) for pid, attempt in known if attempt is not None and not attempt.pid]
    return Decision((heard, *fit, *begun))


def leaving(state: State, event: Leaving, now: Now) -> Decision:
    worker = speaker(state, event)
    if worker is None:
        return nothing("a superseded session")
    if not worker.held:
        # It may still wait to hear that the ends of attempts which are of no more interest are known.
        goodbye = Decision(commands=(Goodbye(worker.info.id, worker.session, "it leaves, and nothing is left", False),))
        return join([give_up(state, worker, WorkerState.LEFT, event.reason or "it left", now), goodbye])
    # It ends what it holds, and its stream with it.
    return Decision(() if worker.draining else (r.WorkerDraining(event.worker, now.wall),))


def give_up(state: State, worker: Worker, outcome: WorkerState, reason: str, now: Now) -> Decision:
    """Ends a worker's part in the fleet; its tasks go elsewhere."""
    attempts = [state.attempts[token] for token in worker.held]
    text = f"worker {worker.info.id} was lost: {reason}"
    back = _with_worker(state, attempts, text, now)
    return join([back, Decision((r.WorkerGone(worker.info.id, outcome, reason, now.wall),))])


def _with_worker(state: State, attempts: Iterable[Attempt], text: str, now: Now) -> Decision:
    """Ends attempts that were lost with their worker; of a gang's formation one, since it is lost once."""
    parts: list[Decision] = []
    gangs: set[str] = set()
    for attempt in attempts:
        if attempt.job in gangs:
            parts.append(release(attempt, now))
            continue
        if attempt.gang:
            gangs.add(attempt.job)
        parts.append(failed(state, attempt, Cause.LOST_WORKER, "LOST_WORKER", text, now))
    return join(parts)


def drain(state: State, event: DrainWorker, now: Now) -> Decision:
    worker = state.workers.get(event.worker)
    if worker is None or worker.state in GONE:
        return refuse(event.ticket, NotFound(f"no worker {event.worker!r} in the fleet; `workers list` shows them"))
    records = () if worker.draining else (r.WorkerDraining(event.worker, now.wall),)
    told = (Drain(event.worker, worker.session, "asked to drain"),) if worker.reachable else ()
    return join([Decision(records, told), reply(event.ticket, event.worker)])
