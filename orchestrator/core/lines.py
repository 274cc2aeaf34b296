"""Jobs that wait for room: those that share submitter, priority and needs stand in one line, oldest first.

The rule: a line holds exactly the jobs that have a task to hand out; `apply` keeps it so with each change of a job.
Where the first of a line finds no room, the others need not be looked at.
"""

from bisect import bisect_left, insort

from orchestrator.core.state import Job, LineKey, State
from tensorfleet.model import JobState


def line_up(state: State, job: Job) -> None:
    """Puts a job into its line where it has tasks to hand out, or takes it out of the one it is in."""
    goes_on = job.fingerprint is not None and job.state != JobState.PAUSED
    waits = goes_on and job.open is not None and job.open.has_pending()
    if waits == (job.line is not None):
        return
    if waits:
        job.line = line_of(job)
        insort(state.lines.setdefault(job.line, []), (job.order, job.id))
        return
    assert job.line is not None
    line = state.lines[job.line]
    del line[bisect_left(line, (job.order, job.id))]
    if not line:
        del state.lines[job.line]
    job.line = None


def line_of(job: Job) -> LineKey:
    spec, needs = job.spec, job.spec.resources
    labels = tuple(sorted(needs.labels.items()))
    operator = job.open.operator if job.open else ""
    return (
        -spec.priority,
        spec.submitter,
        needs.cpus,
        needs.memory,
        needs.gpus,
        labels,
        job.resolved.requires,
        job.fingerprint or "",
        spec.workers,
        operator,
    )
