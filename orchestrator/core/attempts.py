"""Attempts: beginning, reporting, succeeding, failing, being given back.

The rule: a token that is not live in this worker's hands changes nothing; what it says is acknowledged, so that the
worker forgets it, and dropped.
"""

from collections.abc import Sequence

from orchestrator.core import records as r
from orchestrator.core.apply_tasks import DEATHS, MISHAPS
from orchestrator.core.commands import AckFinished, AckReport, Cancel
from orchestrator.core.damage import inspect
from orchestrator.core.decision import NOTHING, Decision, join, nothing
from orchestrator.core.events import (
    Advance,
    Began,
    Event,
    FailJob,
    Finished,
    Released,
    Report,
    Saved,
    SessionEvent,
    Succeeded,
)
from orchestrator.core.failures import UNKNOWN
from orchestrator.core.gangs import member_done, waits_for_first
from orchestrator.core.jobs import end
from orchestrator.core.results import EMPTY
from orchestrator.core.state import Attempt, Job, Now, OpenStage, State, Worker
from tensorfleet.counts import counted
from tensorfleet.keys import task_key
from tensorfleet.model import Cause, Failure, JobState, Ref, RetryPolicy, TaskResult

CODES = {
    Cause.BAD_INPUT: 3,
    Cause.TIMEOUT: 4,
    Cause.OUT_OF_MEMORY: 8,
    Cause.LOST_WORKER: 14,
    Cause.MISMATCH: 15,
    Cause.LOST_INPUT: 15,
}


def speaker(state: State, event: SessionEvent) -> Worker | None:
    """The worker that speaks, where its session is the current one."""
    worker = state.workers.get(event.worker)
    return worker if worker is not None and worker.session == event.session else None


def held(state: State, event: SessionEvent, token: int) -> Attempt | None:
    attempt = state.attempts.get(token)
    return attempt if attempt is not None and attempt.worker == event.worker else None


def place_of(state: State, attempt: Attempt) -> tuple[Job, OpenStage]:
    job = state.jobs[attempt.job]
    assert job.open is not None, "an attempt's job has an open stage"
    return job, job.open


def began(state: State, event: Began, now: Now) -> Decision:
    if speaker(state, event) is None or held(state, event, event.token) is None:
        return nothing("a superseded session, or an attempt that is over")
    return Decision((r.AttemptBegan(event.token, event.pid),))


def released(state: State, event: Released, now: Now) -> Decision:
    attempt = held(state, event, event.token)
    if speaker(state, event) is None or attempt is None:
        return nothing("a superseded session, or an attempt that is over")
    return release(attempt, now)


def release(attempt: Attempt, now: Now) -> Decision:
    record = r.AttemptReleased(attempt.job, attempt.stage, attempt.index, attempt.token, attempt.worker, now.wall)
    return Decision((record,), then=_then(attempt))


def _then(attempt: Attempt) -> tuple[Event, ...]:
    """What follows the end of an attempt that made no result: of a gang, the others' end."""
    return (Advance(attempt.job),) if attempt.gang else ()


def reported(state: State, event: Report, now: Now) -> Decision:
    """Keeps a report once. Points of a step that an earlier attempt of the task has told already are left out."""
    if speaker(state, event) is None:
        return nothing("a superseded session")
    attempt = held(state, event, event.token)
    ack = AckReport(event.worker, event.session, event.token, event.number)
    if attempt is None or event.number <= attempt.last_report:
        return Decision(commands=(ack,), reason="a report of an attempt that is over, or one that is here already")
    if event.number != attempt.last_report + 1:
        return nothing(f"report {event.number} came before {attempt.last_report + 1}")
    _, stage = place_of(state, attempt)
    told = stage.reported.get(attempt.index, {})
    points = event.points.beyond(told)
    record = r.Reported(
        attempt.job, attempt.stage, attempt.index, event.token, event.number, points, event.lines, now.wall
    )
    return Decision((record,), (ack,))


def saved(state: State, event: Saved, now: Now) -> Decision:
    attempt = held(state, event, event.token)
    if speaker(state, event) is None or attempt is None:
        return nothing("a superseded session, or an attempt that is over")
    return _saved(state, attempt, event.saved, now)


def _saved(state: State, attempt: Attempt, ref: Ref, now: Now) -> Decision:
    _, stage = place_of(state, attempt)
    if stage.account(attempt.index) != attempt.index:
        return nothing("what a gang saves is what its first member saves")
    if stage.saved.get(attempt.index) == ref:
        return nothing("what it saved is here already")
    place = (attempt.job, attempt.stage, attempt.index, attempt.token, attempt.worker)
    return Decision((r.AttemptSaved(*place, ref, now.wall),))


