"""The only mutator: what each record does to the state, when it is decided and when it is read back.

The rule: no deciding here. A record whose job or attempt is gone changes nothing.
"""

from bisect import bisect_left, insort
from collections.abc import Callable
from typing import Any

from orchestrator.core import apply_workers as workers
from orchestrator.core import records as r
from orchestrator.core import transitions
from orchestrator.core.lines import line_up
from orchestrator.core.pools import sort_in
from orchestrator.core.state import COUNTER_BITS, GONE, Attempt, Job, OpenStage, State, Status, TimerKind
from orchestrator.core.timers import catch_up, clear_up, set_timer, watch
from tensorfleet.kinds import plan_for
from tensorfleet.model import AttemptRecord, Cause, JobState
from tensorfleet.plan import Stage


def apply(state: State, record: r.Record, mono: float) -> None:
    """Changes the state as the record says. mono: the monotonic time, from which its waits are counted."""
    _APPLY[type(record)](state, record, mono)


def reusable(job: Job, stage: Stage) -> bool:
    """Whether results known from elsewhere may stand for a stage's tasks."""
    asked_anew = job.spec.ignore_known_results and not job.retried
    return stage.count > 0 and not asked_anew and stage.task(0).pure


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
    stage = job.plan.next_stage(job.spec, job.resolved, job.done)
    assert isinstance(stage, Stage), f"{job.id}: the plan is done, yet stage {record.stage} was opened"
    assert stage.name == record.stage, f"{job.id}: the plan opens {stage.name}, yet {record.stage} was journaled"
    job.open, job.total_tasks = OpenStage.of(stage), record.total_tasks
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
            _succeed(stage, known.index)
            stage.results[known.index] = known.result
            job.reused += 1
    _pass_known(stage)
    line_up(state, job)


def _pass_known(stage: OpenStage) -> None:
    """Moves the frontier past tasks whose results were known, so that nobody scans them again."""
    while stage.frontier < stage.checked and stage.status[stage.frontier] != Status.PENDING:
        stage.frontier += 1


def _set(stage: OpenStage, index: int, status: Status) -> None:
    old = stage.status[index]
    if (old, status) not in _LEGAL:
        transitions.check(transitions.TASK, Status(old).public, status.public, f"{stage.stage.name}[{index}]")
    stage.status[index] = status


_LEGAL = {(old, new) for old in Status for new in Status if new.public in transitions.TASK[old.public]}


def _succeed(stage: OpenStage, index: int) -> None:
    _set(stage, index, Status.SUCCEEDED)
    stage.done += 1


def _attempt_assigned(state: State, record: r.AttemptAssigned, mono: float) -> None:
    state.counter = max(state.counter, record.token & ((1 << COUNTER_BITS) - 1))
    job = state.jobs.get(record.job)
    if job is None or job.open is None:
        return
    state.attempts[record.token] = Attempt(
        record.token, record.job, record.stage, record.index, record.worker, record.at, mono
    )
    if worker := state.workers.get(record.worker):
        worker.held[record.token] = None
        worker.memory_taken += job.spec.resources.memory
        worker.gpus_taken += job.spec.resources.gpus
        sort_in(state, worker)
    stage = job.open
    if stage.status[record.index] == Status.PENDING:  # else it is a twin
        _take(state, stage, record.index)
        _set(stage, record.index, Status.RUNNING)
        _pass_known(stage)
    stage.live.setdefault(record.index, []).append(record.token)
    state.shares[job.spec.submitter] = state.shares.get(job.spec.submitter, 0) + 1
    job.running += 1
    job.by_worker[record.worker] = job.by_worker.get(record.worker, 0) + 1
    line_up(state, job)


def _take(state: State, stage: OpenStage, index: int) -> None:
    """Takes an index from wherever it waits."""
    if index >= stage.frontier:
        stage.frontier = index + 1
    elif index in stage.waiting:  # read back from the journal, which does not hold the ends of backoffs
        _end_wait(state, stage, index)
    else:
        del stage.returned[bisect_left(stage.returned, index)]


def wait(state: State, job: Job, stage: OpenStage, index: int, until: float) -> None:
    stage.waiting[index] = until
    set_timer(state, until, TimerKind.BACKOFF, job.id, index)


def _end_wait(state: State, stage: OpenStage, index: int) -> None:
    del stage.waiting[index]
    clear_up(state)


def _drop_attempt(state: State, token: int) -> tuple[Job, OpenStage, Attempt] | None:
    """Forgets an attempt everywhere; None where nobody knows it."""
    attempt = state.attempts.pop(token, None)
    if attempt is None:
        return None
    job = state.jobs[attempt.job]
    if (worker := state.workers.get(attempt.worker)) and token in worker.held:
        del worker.held[token]
        worker.memory_taken -= job.spec.resources.memory
        worker.gpus_taken -= job.spec.resources.gpus
        sort_in(state, worker)
    job.running -= 1
    _count_down(state.shares, job.spec.submitter)
    _count_down(job.by_worker, attempt.worker)
    stage = job.open
    assert stage is not None, f"{job.id} has attempts but no stage"
    stage.live[attempt.index].remove(token)
    if not stage.live[attempt.index]:
        del stage.live[attempt.index]
    return job, stage, attempt


