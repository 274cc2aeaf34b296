"""How a job went that has ended, stage by stage: what was run, by which workers, and what failed meanwhile.

The rule: it tells what is kept of the job's tasks, and nothing of what its plan had foreseen. A task counts as it ended
last, since one whose job was put back in the queue ends anew.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct, field

from orchestrator.documents import JobDocument, TaskDocument, TasksDocument
from tensorfleet.counts import counted
from tensorfleet.model import JobState, TaskState
from tensorfleet.stores.contract import DocumentStore

RUNS = 200
"""Runs of tasks that are read at once, so that others have their turns between."""

MOST_RUNS, MOST_TASKS = 20_000, 100_000
"""About what is read at most: half a second."""

_NUMBERED = re.compile(r"(.+)-\d+")


class Stages(Struct):
    """Stages that are told in one line: one, or those that differ in their number alone, such as `round-0`, `round-1`.

    names: in the order in which they first ended. tasks: how each ended, by stage and index.
    """

    names: list[str] = field(default_factory=list)
    tasks: dict[tuple[str, int], tuple[TasksDocument, TaskDocument]] = field(default_factory=dict)

    def add(self, run: TasksDocument) -> None:
        if run.stage not in self.names:
            self.names.append(run.stage)
        for task in run.tasks:
            self.tasks[run.stage, task.index] = run, task


async def told(documents: DocumentStore, known: JobDocument) -> list[str]:
    """A line for each stage, or for those that differ in their number alone; and what failed in them."""
    runs, whole = await _runs(documents, known.id)
    lines = [*_epochs(known), *_lines(runs, known.failure.message if known.failure is not None else "")]
    if not whole:
        lines.append(
            f"these were the first; `tensorfleet jobs tasks {known.id}` lists all of {known.run + known.reused:,}"
        )
    return lines


async def _runs(documents: DocumentStore, job_id: str) -> tuple[list[TasksDocument], bool]:
    """The runs of a job's tasks as they ended, and whether these are all."""
    runs: list[TasksDocument] = []
    tasks = 0
    while len(runs) < MOST_RUNS and tasks < MOST_TASKS:
        page = await documents.find("tasks", {"job_id": job_id}, order=("at", "first"), skip=len(runs), limit=RUNS)
        read = [msgspec.convert(document, TasksDocument) for document in page]
        runs += read
        tasks += sum(len(run.tasks) for run in read)
        if len(page) < RUNS:
            return runs, True
    return runs, False


def ending(known: JobDocument) -> str:
    """How a job ended, in one line."""
    assert known.ended_at is not None
    after = f"it {_ENDED[known.state]} {_seconds(known.ended_at - known.created_at)} after it was submitted"
    if known.failure is not None:
        return f"{after}: {known.failure.message}"
    return f"{after}: {counted(known.run, 'task')} run, {known.reused:,} known already"


_ENDED = {
    JobState.SUCCEEDED: "has succeeded",
    JobState.FAILED: "has failed",
    JobState.CANCELLED: "was cancelled",
}


def _epochs(known: JobDocument) -> Iterator[str]:
    """How far a training by rounds went."""
    trained = known.result.trained if known.result is not None else ()
    if trained:
        asked = known.spec.hyperparameters.get("epochs")
        yield f"it trained for {max(each.last for each in trained) + 1:,} of {asked} epochs"


def _lines(runs: Iterable[TasksDocument], ending: str) -> Iterator[str]:
    stages: dict[str, Stages] = {}
    for run in runs:
        found = _NUMBERED.fullmatch(run.stage)
        stages.setdefault(found[1] if found else run.stage, Stages()).add(run)
    for each in stages.values():
        yield from _of(each, ending)


def _of(stages: Stages, ending: str) -> Iterator[str]:
    """ending: the message of the job's failure, which is told already."""
    ended = list(stages.tasks.values())
    made = [(run, task) for run, task in ended if run.state == TaskState.SUCCEEDED and not run.reused]
    known = sum(run.reused for run, _ in ended)
    first, last = stages.names[0], stages.names[-1]
    parts = []
    if made:
        seconds = sum(task.seconds or 0.0 for _, task in made)
        parts.append(
            f"{counted(len(made), 'task')} by {_workers(run.worker for run, _ in made)}, {_seconds(seconds)} of work"
        )
    if known:
        parts.append(f"{counted(known, 'task')} known already")
    if failed := sum(run.state == TaskState.FAILED for run, _ in ended):
        parts.append(f"{counted(failed, 'task')} failed")
    yield f"{first if first == last else f'{first} to {last}'}: {'; '.join(parts)}"
    tries = [attempt for _, task in ended for attempt in task.attempts]
    if tries:
        newest = max(tries, key=lambda attempt: attempt.assigned_at)
        said = newest.message.partition("\n")[0]
        what = f"{counted(len(tries), 'attempt')} failed, the last on {newest.worker} ({newest.cause})"
        yield f"  {what}" if newest.message == ending else f"  {what}: {said}"


def _seconds(spent: float) -> str:
    return f"{spent:,.1f} s" if spent >= 0.1 else f"{spent:.2g} s"


def _workers(names: Iterable[str]) -> str:
    counts = Counter(names)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items()))
