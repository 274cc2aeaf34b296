"""Jobs: accepting, unrolling stage by stage, ending, cancelling, trying again."""

from orchestrator.core import records as r
from orchestrator.core.apply import reusable
from orchestrator.core.commands import LookUp, Reply
from orchestrator.core.decision import NOTHING, Decision, join, nothing, refuse, reply
from orchestrator.core.events import Advance, CancelJob, KnownResults, PastDeadline, RetryJob, Submission, SubmitJobs
from orchestrator.core.failures import failed_task, name_taken, plan_failed
from orchestrator.core.gangs import dismissed, keep_whole
from orchestrator.core.pools import numerics_for
from orchestrator.core.releases import releases
from orchestrator.core.state import Job, Now, OpenStage, State, Worker
from orchestrator.core.values import KnownTask
from tensorfleet import catalog
from tensorfleet.counts import counted, either
from tensorfleet.errors import AlreadyExists, FailedPrecondition, ResourceExhausted
from tensorfleet.keys import task_key
from tensorfleet.model import Cause, Failure, JobResult, JobSpec, JobState
from tensorfleet.models.naming import display_name
from tensorfleet.plan import Done

CANCELLED = 1
DEADLINE_EXCEEDED = 4

RETRY_SUBMISSION = 1.0
"""Seconds after which to submit again where there are too many jobs."""


def submit(state: State, event: SubmitJobs, now: Now) -> Decision:
    """Accepts every submission; one whose request is known is answered with the job it made."""
    accepted: dict[str, str] = {}
    records: list[r.Record] = []
    ids: list[str] = []
    taken: dict[str, None] = {}
    for submission in event.submissions:
        known = state.requests.get(submission.request_id) or accepted.get(submission.request_id)
        if submission.request_id and known:
            ids.append(known)
            continue
        if submission.job in state.jobs or submission.job in taken:  # accepting it would lose the other one
            return refuse(event.ticket, AlreadyExists(f"the id {submission.job} is another job's; submit again"))
        if submission.request_id:
            accepted[submission.request_id] = submission.job
        records.append(_accept(submission, now, retried=False))
        ids.append(submission.job)
        taken[submission.job] = None
    if records and len(state.active) + len(records) > state.settings.max_jobs:
        return refuse(event.ticket, _full(state, len(records)))
    then = tuple(Advance(job) for job in taken)
    return Decision(tuple(records), replies=(Reply(event.ticket, ids),), then=then)


def _full(state: State, more: int) -> ResourceExhausted:
    active = len(state.active)
    return ResourceExhausted(
        f"{counted(active, 'job')} {either(active, 'is', 'are')} queued or running, and {more:,} more would be past "
        f"the limit of {state.settings.max_jobs} (the orchestrator's --max-jobs); try again when some have ended",
        retry_after=RETRY_SUBMISSION,
    )


def _accept(submission: Submission, now: Now, *, retried: bool) -> r.JobAccepted:
    return r.JobAccepted(submission.job, submission.request_id, submission.spec, submission.resolved, now.wall, retried)


def retry(state: State, event: RetryJob, now: Now) -> Decision:
    if event.submission.job in state.active:
        return refuse(event.ticket, FailedPrecondition(f"job {event.submission.job} has not ended: nothing to retry"))
    job = event.submission.job
    accepted = Decision((_accept(event.submission, now, retried=True),), then=(Advance(job),))
    return join([accepted, reply(event.ticket, job)])


def cancel(state: State, event: CancelJob, now: Now) -> Decision:
    """Ends the job at once; its attempts are told to stop, and whatever they still say is refused by their tokens."""
    if event.job not in state.active:
        return reply(event.ticket, event.job)
    reason = event.reason or "cancelled on request"
    failure = Failure(cause=Cause.CANCELLED, reason="CANCELLED", message=reason, code=CANCELLED)
    return join([end(state, state.jobs[event.job], JobState.CANCELLED, failure, now), reply(event.ticket, event.job)])


def advance(state: State, event: Advance, now: Now) -> Decision:
    """Opens the job's next stage where the one before is done, asks for known results, or ends the job."""
    job = state.jobs.get(event.job)
    if job is None or event.job not in state.active:
        return nothing(f"job {event.job} has ended")
    if job.open is not None and (failure := failed_task(job.open)):
        return end(state, job, JobState.FAILED, failure, now)
    if (whole := keep_whole(state, job, now)) is not None:
        return whole
    if job.state == JobState.PAUSED:
        return nothing(f"job {job.id} is paused")
    if job.fingerprint is None:
        return _choose_numerics(state, job, now)
    try:
        if job.open is None or job.open.done == job.open.stage.count:
            return _next_stage(state, job, now)
        return _ask_known(state, job, job.open)
    except Exception as error:
        return end(state, job, JobState.FAILED, plan_failed(error), now)


def _choose_numerics(state: State, job: Job, now: Now) -> Decision:
    fingerprint = numerics_for(state, job)
    if fingerprint is None:
        return nothing(f"job {job.id} waits for a worker that can run it")
    return Decision((r.NumericsChosen(job.id, fingerprint, now.wall),), then=(Advance(job.id),))


