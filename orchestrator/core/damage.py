"""Inputs that are damaged or gone: looked at where they are kept, and made again where the job can.

The rule: nobody's word is taken for a blob's loss; what was found missing then is no longer known, so that a job which
begins again computes that and nothing else. One that took results whose outputs may be gone takes no such results then.
"""

from collections.abc import Collection, Iterable

from orchestrator.core import records as r
from orchestrator.core.commands import Inspect
from orchestrator.core.decision import Decision, join, nothing
from orchestrator.core.events import Advance, Inspected
from orchestrator.core.jobs import end, stop_attempts
from orchestrator.core.reach import made_by, read_by
from orchestrator.core.releases import comes_of_released
from orchestrator.core.state import Attempt, Job, Now, OpenStage, State
from tensorfleet.model import Cause, Failure, JobState, Ref

DATA_LOSS = 15


def inspect(job: Job, stage: OpenStage, attempt: Attempt) -> Decision:
    """Has the inputs looked at that an attempt could not have."""
    return Decision(commands=(Inspect(job.id, stage.stage.task(attempt.index).inputs),))


def inspected(state: State, event: Inspected, now: Now) -> Decision:
    """Lets a job begin again that has made what is lost itself; what it was given nobody can make again here."""
    job, lost = state.jobs.get(event.job), set(event.lost)
    if job is None or job.id not in state.active:
        return nothing(f"job {event.job} has ended")
    if not lost:
        return nothing(f"what job {job.id} reads is whole: whoever could not have it may try again")
    given = _given(job, lost)
    if given:
        return end(state, job, JobState.FAILED, _failure(given), now)
    found = [ref.digest for ref in made_by(job) if ref.digest in lost]
    if not found:
        return nothing(f"job {job.id} has begun again since, or needs what was lost no more")
    what = f"blob {found[0]}, which it had made, is damaged or gone"
    if job.restarts >= state.settings.restarts:
        return end(state, job, JobState.FAILED, _failure(f"{what} again, after {job.restarts} new beginnings"), now)
    anew = job.on_trust or comes_of_released(job, found)
    reason = f"{what}: it is made again, " + ("with what led to it" if anew else "and the rest is known")
    paused = job.state == JobState.PAUSED
    restarted = Decision((r.JobRestarted(job.id, reason, now.wall, anew, paused),), then=(Advance(job.id),))
    return join([stop_attempts(state, job, reason), restarted])


def _given(job: Job, lost: Collection[str]) -> str:
    """What of a job's inputs is lost, and what its user can do; empty where nothing is."""
    spec, resolved = job.spec, job.resolved
    sources: tuple[tuple[str, Iterable[Ref], str], ...] = (
        (f"the dataset {spec.dataset}", resolved.dataset, "add it again"),
        (f"the dataset {spec.validation_dataset}", resolved.validation, "add it again"),
        (f"the model {spec.model}", resolved.model, "train it again"),
        (f"what was sent as {spec.dataset or 'rows'}", read_by(resolved), "send it again"),
    )
    for what, refs, advice in sources:
        for ref in refs:
            if ref.digest in lost:
                return f"blob {ref.digest} of {what} is damaged or gone: {advice}"
    return ""


def _failure(message: str) -> Failure:
    return Failure(cause=Cause.LOST_INPUT, reason="INPUT_LOST", message=message, code=DATA_LOSS)
