"""What keeps a blob: which ones a live thing reaches, and which known results are worth theirs.

The rule: pure functions over records and documents. What none of them names is garbage once it is old enough.
"""

from collections.abc import Collection, Iterable, Iterator

from msgspec import Struct

from orchestrator.core.state import Job, State
from tensorfleet.model import JobResult, JobState, Ref, Resolved


class Known(Struct, frozen=True):
    """A known result. used: when it was made or last reused, wall time. job: which job did."""

    key: str
    used: float
    job: str
    outputs: tuple[Ref, ...]


class Bounds(Struct, frozen=True, kw_only=True):
    """How much the known results may come to: seconds since their last use, bytes, and how many."""

    age: float
    size: int
    count: int


def held_by_jobs(state: State) -> Iterator[Ref]:
    """Blobs of the jobs that have not ended at the call; the state may go on while they are read.

    What a task makes later is young, or a known result that is kept.
    """
    held = [(job.resolved, made_by(job), saved_by(job)) for job in map(state.jobs.__getitem__, state.active)]
    return (ref for resolved, *made in held for refs in (read_by(resolved), *made) for ref in refs)


def made_by(job: Job) -> Iterator[Ref]:
    """What a job's tasks have made up to the call and it has not let go of."""
    stages = [stage for stage in job.with_open() if not stage.released]
    return (ref for stage in stages for result in stage.results for ref in result.outputs)


def saved_by(job: Job) -> list[Ref]:
    """What attempts at the tasks of its open stage have saved, for the next to go on from."""
    return list(job.open.saved.values()) if job.open is not None else []


def read_by(resolved: Resolved) -> Iterator[Ref]:
    """What a job reads that it has not made itself."""
    yield from resolved.dataset
    yield from resolved.validation
    yield from resolved.model
    if resolved.upload is not None:
        yield resolved.upload


def held_by_ended(state: JobState, resolved: Resolved, result: JobResult | None) -> Iterator[Ref]:
    """Blobs of a job that has ended: its outputs, or what it takes to try it again.

    Models and datasets are the registry's, also those that it made: they go with their names.
    """
    if state is JobState.SUCCEEDED:
        yield from result.outputs if result is not None else ()
    elif resolved.upload is not None:
        yield resolved.upload


def in_hand_since(state: State) -> float | None:
    """When the longest of the running attempts was assigned, wall time: what was put since may be its output."""
    return min((attempt.assigned_at for attempt in state.attempts.values()), default=None)


def to_forget(
    known: Iterable[Known], bounds: Bounds, now: float, *, registered: Collection[str], active: Collection[str]
) -> list[Known]:
    """The results to let go of, the least recently used first to go.

    registered: digests of the blobs of models and datasets; a result that consists of those costs nothing and stays. So
    does one of a job in `active`, which may yet be tried again.
    """
    own = [each for each in known if each.job not in active and not _is_part(each, registered)]
    own.sort(key=lambda each: (-each.used, each.key))
    size, seen = 0, set()
    for number, each in enumerate(own):
        for ref in each.outputs:
            if ref.digest not in seen and ref.digest not in registered:
                seen.add(ref.digest)
                size += ref.size
        if now - each.used >= bounds.age or size > bounds.size or number >= bounds.count:
            return own[number:]
    return []


def _is_part(known: Known, registered: Collection[str]) -> bool:
    return bool(known.outputs) and all(ref.digest in registered for ref in known.outputs)