MOST = 1024
"""Tasks in one record, at most."""


def succeeded(state: State, event: Succeeded, now: Now) -> Decision:
    """Attempts that made nothing that is to be told, in runs of one stage; those that need more thought, one by one."""
    if speaker(state, event) is None:
        return nothing("a superseded session")
    known = tuple([token for token in event.tokens if not _waits(state, event, token)])
    parts = [Decision(commands=(AckFinished(event.worker, event.session, known),))] if known else []
    run: list[tuple[Attempt, float]] = []
    for token, seconds in dict(zip(event.tokens, event.seconds, strict=True)).items():
        attempt = held(state, event, token)
        if attempt is None or attempt.last_report or attempt.gang:
            parts.append(_ended(state, _bare(event, token, seconds), now))
            continue
        if run and (run[0][0].job != attempt.job or len(run) == MOST):
            parts.append(_succeeded(state, run, now))
            run = []
        run.append((attempt, seconds))
    if run:
        parts.append(_succeeded(state, run, now))
    return join(parts)


def _bare(event: Succeeded, token: int, seconds: float) -> Finished:
    return Finished(event.worker, event.session, token, TaskResult(), None, "", "", (), seconds, 0, started=True)


def _succeeded(
    state: State, run: Sequence[tuple[Attempt, float]], now: Now, result: TaskResult = EMPTY, last_report: int = 0
) -> Decision:
    """Attempts of one stage at one worker, with the seconds that each ran. result, last_report: of the only one."""
    first = run[0][0]
    job, stage = place_of(state, first)
    fingerprint = job.fingerprint or ""
    made = [stage.stage.task(attempt.index) for attempt, _ in run]
    keys = tuple([task_key(task, fingerprint) if task.pure else "" for task in made])
    record = r.TasksSucceeded(
        first.job,
        first.stage,
        first.worker,
        tuple([attempt.token for attempt, _ in run]),
        tuple([attempt.index for attempt, _ in run]),
        tuple([seconds for _, seconds in run]),
        now.wall,
        keys if any(keys) else (),
        () if result == EMPTY else (result,),
        (last_report,) if last_report else (),
    )
    twins = [
        state.attempts[token] for attempt, _ in run for token in stage.live[attempt.index] if token != attempt.token
    ]
    done = Decision((record,), then=(Advance(job.id),))
    return join([done, *(stop(state, twin, "its twin was first", now) for twin in twins)])


def finished(state: State, event: Finished, now: Now) -> Decision:
    if speaker(state, event) is None:
        return nothing("a superseded session")
    if event.cause is None and not event.gave_up and _waits(state, event, event.token):
        return _ended(state, event, now)
    ack = Decision(commands=(AckFinished(event.worker, event.session, (event.token,)),))
    return join([ack, _ended(state, event, now)])


def _waits(state: State, event: SessionEvent, token: int) -> bool:
    """Whether a success is not yet acknowledged, since what its gang makes is not there yet."""
    attempt = held(state, event, token)
    return attempt is not None and waits_for_first(attempt)


def _ended(state: State, event: Finished, now: Now) -> Decision:
    attempt = held(state, event, event.token)
    if attempt is None:
        return _refused(state, event)
    if event.gave_up:
        kept = _saved(state, attempt, event.saved, now) if event.saved is not None else NOTHING
        return join([kept, release(attempt, now)])
    if event.cause is None and waits_for_first(attempt):
        return member_done(attempt, event.duration)
    if event.cause is None and event.last_report == attempt.last_report:
        return _succeeded(state, [(attempt, event.duration)], now, event.result, event.last_report)
    if event.cause is None:
        message = f"its last report is {event.last_report}, yet the last that came is {attempt.last_report}"
        return failed(state, attempt, Cause.EXCEPTION, "REPORTS_LOST", message, now, event=event)
    return failed(state, attempt, event.cause, event.reason, event.message, now, event=event)


def _refused(state: State, event: Finished) -> Decision:
    """Changes nothing, but for a twin that came second: what it made must be what the first made."""
    beaten = () if event.cause is not None or event.gave_up else state.active
    job = next((state.jobs[job] for job in beaten if event.token in state.jobs[job].beaten), None)
    if job is None:
        return nothing("the attempt's token was refused: its task was given away or its job has ended")
    name, index = job.beaten[event.token]
    kept, other = _digests(_result(job, name, index)), _digests(event.result)
    if kept == other:
        return nothing("the attempt's twin was first, and made the same")
    text = f"two attempts of task {index} of stage {name} made different outputs: {kept} was kept, {other} came second"
    failure = Failure(
        cause=Cause.MISMATCH, reason="MISMATCH", message=text, code=CODES[Cause.MISMATCH], stage=name, index=index
    )
    return Decision(then=(FailJob(job.id, failure),))