def _next_stage(state: State, job: Job, now: Now) -> Decision:
    following = job.plan.next_stage(job.spec, job.resolved, job.with_open(), job.stopping)
    if isinstance(following, Done):
        return _succeed(state, job, following.result, now)
    if following.count and (first := following.task(0)).pure:
        task_key(first, job.fingerprint or "")  # tasks that cannot be made are found out before they count
    total = following.total or job.plan.total_tasks(job.spec, job.resolved)
    known = job.run + job.reused + following.count
    released = tuple(releases(job, following.releases))
    opened = r.StageOpened(job.id, following.name, following.count, max(total, known), now.wall, released)
    return Decision((opened,), then=(Advance(job.id),))


def _ask_known(state: State, job: Job, stage: OpenStage) -> Decision:
    """Asks for a window of known results, once those before it are checked and nearly handed out."""
    if stage.asked > stage.checked or stage.checked >= stage.stage.count:
        return NOTHING
    if stage.checked - stage.frontier > state.settings.lookup_window // 2:
        return NOTHING
    assert reusable(job, stage.stage)
    upto = min(stage.checked + state.settings.lookup_window, stage.stage.count)
    fingerprint = job.fingerprint or ""
    keys = {index: task_key(stage.stage.task(index), fingerprint) for index in range(stage.checked, upto)}
    asked = r.KnownResultsAsked(job.id, upto)
    # A job that needs what it had let go of takes only what is there.
    return Decision((asked,), (LookUp(job.id, stage.stage.name, upto, keys, let_go=not job.anew),))


def known_results(state: State, event: KnownResults, now: Now) -> Decision:
    job = state.jobs.get(event.job)
    if job is None or job.open is None or job.open.stage.name != event.stage:
        return nothing(f"the stage {event.stage} of job {event.job} is over")
    checked = job.open.checked
    if not checked < event.upto == job.open.asked:
        return nothing(f"nobody asks for results below {event.upto} of stage {event.stage} of job {event.job}")
    if event.keys.get(checked) != task_key(job.open.stage.task(checked), job.fingerprint or ""):
        return nothing(f"job {event.job} was retried since: these are keys of its earlier run")
    known = tuple(
        KnownTask(index, event.keys[index], event.results[index], index in event.let_go)
        for index in sorted(event.results)
        if index >= checked
    )
    looked = r.StageChecked(job.id, event.stage, event.upto, known, now.wall)
    started = (r.JobStarted(job.id, now.wall),) if known and job.state == JobState.QUEUED else ()
    return Decision((*started, looked), then=(Advance(job.id),))


def end(
    state: State, job: Job, outcome: JobState, failure: Failure | None, now: Now, result: JobResult | None = None
) -> Decision:
    """Ends a job; its live attempts are told to stop."""
    reason = failure.message if failure else "all of its tasks succeeded"
    ended = Decision((r.JobEnded(job.id, outcome, reason, now.wall, result, failure),))
    return join([stop_attempts(state, job, f"job {job.id} is {outcome}"), ended])


def reached(state: State, job: Job) -> list[tuple[Worker, list[int]]]:
    """The workers that can be told something of a job, with its attempts there."""
    held: dict[str, list[int]] = {}
    for tokens in job.open.live.values() if job.open else ():
        for token in tokens:
            held.setdefault(state.attempts[token].worker, []).append(token)
    return [(worker, held[name]) for name in held if (worker := state.workers.get(name)) and worker.reachable]


def stop_attempts(state: State, job: Job, reason: str) -> Decision:
    """Tells the workers that have something of a job."""
    tokens = [token for own in job.open.live.values() for token in own] if job.open else []
    return Decision(commands=dismissed(state, tokens, reason))


def past_deadline(state: State, event: PastDeadline, now: Now) -> Decision:
    job = state.jobs.get(event.job)
    if job is None or event.job not in state.active:
        return nothing(f"job {event.job} has ended")
    message = f"the deadline of {job.spec.deadline:g} s after submission passed"
    failure = Failure(cause=Cause.DEADLINE, reason="DEADLINE", message=message, code=DEADLINE_EXCEEDED)
    return end(state, job, JobState.FAILED, failure, now)


def _succeed(state: State, job: Job, result: JobResult, now: Now) -> Decision:
    records: list[r.Record] = []
    if result.model is not None:
        records.append(_register(state, job, job.spec, result, now))
    if result.dataset is not None and job.spec.dataset_name:
        known = state.datasets.get(job.spec.dataset_name)
        if known not in (None, result.dataset.digest) and not job.spec.replace_dataset:
            return end(state, job, JobState.FAILED, name_taken(job.spec), now)
        if known != result.dataset.digest:  # else it is there already
            records.append(r.DatasetAdded(job.spec.dataset_name, result.dataset, job.spec.dataset, now.wall))
    # The registration comes first: who sees the job end finds its model there.
    return join([Decision(tuple(records)), end(state, job, JobState.SUCCEEDED, None, now, result)])


def _register(state: State, job: Job, spec: JobSpec, result: JobResult, now: Now) -> r.ModelRegistered:
    assert result.model is not None
    number = int(now.wall)
    while f"v{number}" in state.models.get(spec.model_name, {}):
        number += 1
    return r.ModelRegistered(
        job=job.id,
        name=spec.model_name,
        version=f"v{number}",
        display_name=display_name(catalog.algorithm(spec.algorithm).display, result.metrics, now.wall),
        algorithm=spec.algorithm,
        hyperparameters=spec.hyperparameters,
        metrics=result.metrics,
        missing_metrics=result.missing_metrics,
        content=result.model,
        dataset=spec.dataset,
        submitter=spec.submitter,
        at=now.wall,
        seconds=now.wall - (job.started_at or now.wall),
    )
