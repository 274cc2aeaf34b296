"""A job's tasks in pages: those that ended from the runs in which they were kept, the others from the state.

The rule: by stage and index, each task once. Runs overlap, since tasks do not end in the order of their indexes, and of
two that hold one task the later counts; so a page reads runs until none that follows can hold what it shows.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import Struct

from orchestrator.core.state import OpenStage, State, Status
from orchestrator.documents import TaskDocument, TasksDocument
from tensorfleet.errors import InvalidRequest
from tensorfleet.model import AttemptRecord, FieldViolation
from tensorfleet.stores.contract import DocumentStore

RUNS = 64
"""Runs read at once."""


class Place(Struct, frozen=True):
    """The last task of a page: the next one begins after it."""

    stage: str = ""
    index: int = -1

    def __str__(self) -> str:
        return f"{self.stage}:{self.index}"

    @classmethod
    def parse(cls, token: str) -> "Place":
        """InvalidRequest where it is no page's token."""
        stage, colon, index = token.rpartition(":")
        if token and not (colon and stage and index.isdecimal()):
            raise InvalidRequest([FieldViolation("page_token", "expected the next_page_token of the page before")])
        return cls(stage, int(index)) if token else cls()


class Listed(NamedTuple):
    """A task, with what it has in common with its run."""

    run: TasksDocument
    task: TaskDocument


class TaskPages:
    """The tasks of one job."""

    def __init__(self, documents: DocumentStore, state: State, job_id: str) -> None:
        self._documents = documents
        self._state = state
        self._job_id = job_id

    async def page(self, after: Place, size: int) -> tuple[list[Listed], Place | None]:
        """At most so many tasks after a place, and the place of the last where more may follow."""
        found: list[Listed] = []
        stage: str | None = after.stage or await self._next_stage("")
        index = after.index
        while stage is not None and len(found) < size:
            found += await self._of_stage(stage, index, size - len(found))
            if len(found) < size:
                stage, index = await self._next_stage(stage), -1
        return found, Place(found[-1].run.stage, found[-1].task.index) if len(found) == size else None

    def _open(self) -> OpenStage | None:
        """The stage that runs, where one does."""
        job = self._state.jobs.get(self._job_id)
        return job.open if job is not None else None

    async def _next_stage(self, after: str) -> str | None:
        where = {"job_id": self._job_id}
        kept = await self._documents.find("tasks", where, above=("stage", after), order=("stage",), limit=1)
        names = [str(document["stage"]) for document in kept]
        running = self._open()
        if running is not None and running.stage.name > after:
            names.append(running.stage.name)
        return min(names, default=None)

    async def _of_stage(self, stage: str, after: int, size: int) -> list[Listed]:
        running = self._open()
        if running is None or running.stage.name != stage:
            kept = await self._kept(stage, after, size, None)
            return [kept[index] for index in sorted(kept)[:size]]
        upto = min(after + size, running.stage.count - 1)
        # Looked at before the runs are read: what ended since is there, or is shown as it was.
        live = {index: self._live(running, index) for index in range(after + 1, upto + 1)}
        return list((live | await self._kept(stage, after, size, upto)).values())

    async def _kept(self, stage: str, after: int, size: int, upto: int | None) -> dict[int, Listed]:
        """Tasks that ended, by index: at least the first so many after an index, or all up to another."""
        found: dict[int, Listed] = {}
        where, read = {"job_id": self._job_id, "stage": stage}, 0
        while True:
            page = await self._documents.find(
                "tasks", where, above=("last", after), order=("first", "last"), skip=read, limit=RUNS
            )
            read += len(page)
            for document in page:
                run = msgspec.convert(document, TasksDocument)
                for task in run.tasks:
                    known = found.get(task.index)
                    if task.index > after and (upto is None or task.index <= upto):
                        found[task.index] = Listed(run, task) if known is None or known.run.at <= run.at else known
            if len(page) < RUNS:
                return found
            # No run that follows begins below this one.
            first = int(page[-1]["first"])
            if (first > upto) if upto is not None else sum(index < first for index in found) >= size:
                return found

    def _live(self, stage: OpenStage, index: int) -> Listed:
        """A task that has not ended, as far as is known here."""
        status = Status(stage.status[index])
        live = [self._state.attempts[token] for token in stage.live.get(index, ())]
        attempts = [
            *stage.history.get(index, ()),
            *(AttemptRecord(token=each.token, worker=each.worker, assigned_at=each.assigned_at) for each in live),
        ]
        # Its end is in the state, and not yet durable: until it is, the task runs.
        shown = Status.RUNNING if status == Status.SUCCEEDED else status
        run = TasksDocument(
            job_id=self._job_id,
            stage=stage.stage.name,
            operator=stage.operator,
            state=shown.public,
            at=0.0,
            first=index,
            last=index,
            tasks=(),
        )
        return Listed(run, TaskDocument(index, attempts=tuple(attempts)))


def attempts_of(listed: Listed) -> Iterator[AttemptRecord]:
    """A task's attempts, first to last."""
    run, task = listed
    yield from task.attempts
    if task.seconds is not None:
        yield AttemptRecord(
            token=task.token, worker=run.worker, assigned_at=run.at - task.seconds, duration=task.seconds
        )
