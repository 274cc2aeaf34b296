"""What records about tasks and their attempts do to the state; a part of `apply`, which alone calls it."""

from bisect import bisect_left, insort
from collections.abc import Collection
from itertools import repeat

from orchestrator.core import records as r
from orchestrator.core import transitions
from orchestrator.core.lines import line_up
from orchestrator.core.pools import sort_in
from orchestrator.core.results import EMPTY
from orchestrator.core.state import COUNTER_BITS, Attempt, Job, OpenStage, State, Status, TimerKind, Worker
from orchestrator.core.timers import clear_up, set_timer
from tensorfleet.model import AttemptRecord, Cause


def pass_known(stage: OpenStage) -> None:
    """Moves the frontier past tasks whose results were known, so that nobody scans them again."""
    while stage.frontier < stage.checked and stage.status[stage.frontier] != Status.PENDING:
        stage.frontier += 1


def _set(stage: OpenStage, index: int, status: Status) -> None:
    old = stage.status[index]
    if (old, status) not in _LEGAL:
        transitions.check(transitions.TASK, Status(old).public, status.public, f"{stage.stage.name}[{index}]")
    stage.status[index] = status


_LEGAL = {(old, new) for old in Status for new in Status if new.public in transitions.TASK[old.public]}


def succeed(stage: OpenStage, index: int) -> None:
    _set(stage, index, Status.SUCCEEDED)
    stage.done += 1


def assigned(state: State, record: r.TasksAssigned, mono: float) -> None:
    count = len(record.indexes)
    state.counter = max(state.counter, (record.token + count - 1) & ((1 << COUNTER_BITS) - 1))
    job = state.jobs.get(record.job)
    if job is None or job.open is None:
        return
    stage, worker = job.open, state.workers.get(record.worker)
    for token, index in enumerate(record.indexes, record.token):
        state.attempts[token] = attempt = Attempt(
            token, record.job, record.stage, index, record.worker, record.at, mono
        )
        attempt.gang = stage.stage.gang
        if stage.status[index] == Status.PENDING:  # else it is a twin
            _take(state, stage, index)
            _set(stage, index, Status.RUNNING)
        stage.live.setdefault(index, []).append(token)
    pass_known(stage)
    stage.formed = record.gang or stage.formed
    if worker is not None:
        worker.held.update(dict.fromkeys(range(record.token, record.token + count)))
        _hold(state, worker, job, count)
    _count(state.shares, job.spec.submitter, count)
    _count(job.by_worker, record.worker, count)
    job.running += count
    line_up(state, job)


def _hold(state: State, worker: Worker, job: Job, count: int) -> None:
    """Counts what so many more attempts of a job take of their worker."""
    worker.memory_taken += count * job.spec.resources.memory
    worker.gpus_taken += count * job.spec.resources.gpus
    sort_in(state, worker)


def _count(counts: dict[str, int], name: str, more: int) -> None:
    counts[name] = counts.get(name, 0) + more
    if not counts[name]:
        del counts[name]


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
    attempt = state.attempts.get(token)
    if attempt is None:
        return None
    job = state.jobs[attempt.job]
    drop_attempts(state, job, attempt.worker, [token])
    assert job.open is not None
    return job, job.open, attempt


def drop_attempts(state: State, job: Job, worker_id: str, tokens: Collection[int]) -> list[Attempt]:
    """Forgets attempts of a job that one worker had, everywhere; gives those that were known."""
    dropped = [attempt for token in tokens if (attempt := state.attempts.pop(token, None)) is not None]
    stage, worker = job.open, state.workers.get(worker_id)
    assert stage is not None or not dropped, f"{job.id} has attempts but no stage"
    held = 0
    for attempt in dropped:
        assert stage is not None
        siblings = stage.live[attempt.index]
        siblings.remove(attempt.token)
        if not siblings:
            del stage.live[attempt.index]
        if worker is not None and attempt.token in worker.held:
            del worker.held[attempt.token]
            held += 1
    if worker is not None and held:
        _hold(state, worker, job, -held)
    if dropped:
        _count(state.shares, job.spec.submitter, -len(dropped))
        _count(job.by_worker, worker_id, -len(dropped))
        job.running -= len(dropped)
    return dropped


