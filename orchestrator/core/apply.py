"""The only mutator: what each record does to the state, when it is decided and when it is read back.

The rule: no deciding here. A record whose job or attempt is gone changes nothing.
"""

from collections.abc import Callable
from typing import Any

from orchestrator.core import apply_tasks as tasks
from orchestrator.core import apply_workers as workers
from orchestrator.core import records as r
from orchestrator.core import transitions
from orchestrator.core.lines import line_up
from orchestrator.core.releases import release
from orchestrator.core.state import GONE, Job, OpenStage, State, Status, TimerKind
from orchestrator.core.timers import catch_up, clear_up, set_timer, watch
from tensorfleet.kinds import plan_for
from tensorfleet.model import JobState
from tensorfleet.plan import Stage


def apply(state: State, record: r.Record, mono: float) -> None:
    """Changes the state as the record says. mono: the monotonic time, from which its waits are counted."""
    _APPLY[type(record)](state, record, mono)


def reusable(job: Job, stage: Stage) -> bool:
    """Whether results known from elsewhere may stand for a stage's tasks; a gang's members begin together or not at
    all, so none of them is done before."""
    asked_anew = job.spec.ignore_known_results and not job.retried
    return stage.count > 0 and not (asked_anew or stage.gang) and stage.task(0).pure


def _term_began(state: State, record: r.TermBegan, mono: float) -> None:
    state.term, state.counter, state.ticked = record.term, 0, mono
    for worker in state.workers.values():
        if worker.state not in GONE:
            workers.suspect(state, worker, state.settings.restart_grace, "the orchestrator was started again", mono)
            worker.heard = mono
    for job in map(state.jobs.__getitem__, state.active):
        if job.spec.deadline is not None:  # it runs from the submission, also while no orchestrator did
            job.deadline = mono + job.accepted_at + job.spec.deadline - record.at
            set_timer(state, job.deadline, TimerKind.DEADLINE, job.id)
    clear_up(state)


def _job_accepted(state: State, record: r.JobAccepted, mono: float) -> None:
    state.orders += 1
    state.jobs.pop(record.job, None)
    state.jobs[record.job] = job = Job(
        id=record.job,
        request_id=record.request_id,
        order=state.orders,
        spec=record.spec,
        resolved=record.resolved,
        plan=plan_for(record.spec),
        accepted_at=record.at,
        deadline=None if record.spec.deadline is None else mono + record.spec.deadline,
        retried=record.retried,
    )
    state.active[record.job] = state.unchosen[record.job] = None
    state.ended.pop(record.job, None)
    if job.deadline is not None:
        set_timer(state, job.deadline, TimerKind.DEADLINE, job.id)
    if record.request_id:
        state.requests[record.request_id] = record.job
        _bound(state.requests, state.settings.remember_requests)


def _bound(mapping: dict[str, Any], most: int) -> None:
    while len(mapping) > most:
        del mapping[next(iter(mapping))]


def _numerics_chosen(state: State, record: r.NumericsChosen, mono: float) -> None:
    if job := state.jobs.get(record.job):
        job.fingerprint = record.fingerprint
        state.unchosen.pop(job.id, None)
        line_up(state, job)


def _job_started(state: State, record: r.JobStarted, mono: float) -> None:
    if job := state.jobs.get(record.job):
        job.state = transitions.check(transitions.JOB, job.state, JobState.RUNNING, job.id)
        job.started_at = record.at


def _stage_opened(state: State, record: r.StageOpened, mono: float) -> None:
    job = state.jobs.get(record.job)
    if job is None:
        return
    job.done = job.with_open()
    stage = job.plan.next_stage(job.spec, job.resolved, job.done, job.stopping)
    assert isinstance(stage, Stage), f"{job.id}: the plan is done, yet stage {record.stage} was opened"
    assert stage.name == record.stage, f"{job.id}: the plan opens {stage.name}, yet {record.stage} was journaled"
    release(state, job, record.released)
    job.open, job.total_tasks = OpenStage.of(stage, mono), record.total_tasks
    if not reusable(job, stage):
        job.open.checked = job.open.asked = stage.count
    line_up(state, job)


def _stage_checked(state: State, record: r.StageChecked, mono: float) -> None:
    job = state.jobs.get(record.job)
    if job is None or job.open is None:
        return
    stage = job.open
    stage.checked = max(stage.checked, record.upto)
    stage.asked = max(stage.asked, record.upto)
    for known in record.known:
        if stage.status[known.index] == Status.PENDING:
            tasks.succeed(stage, known.index)
            stage.results[known.index] = known.result
            job.reused += 1
            job.on_trust |= known.let_go
    tasks.pass_known(stage)
    line_up(state, job)


def _job_restarted(state: State, record: r.JobRestarted, mono: float) -> None:
    if job := state.jobs.get(record.job):
        _clear(state, job)
        job.run = job.reused = 0
        job.retried = True
        job.restarts += 1
        job.anew |= record.anew
        clear_up(state)


def _job_paused(state: State, record: r.JobPaused, mono: float) -> None:
    if job := state.jobs.get(record.job):
        job.state = transitions.check(transitions.JOB, job.state, JobState.PAUSED, job.id)
        job.paused_at, job.paused = record.at, mono
        line_up(state, job)


def _job_resumed(state: State, record: r.JobResumed, mono: float) -> None:
    job = state.jobs.get(record.job)
    if job is None:
        return
    going_on = JobState.RUNNING if record.started else JobState.QUEUED
    job.state = transitions.check(transitions.JOB, job.state, going_on, job.id)
    for token in [token for tokens in job.open.live.values() for token in tokens] if job.open else ():
        attempt = state.attempts[token]
        attempt.since += mono - max(job.paused, attempt.since)  # what it was paused for does not make it a straggler
    job.paused_at = None
    line_up(state, job)