def _result(job: Job, name: str, index: int) -> TaskResult | None:
    """A task's kept result, in the open stage or in one that is done."""
    if job.open is not None and job.open.stage.name == name:
        return job.open.results[index]
    return next((stage.results[index] for stage in job.done if stage.name == name), None)


def _digests(result: TaskResult | None) -> str:
    return " ".join(ref.digest for ref in result.outputs) if result and result.outputs else "no output"


def stop(state: State, attempt: Attempt, reason: str, now: Now) -> Decision:
    """Takes an attempt from its worker."""
    worker = state.workers.get(attempt.worker)
    told = worker is not None and worker.reachable
    commands = (Cancel(attempt.worker, worker.session, (attempt.token,), reason),) if worker and told else ()
    return join([Decision(commands=commands), release(attempt, now)])


def failed(
    state: State, attempt: Attempt, cause: Cause, reason: str, message: str, now: Now, *, event: Finished | None = None
) -> Decision:
    """Ends an attempt without a result; its task is tried again as far as its budgets go, else its job fails."""
    job, stage = place_of(state, attempt)
    started = attempt.started or (event is not None and event.started)
    charged = started or cause not in DEATHS  # its inputs may be what it cannot have: that must end, too
    retry_after = _retry_after(state, job, stage, attempt, cause, charged)
    twin = len(stage.live[attempt.index]) > 1
    record = r.AttemptFailed(
        attempt.job,
        attempt.stage,
        attempt.index,
        attempt.token,
        attempt.worker,
        cause,
        reason,
        message,
        event.log_tail if event else (),
        event.duration if event else now.mono - attempt.since,
        charged,
        retry_after,
        now.wall,
    )
    looked = inspect(job, stage, attempt) if cause == Cause.LOST_INPUT else NOTHING
    if retry_after is not None or (twin and cause != Cause.BAD_INPUT):
        return join([Decision((record,), then=_then(attempt)), looked])
    failure = Failure(
        cause=cause,
        reason=reason or cause.name,
        message=_explain(state, stage, attempt, cause, message, charged),
        code=CODES.get(cause, UNKNOWN),
        stage=attempt.stage,
        index=attempt.index,
    )
    return join([Decision((record,), then=(FailJob(job.id, failure),)), looked])


def fail_job(state: State, event: FailJob, now: Now) -> Decision:
    job = state.jobs.get(event.job)
    if job is None or event.job not in state.active or job.open is None:
        return NOTHING
    of_stage = job.open.stage.name == event.failure.stage
    history = tuple(job.open.history.get(event.failure.index, ())) if of_stage else ()
    failure = Failure(
        cause=event.failure.cause,
        reason=event.failure.reason,
        message=event.failure.message,
        code=event.failure.code,
        stage=event.failure.stage,
        index=event.failure.index,
        attempts=history,
    )
    return end(state, job, JobState.FAILED, failure, now)


def _retry_after(
    state: State, job: Job, stage: OpenStage, attempt: Attempt, cause: Cause, charge: bool
) -> float | None:
    """Seconds until the task's next attempt; None where it has none left."""
    policy = job.spec.retry
    if cause == Cause.BAD_INPUT:
        return None
    account = stage.account(attempt.index)
    deaths = stage.deaths.get(account, 0) + (charge and cause in MISHAPS)
    charged = stage.charged.get(account, 0) + (charge and cause not in MISHAPS)
    if charge and (deaths >= state.settings.deaths or charged >= policy.max_attempts):
        return None
    return 0.0 if cause == Cause.LOST_WORKER else backoff(policy, deaths + charged)


def backoff(policy: RetryPolicy, failures: int) -> float:
    """Seconds to wait after that many failures: doubled each time, up to the policy's most."""
    return min(policy.backoff * 2.0 ** min(max(failures, 1) - 1, 64), policy.max_backoff)


def _explain(state: State, stage: OpenStage, attempt: Attempt, cause: Cause, message: str, charge: bool) -> str:
    if cause == Cause.BAD_INPUT:
        return message
    what = f"task {attempt.index} of stage {attempt.stage}"
    if cause in MISHAPS:
        deaths = stage.deaths.get(stage.account(attempt.index), 0) + charge
        return f"{what} is quarantined: {deaths} of its attempts died ({cause}); last: {message}"
    charged = stage.charged.get(stage.account(attempt.index), 0) + charge
    return f"{what} failed {counted(charged, 'time')} ({cause}); last: {message}"
