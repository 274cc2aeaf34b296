"""Reaching into a job that runs: it is paused and goes on, saves, or ends early with what it has.

The rule: what is wanted of a job is in the journal, and each worker is told of its attempts, now and whenever it comes
back. A job that is paused opens no stage and is given nothing; what of it runs may still end. Where one that ends early
has to do what runs first, that is told so: a task that is no function of its inputs alone ends with what it has.
"""

from collections.abc import Collection
from typing import TypeVar

from orchestrator.core import records as r
from orchestrator.core.commands import Checkpoint, Command, EndEarly, Pause, Resume
from orchestrator.core.decision import NOTHING, Decision, join, refuse, reply
from orchestrator.core.events import Advance, CheckpointJob, PauseJob, ResumeJob, StopJob
from orchestrator.core.failures import plan_failed
from orchestrator.core.jobs import end, reached, stop_attempts
from orchestrator.core.state import Job, Now, State
from tensorfleet.errors import FailedPrecondition
from tensorfleet.model import JobState
from tensorfleet.plan import Stage


def pause(state: State, event: PauseJob, now: Now) -> Decision:
    job = _running(state, event.job)
    if job is None:
        return refuse(event.ticket, _ended(state, event.job, "pause"))
    if job.state == JobState.PAUSED:
        return reply(event.ticket, job.id)
    paused = r.JobPaused(job.id, event.reason or "paused on request", now.wall)
    return join([Decision((paused,), _told(state, job, Pause)), reply(event.ticket, job.id)])


def resume(state: State, event: ResumeJob, now: Now) -> Decision:
    job = _running(state, event.job)
    if job is None:
        return refuse(event.ticket, _ended(state, event.job, "resume"))
    return join([_resumed(state, job, now), reply(event.ticket, job.id)])


def _resumed(state: State, job: Job, now: Now) -> Decision:
    if job.state != JobState.PAUSED:
        return NOTHING
    started = job.started_at is not None
    records: list[r.Record] = [r.JobResumed(job.id, started, now.wall)]
    if not started and job.reused:  # results were found while it was paused
        records.append(r.JobStarted(job.id, now.wall))
    return Decision(tuple(records), _told(state, job, Resume), then=(Advance(job.id),))


def checkpoint(state: State, event: CheckpointJob, now: Now) -> Decision:
    job = _running(state, event.job)
    if job is None:
        return refuse(event.ticket, _ended(state, event.job, "save"))
    asked = _told(state, job, Checkpoint, _saves(state, job))
    count = sum(len(command.tokens) for command in asked)
    return join([Decision(commands=asked), reply(event.ticket, count)])


def stop(state: State, event: StopJob, now: Now) -> Decision:
    """Has a job end with what its stages have made that are done; one that must be done first is let end, as early as
    its tasks can."""
    job = _running(state, event.job)
    if job is None:
        return refuse(event.ticket, _ended(state, event.job, "stop"))
    if job.stopped is not None:
        return join([_resumed(state, job, now), reply(event.ticket, job.id)])
    done = job.over
    try:
        following = job.plan.next_stage(job.spec, job.resolved, done, stopping=True)
    except FailedPrecondition as error:
        return refuse(event.ticket, error)
    except Exception as error:
        return join([end(state, job, JobState.FAILED, plan_failed(error), now), reply(event.ticket, job.id)])
    waits = isinstance(following, Stage) and job.open is not None and following.name == job.open.stage.name
    dropped = "" if waits or job.open is None or len(done) > len(job.done) else job.open.stage.name
    reason = event.reason or "stopped on request"
    stopped = r.JobStopped(job.id, reason, done[-1].name if done else "", dropped, now.wall)
    told = stop_attempts(state, job, f"job {job.id} ends early: {reason}") if dropped else NOTHING
    resumed = _resumed(state, job, now)
    said: tuple[Command, ...] = () if dropped else (*resumed.commands, *_told(state, job, EndEarly))
    decided = Decision((*resumed.records, stopped), said, then=(Advance(job.id),))
    return join([told, decided, reply(event.ticket, job.id)])


def _running(state: State, job: str) -> Job | None:
    return state.jobs[job] if job in state.active else None


def _ended(state: State, job: str, what: str) -> FailedPrecondition:
    known = state.jobs.get(job)
    outcome = f"has ended ({known.state})" if known is not None else "has ended"
    return FailedPrecondition(f"job {job} {outcome}: there is nothing to {what}")


def _saves(state: State, job: Job) -> list[int]:
    """The attempts that can save: those that have begun, and of a gang its first member."""
    attempts = [state.attempts[token] for tokens in job.open.live.values() for token in tokens] if job.open else []
    return [
        attempt.token
        for attempt in attempts
        if attempt.started and job.open is not None and job.open.account(attempt.index) == attempt.index
    ]


Steering = TypeVar("Steering", Pause, Resume, Checkpoint, EndEarly)


def _told(state: State, job: Job, kind: type[Steering], among: Collection[int] | None = None) -> tuple[Steering, ...]:
    """Tells the workers that have something of a job. among: of which attempts alone."""
    told = (
        (worker, tuple([token for token in tokens if among is None or token in among]))
        for worker, tokens in reached(state, job)
    )
    return tuple(kind(worker.info.id, worker.session, tokens) for worker, tokens in told if tokens)
