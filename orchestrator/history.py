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

RUNS = 500
"""Runs of tasks that are read at most: a job of a million tasks has thousands."""

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
    read = await documents.find("tasks", {"job_id": known.id}, order=("at", "first"), limit=RUNS + 1)
    runs = (msgspec.convert(document, TasksDocument) for document in read[:RUNS])
    lines = [*_epochs(known), *_lines(runs, known.failure.message if known.failure is not None else "")]
    if len(read) > RUNS:
        lines.append(f"… and more: `tensorfleet jobs tasks {known.id}` lists every task")
    return lines


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