def _count_down(counts: dict[str, int], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]


def _task_succeeded(state: State, record: r.TaskSucceeded, mono: float) -> None:
    found = _drop_attempt(state, record.token)
    if found is None:
        return
    job, stage, _ = found
    _succeed(stage, record.index)
    stage.results[record.index] = record.result
    stage.seconds += record.duration
    stage.timed += 1
    state.paces[stage.operator] = 0.8 * state.paces.get(stage.operator, record.duration) + 0.2 * record.duration
    for kept in (stage.reported, stage.charged, stage.deaths):
        kept.pop(record.index, None)
    stage.history.pop(stage.settled, None)
    stage.settled = record.index
    job.run += 1


def _attempt_failed(state: State, record: r.AttemptFailed, mono: float) -> None:
    found = _drop_attempt(state, record.token)
    if found is None:
        return
    job, stage, attempt = found
    history = stage.history.setdefault(record.index, [])
    del history[: -KEPT_ATTEMPTS + 1]
    history.append(
        AttemptRecord(
            token=record.token,
            worker=record.worker,
            assigned_at=attempt.assigned_at,
            duration=record.duration,
            cause=record.cause,
            message=record.message,
            log_tail=record.log_tail,
        )
    )
    if record.charged:
        counts = stage.deaths if record.cause in MISHAPS else stage.charged
        counts[record.index] = counts.get(record.index, 0) + 1
    if stage.live.get(record.index):
        return  # its twin goes on
    if record.retry_after is None:
        _set(stage, record.index, Status.FAILED)
        return
    _set(stage, record.index, Status.PENDING)
    if record.retry_after > 0:
        wait(state, job, stage, record.index, mono + record.retry_after)
    else:
        insort(stage.returned, record.index)
        line_up(state, job)


KEPT_ATTEMPTS = 32
"""Failed attempts of a task that are remembered: those that never began are not limited by its budgets."""

DEATHS = (Cause.OUT_OF_MEMORY, Cause.SIGNAL, Cause.LOST_WORKER)
MISHAPS = (*DEATHS, Cause.LOST_INPUT)
"""What the machines are to blame for, and not the task: it has a budget of its own."""


def _attempt_released(state: State, record: r.AttemptReleased, mono: float) -> None:
    found = _drop_attempt(state, record.token)
    if found is None:
        return
    job, stage, _ = found
    if stage.status[record.index] == Status.SUCCEEDED:
        job.beaten[record.token] = (record.stage, record.index)
    elif not stage.live.get(record.index):
        _set(stage, record.index, Status.PENDING)
        insort(stage.returned, record.index)
        line_up(state, job)


def _reported(state: State, record: r.Reported, mono: float) -> None:
    attempt = state.attempts.get(record.token)
    if attempt is None:
        return
    attempt.last_report = record.number
    stage = state.jobs[attempt.job].open
    if stage is not None:
        steps = stage.reported.setdefault(attempt.index, {})
        for point in record.points:
            steps[point.series] = max(point.step, steps.get(point.series, point.step))


def _job_restarted(state: State, record: r.JobRestarted, mono: float) -> None:
    if job := state.jobs.get(record.job):
        _clear(state, job)
        job.run = job.reused = 0
        job.retried = True
        job.restarts += 1
        clear_up(state)


def _clear(state: State, job: Job) -> None:
    """Takes from a job what it runs and what it has finished."""
    if job.open is not None:
        for token in [token for tokens in job.open.live.values() for token in tokens]:
            _drop_attempt(state, token)
    job.open, job.done = None, []
    line_up(state, job)
    job.beaten.clear()


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


def _attempt_began(state: State, record: r.AttemptBegan, mono: float) -> None:
    if attempt := state.attempts.get(record.token):
        if not attempt.started:
            attempt.since = mono
        attempt.started, attempt.pid = True, record.pid or attempt.pid


def _attempt_recalled(state: State, record: r.AttemptRecalled, mono: float) -> None:
    state.attempts[record.token].recalled = True


def _known_results_asked(state: State, record: r.KnownResultsAsked, mono: float) -> None:
    stage = state.jobs[record.job].open
    if stage is not None:
        stage.asked = max(stage.asked, record.upto)


def _backoff_ended(state: State, record: r.BackoffEnded, mono: float) -> None:
    job = state.jobs[record.job]
    if job.open is not None:
        _end_wait(state, job.open, record.index)
        insort(job.open.returned, record.index)
        line_up(state, job)


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
    r.NumericsChosen: _numerics_chosen,
    r.JobStarted: _job_started,
    r.StageOpened: _stage_opened,
    r.StageChecked: _stage_checked,
    r.AttemptAssigned: _attempt_assigned,
    r.TaskSucceeded: _task_succeeded,
    r.AttemptFailed: _attempt_failed,
    r.AttemptReleased: _attempt_released,
    r.Reported: _reported,
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
    r.AttemptBegan: _attempt_began,
    r.AttemptRecalled: _attempt_recalled,
    r.KnownResultsAsked: _known_results_asked,
    r.BackoffEnded: _backoff_ended,
    r.Ticked: _ticked,
    r.Looked: _looked,
}