def succeeded(state: State, record: r.TasksSucceeded, mono: float) -> None:
    job = state.jobs.get(record.job)
    if job is None:
        return
    dropped = {attempt.token for attempt in drop_attempts(state, job, record.worker, record.tokens)}
    stage = job.open
    if stage is None or not dropped:
        return
    for settled in stage.settled:
        stage.history.pop(settled, None)
    stage.settled = [index for index in record.indexes if index in stage.history] if stage.history else []
    results = record.results or repeat(EMPTY)
    seconds, pace = 0.0, state.paces.get(stage.operator)
    for token, index, took, result in zip(record.tokens, record.indexes, record.seconds, results, strict=False):
        if token not in dropped:
            continue
        succeed(stage, index)
        stage.results[index] = result
        seconds += took
        pace = took if pace is None else 0.8 * pace + 0.2 * took
    stage.seconds += seconds
    stage.timed += len(dropped)
    if pace is not None:
        state.paces[stage.operator] = pace
    for kept in (stage.reported, stage.charged, stage.deaths, stage.saved):
        if kept:
            for index in record.indexes:
                kept.pop(index, None)
    job.run += len(dropped)
    if stage.stage.gang and stage.status[0] == Status.SUCCEEDED:
        _spare(state, job, stage)


def _spare(state: State, job: Job, stage: OpenStage) -> None:
    """A gang's result is there: those that were not needed for it are done."""
    for index in range(stage.stage.count):
        if stage.status[index] == Status.PENDING:
            _take(state, stage, index)
            succeed(stage, index)
            stage.results[index] = EMPTY
            job.run += 1
    pass_known(stage)
    line_up(state, job)


def failed(state: State, record: r.AttemptFailed, mono: float) -> None:
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
        account = stage.account(record.index)
        counts[account] = counts.get(account, 0) + 1
    stage.since = mono
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


def released(state: State, record: r.AttemptReleased, mono: float) -> None:
    found = _drop_attempt(state, record.token)
    if found is None:
        return
    job, stage, _ = found
    stage.since = mono
    if stage.status[record.index] == Status.SUCCEEDED:
        job.beaten[record.token] = (record.stage, record.index)
    elif not stage.live.get(record.index):
        _set(stage, record.index, Status.PENDING)
        insort(stage.returned, record.index)
        line_up(state, job)


def member_ready(state: State, record: r.MemberReady, mono: float) -> None:
    if attempt := state.attempts.get(record.token):
        attempt.address = record.address


def member_done(state: State, record: r.MemberDone, mono: float) -> None:
    if attempt := state.attempts.get(record.token):
        attempt.done = record.seconds


def saved(state: State, record: r.AttemptSaved, mono: float) -> None:
    attempt = state.attempts.get(record.token)
    if attempt is not None and (stage := state.jobs[attempt.job].open) is not None:
        stage.saved[record.index] = record.saved


def reported(state: State, record: r.Reported, mono: float) -> None:
    attempt = state.attempts.get(record.token)
    if attempt is None:
        return
    attempt.last_report = record.number
    stage = state.jobs[attempt.job].open
    if stage is not None:
        steps = stage.reported.setdefault(attempt.index, {})
        for series, step in record.points.last_steps().items():
            steps[series] = max(step, steps.get(series, step))


def began(state: State, record: r.AttemptBegan, mono: float) -> None:
    if attempt := state.attempts.get(record.token):
        if not attempt.started:
            attempt.since = mono
        attempt.started, attempt.pid = True, record.pid or attempt.pid


def recalled(state: State, record: r.AttemptsRecalled, mono: float) -> None:
    for token in record.tokens:
        state.attempts[token].recalled = True


def backoff_ended(state: State, record: r.BackoffEnded, mono: float) -> None:
    job = state.jobs[record.job]
    if job.open is not None:
        _end_wait(state, job.open, record.index)
        insort(job.open.returned, record.index)
        line_up(state, job)