def _job_stopped(state: State, record: r.JobStopped, mono: float) -> None:
    job = state.jobs.get(record.job)
    if job is None:
        return
    job.stopped = record.after
    if job.open is not None and job.open.stage.name == record.dropped:
        _drop_open(state, job)
        job.beaten = {token: place for token, place in job.beaten.items() if place[0] != record.dropped}
        clear_up(state)


def _clear(state: State, job: Job) -> None:
    """Takes from a job what it runs and what it has finished."""
    _drop_open(state, job)
    job.done = []
    job.beaten.clear()


def _drop_open(state: State, job: Job) -> None:
    """Takes from a job what it runs."""
    if job.open is not None:
        held: dict[str, list[int]] = {}
        for token in [token for tokens in job.open.live.values() for token in tokens]:
            held.setdefault(state.attempts[token].worker, []).append(token)
        for worker, tokens in held.items():
            tasks.drop_attempts(state, job, worker, tokens)
    job.open = None
    line_up(state, job)


def _job_ended(state: State, record: r.JobEnded, mono: float) -> None:
    job = state.jobs.get(record.job)
    if job is None:
        return
    job.state = transitions.check(transitions.JOB, job.state, record.state, job.id)
    _clear(state, job)
    job.ended_at, job.result, job.failure = record.at, record.result, record.failure
    state.active.pop(job.id, None)
    state.unchosen.pop(job.id, None)
    clear_up(state)
    state.ended[job.id] = None
    while len(state.ended) > state.settings.remember_ended:
        forgotten = next(iter(state.ended))
        del state.ended[forgotten], state.jobs[forgotten]


def _model_registered(state: State, record: r.ModelRegistered, mono: float) -> None:
    state.models.setdefault(record.name, {})[record.version] = None
    if job := state.jobs.get(record.job):
        job.model = record


def _model_deleted(state: State, record: r.ModelDeleted, mono: float) -> None:
    versions = state.models.get(record.name, {})
    versions.pop(record.version, None)
    if not versions:
        state.models.pop(record.name, None)


def _alias_set(state: State, record: r.AliasSet, mono: float) -> None:
    aliases = state.aliases.setdefault(record.name, {})
    if record.version:
        aliases[record.alias] = record.version
    else:
        aliases.pop(record.alias, None)
    if not aliases:
        del state.aliases[record.name]


def _dataset_added(state: State, record: r.DatasetAdded, mono: float) -> None:
    state.datasets[record.name] = record.content.digest


def _dataset_deleted(state: State, record: r.DatasetDeleted, mono: float) -> None:
    state.datasets.pop(record.name, None)


def _results_forgotten(state: State, record: r.ResultsForgotten, mono: float) -> None:
    """They are documents, and no part of the state; a job that reused one has it among its own."""


def _known_results_asked(state: State, record: r.KnownResultsAsked, mono: float) -> None:
    stage = state.jobs[record.job].open
    if stage is not None:
        stage.asked = max(stage.asked, record.upto)


def _ticked(state: State, record: r.Ticked, mono: float) -> None:
    state.ticked = mono
    if record.stalled:
        for worker in state.workers.values():
            # Never more than a whole lease or grace from now: some were heard, or began to wait, during the stall.
            worker.heard = min(worker.heard + record.stalled, mono)
            if worker.deadline is not None:
                worker.deadline = min(worker.deadline + record.stalled, mono + worker.grace)
            watch(state, worker)
    catch_up(state, mono)


def _looked(state: State, record: r.Looked, mono: float) -> None:
    state.look = record.until


_APPLY: dict[type[r.Record], Callable[[State, Any, float], None]] = {
    r.TermBegan: _term_began,
    r.JobAccepted: _job_accepted,
    r.JobRestarted: _job_restarted,
    r.JobPaused: _job_paused,
    r.JobResumed: _job_resumed,
    r.JobStopped: _job_stopped,
    r.NumericsChosen: _numerics_chosen,
    r.JobStarted: _job_started,
    r.StageOpened: _stage_opened,
    r.StageChecked: _stage_checked,
    r.TasksAssigned: tasks.assigned,
    r.TasksSucceeded: tasks.succeeded,
    r.AttemptFailed: tasks.failed,
    r.AttemptReleased: tasks.released,
    r.MemberReady: tasks.member_ready,
    r.MemberDone: tasks.member_done,
    r.AttemptSaved: tasks.saved,
    r.Reported: tasks.reported,
    r.JobEnded: _job_ended,
    r.ModelRegistered: _model_registered,
    r.ModelDeleted: _model_deleted,
    r.AliasSet: _alias_set,
    r.DatasetAdded: _dataset_added,
    r.DatasetDeleted: _dataset_deleted,
    r.ResultsForgotten: _results_forgotten,
    r.WorkerJoined: workers.joined,
    r.WorkerDraining: workers.draining,
    r.WorkerGone: workers.gone,
    r.WorkerSuspected: workers.suspected,
    r.WorkerHeard: workers.heard,
    r.WorkerFit: workers.fit,
    r.AttemptBegan: tasks.began,
    r.AttemptsRecalled: tasks.recalled,
    r.KnownResultsAsked: _known_results_asked,
    r.BackoffEnded: tasks.backoff_ended,
    r.Ticked: _ticked,
    r.Looked: _looked,
}
