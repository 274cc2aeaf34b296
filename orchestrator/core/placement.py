"""Placement: which task goes to which worker next.

Order: higher priority first; among equals the submitter with the fewest running tasks; then the older job. A task goes
to a worker with a free slot, rather to one that has its inputs cached, rather to the emptiest. A slot may also have
half a second of work waiting, or one task of under a minute, as far as the worker's credit goes. A gang's tasks go all
at once or not at all; one that has to wait for slots keeps those that it can use, so that nobody after it takes them.
"""

import heapq
from collections.abc import Collection, Iterator

from orchestrator.core import records as r
from orchestrator.core.ahead import how_far, recall_for_gang, recall_for_idle
from orchestrator.core.commands import Assign, Command, EndEarly
from orchestrator.core.decision import Decision, join
from orchestrator.core.events import Advance, FailJob, Place
from orchestrator.core.failures import plan_failed
from orchestrator.core.room import Round
from orchestrator.core.state import Job, LineKey, Now, OpenStage, State, Worker
from tensorfleet.model import JobState, Task


def place(state: State, event: Place, now: Now) -> Decision:
    """Hands out what can be handed out, else evens out what was sent ahead."""
    handed = _Handing(state, now)
    if handed.out() or handed.records:
        return join([handed.decision(), *recall_for_gang(state, handed.kept)])
    return recall_for_idle(state) or handed.decision()


class _Line:
    """The jobs of a line, oldest first, and their tasks that can be assigned, one after another."""

    def __init__(self, state: State, key: LineKey) -> None:
        self.submitter = key[1]
        self._jobs = (state.jobs[job] for _, job in state.lines[key])
        self._indexes: Iterator[int] = iter(())
        self.job: Job | None = None
        self.index = 0
        self.next_job()

    def next_job(self) -> None:
        for job in self._jobs:
            assert job.open is not None
            self.job, self._indexes = job, job.open.pending()
            self.index = next(self._indexes)
            return
        self.job = None

    def next_task(self) -> None:
        index = next(self._indexes, None)
        if index is None:
            self.next_job()
        else:
            self.index = index


class _Handing:
    """Assignments of one round, by order until nothing fits."""

    def __init__(self, state: State, now: Now) -> None:
        self.records: list[r.Record] = []
        self._state, self._now = state, now
        self._round = Round(state)
        self._given = 0  # tasks
        self._commands: list[Command] = []
        self._touched: dict[str, None] = {}
        self._broken: list[FailJob] = []

    def decision(self) -> Decision:
        then = (*(Advance(job) for job in self._touched), *self._broken)
        return Decision(tuple(self.records), tuple(self._commands), then=then)

    @property
    def kept(self) -> Collection[str]:
        return self._round.kept

    def out(self) -> bool:
        """Assigns; True where tasks are left that wait for room."""
        lines = {key: _Line(self._state, key) for key in self._state.lines}
        queue = [(*self._turn(key, line.job), key) for key, line in lines.items() if line.job is not None]
        heapq.heapify(queue)
        starved = False
        while queue:
            _, share, _, key = heapq.heappop(queue)
            line = lines[key]
            assert line.job is not None
            if share == self._round.share(line.submitter):  # else it has changed since: the line takes its turn anew
                job, gang = line.job, _is_gang(line.job)
                fits = self._form(line, job) if gang else self._next(line, job, alone=not queue)
                starved = starved or not (fits or (gang and not self.kept))
                if not fits and not gang and not job.spec.workers:
                    continue  # nor would the others of this line
                if not fits:
                    line.next_job()
            if line.job is not None:
                heapq.heappush(queue, (*self._turn(key, line.job), key))
        return starved

    def _turn(self, key: LineKey, job: Job) -> tuple[int, int, int]:
        """Whose turn is next: the least of these."""
        return key[0], self._round.share(key[1]), job.order

    def _next(self, line: _Line, job: Job, *, alone: bool) -> bool:
        """Assigns the line's next task, and where it is alone those after it that can go along; goes on to what comes
        then. False where nobody can take it."""
        stage = job.open
        assert stage is not None
        ahead = how_far(self._state, stage)
        try:
            task = stage.stage.task(line.index)
            worker = self._round.choose(job, task.inputs, ahead=ahead)
            if worker is None:
                return False
            room = self._round.room(job, worker, stage.left, ahead) if alone and not task.inputs else 1
            indexes, tasks = [line.index], [task]
            line.next_task()
            while len(tasks) < room and line.job is job:
                task = stage.stage.task(line.index)
                if task.inputs or task.operator != tasks[0].operator:
                    break
                indexes.append(line.index)
                tasks.append(task)
                line.next_task()
        except Exception as error:  # of the plan, which makes the tasks
            self._broken.append(FailJob(job.id, plan_failed(error)))
            line.next_job()
            return True
        self._assign(job, stage, indexes, tasks, worker)
        return True

    def _form(self, line: _Line, job: Job) -> bool:
        """Assigns a gang's tasks, each to a slot of its own, and goes on to what comes then. False where it has to
        wait: for slots, which are kept for it, or for workers."""
        stage = job.open
        assert stage is not None
        size = gang_size(self._state, job, self._round.capacity(job), self._now)
        seats = self._round.gather(job, size) if size else []
        if not seats:
            return False
        try:
            tasks = [stage.stage.task(index) for index in range(size)]
        except Exception as error:  # of the plan, which makes the tasks
            self._broken.append(FailJob(job.id, plan_failed(error)))
        else:
            first = 0
            for worker, count in seats:
                indexes = list(range(first, first + count))
                self._assign(job, stage, indexes, tasks[first : first + count], worker, gang=size)
                first += count
        line.next_job()
        return True

    def _assign(
        self, job: Job, stage: OpenStage, indexes: list[int], tasks: list[Task], worker: Worker, gang: int = 0
    ) -> None:
        token = self._state.token(self._given)
        record, command = assignment(token, worker, job, stage, tuple(indexes), tuple(tasks), self._now, gang)
        if job.state == JobState.QUEUED and job.id not in self._touched:
            self.records.append(r.JobStarted(job.id, self._now.wall))
        self.records.append(record)
        self._commands.append(command)
        if job.stopping:
            tokens = tuple(range(token, token + len(tasks)))
            self._commands.append(EndEarly(worker.info.id, worker.session, tokens))
        self._touched[job.id] = None
        self._given += len(tasks)
        self._round.give(job, worker, len(tasks))


def _is_gang(job: Job) -> bool:
    return job.open is not None and job.open.stage.gang


def gang_size(state: State, job: Job, capacity: int, now: Now) -> int:
    """How many members a gang is to have, where so many could run at once; 0 while it waits for workers.

    Fewer than all are taken where the plan allows it, once nobody has come for a while, and nobody may yet come back.
    """
    stage = job.open
    assert stage is not None
    if capacity >= stage.stage.count:
        return stage.stage.count
    waited = now.mono >= stage.since + state.settings.gather and not state.suspects
    return capacity if waited and 0 < stage.stage.least <= capacity else 0


def assignment(
    token: int,
    worker: Worker,
    job: Job,
    stage: OpenStage,
    indexes: tuple[int, ...],
    tasks: tuple[Task, ...],
    now: Now,
    gang: int = 0,
) -> tuple[r.TasksAssigned, Assign]:
    """The record of an assignment, and what the worker is told. gang: members of the formation, where they are some."""
    name, info = stage.stage.name, worker.info
    record = r.TasksAssigned(job.id, name, info.id, token, indexes, now.wall, gang)
    gpus = job.spec.resources.gpus
    saved = {index: ref for index in indexes if (ref := stage.saved.get(stage.account(index)))} if stage.saved else {}
    timeout = job.spec.task_timeout
    return record, Assign(info.id, worker.session, token, job.id, name, indexes, tasks, timeout, gpus, saved)
