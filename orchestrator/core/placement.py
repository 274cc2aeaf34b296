"""Placement: which task goes to which worker next.

Order: higher priority first; among equals the submitter with the fewest running tasks; then the older job. A task goes
to a worker with a free slot, rather to one that has its inputs cached, rather to the emptiest. A slot may also have
half a second of work waiting, or one task of under a minute, as far as the worker's credit goes. A gang's tasks go all
at once or not at all; one that has to wait for slots keeps those that it can use, so that nobody after it takes them.
"""

import heapq
from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator

from orchestrator.core import records as r
from orchestrator.core.commands import Assign, Command, Recall
from orchestrator.core.decision import Decision, join
from orchestrator.core.events import Advance, FailJob, Place
from orchestrator.core.failures import plan_failed
from orchestrator.core.pools import able
from orchestrator.core.records import WorkerInfo
from orchestrator.core.state import Job, LineKey, Now, OpenStage, Pool, PoolKey, State, Worker
from tensorfleet.model import JobState, Ref, Task

LONG = 60.0
"""Seconds that a task may take for another to be sent ahead of its end."""

TOGETHER = 2048
"""Tasks in one assignment, at most."""

MANY = 16
"""Tasks waiting at a worker, from which on they are sent half of them at a time."""

Placed = tuple[int, int, str]
"""A worker's place in its pool; see `Pool`."""


class Round:
    """One round of placement: the state as it would stand if what was decided so far were applied."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._able: dict[str, list[tuple[PoolKey, Pool]]] = {}
        self._places: dict[PoolKey, list[Placed]] = {}
        self._given: dict[str, list[Job]] = {}
        self._new: dict[str, dict[str, None]] = {}
        self._shares: dict[str, int] = {}
        self._kept: dict[str, None] = {}

    @property
    def kept(self) -> Collection[str]:
        """Workers of whom a gang waits for slots: nothing is sent ahead to them."""
        return self._kept

    def share(self, submitter: str) -> int:
        return self._state.shares.get(submitter, 0) + self._shares.get(submitter, 0)

    def choose(self, job: Job, inputs: tuple[Ref, ...], *, ahead: int = 0, apart: str = "") -> Worker | None:
        """The best worker that can take a task of the job now; None where there is none.

        ahead: how many tasks a slot may have waiting. apart: a worker that is not to be it.
        """
        needs, best, chosen = job.spec.resources, (False, 0, 0, 0, 0), None
        for places in self._places_for(job):
            for held, order, name in places:
                worker = self._state.workers[name]
                slots, credit = worker.info.slots - held, worker.info.credit - held
                if slots <= 0 and (best[0] or held >= _refilled_at(worker, ahead)):
                    break  # those that follow hold no less
                if slots <= 0 and name in self._kept:
                    continue
                if name == apart or not self._has(worker, needs.memory, needs.gpus):
                    continue
                rank = (slots > 0, _cached(worker, inputs) if inputs else 0, slots, credit, -order)
                if chosen is None or rank > best:
                    best, chosen = rank, worker
                if not inputs:
                    break
        return chosen

    def room(self, job: Job, worker: Worker, pending: int, ahead: int) -> int:
        """How many of so many tasks without inputs the worker takes at once: its part where others can take them too.

        First as many as it has slots; once all have work, what the slots may have waiting.
        """
        needs, held = job.spec.resources, self._held(worker)
        if needs.memory or needs.gpus or job.spec.workers or worker.place is None:
            return 1
        most = worker.info.slots if held < worker.info.slots else _most(worker, ahead)
        places = self._places.get(worker.pool, self._state.pools[worker.pool].places)
        others = bisect_left(places, (most,))
        return max(1, min(most - held, -(-pending // others), TOGETHER))

    def give(self, job: Job, worker: Worker, count: int = 1) -> None:
        """Counts tasks of the job as the worker's."""
        name = worker.info.id
        self._fill(job, worker, count)
        self._shares[job.spec.submitter] = self._shares.get(job.spec.submitter, 0) + count
        if name not in job.by_worker:
            self._new.setdefault(job.id, {})[name] = None

    def _fill(self, job: Job, worker: Worker, count: int) -> None:
        name, given = worker.info.id, self._given.setdefault(worker.info.id, [])
        places = self._places.setdefault(worker.pool, list(self._state.pools[worker.pool].places))
        held = self._held(worker)
        del places[bisect_left(places, (held, worker.order, name))]
        insort(places, (held + count, worker.order, name))
        given += [job] * count

    def capacity(self, job: Job) -> int:
        """How many of the job's tasks could run at once, if nothing else did."""
        pools = [(_seats(job, pool.like), len(pool.places)) for _, pool in able(self._state, job)]
        left, total = job.spec.workers or sum(workers for _, workers in pools), 0
        for seats, workers in sorted(pools, reverse=True):
            total += seats * min(workers, left)
            left -= min(workers, left)
        return total

    def gather(self, job: Job, count: int) -> list[tuple[Worker, int]]:
        """Workers with how many of a gang's tasks each can begin now, the emptiest first: in all as many as asked for,
        or else none, and slots are kept for it."""
        free, busy = self._free(job, count)
        chosen = free[: job.spec.workers or None]
        found = sum(seats for _, seats in chosen)
        if found >= count:
            return _cut(chosen, count)
        for worker, seats in chosen:
            self._fill(job, worker, seats)
        more = [(worker, _seats(job, worker.info)) for worker in busy]
        room = max(0, job.spec.workers - len(chosen)) if job.spec.workers else len(more)
        self._kept.update((worker.info.id, None) for worker, _ in [*chosen, *_cut(more[:room], count - found)])
        return []

    def _free(self, job: Job, count: int) -> tuple[list[tuple[Worker, int]], list[Worker]]:
        """Workers that could have a gang's tasks, as far as it may need them: with room now, and how much; and busy."""
        free: list[tuple[int, int, Worker]] = []
        busy: list[tuple[int, int, Worker]] = []
        for key, pool in self._able[job.id] if job.id in self._able else able(self._state, job):
            found = 0
            for held, order, name in self._places.get(key, pool.places):
                if found >= count:
                    break
                worker = self._state.workers[name]
                seats = self._seats_left(job, worker, held)
                if seats > 0:
                    free.append((-seats, order, worker))
                else:
                    busy.append((held, order, worker))
                found += seats or _seats(job, worker.info)
        return [(worker, -seats) for seats, _, worker in sorted(free, key=_place)], [
            worker for _, _, worker in sorted(busy, key=_place)
        ]

    def _seats_left(self, job: Job, worker: Worker, held: int) -> int:
        """How many tasks of the job a worker can begin now."""
        needs, seats = job.spec.resources, min(worker.info.slots - held, worker.info.credit - held)
        while seats > 0 and not self._has(worker, seats * needs.memory, seats * needs.gpus):
            seats -= 1
        return max(seats, 0)

    def _held(self, worker: Worker) -> int:
        return len(worker.held) + len(self._given.get(worker.info.id, ()))

    def _has(self, worker: Worker, memory: int, gpus: int) -> bool:
        if not (memory or gpus):
            return True
        given = [job.spec.resources for job in self._given.get(worker.info.id, ())]
        taken = worker.memory_taken + sum(needs.memory for needs in given)
        taken_gpus = worker.gpus_taken + sum(needs.gpus for needs in given)
        return worker.info.resources.memory - taken >= memory and worker.info.resources.gpus - taken_gpus >= gpus

    def _places_for(self, job: Job) -> Iterator[Iterable[Placed]]:
        """Where the job's tasks can go as far as its spec says, in runs of workers that are alike, emptiest first."""
        pools = self._able.get(job.id)
        if pools is None:
            pools = self._able[job.id] = able(self._state, job)
        among = self._new.get(job.id, {})
        if not 0 < job.spec.workers <= len(job.by_worker) + len(among):
            return (self._places.get(key, pool.places) for key, pool in pools)
        known = {key for key, _ in pools}
        return ([place] for name in (*job.by_worker, *among) for place in self._place(name, known))

    def _place(self, name: str, among: Collection[PoolKey]) -> Iterator[Placed]:
        worker = self._state.workers.get(name)
        if worker is not None and worker.place is not None and worker.pool in among:
            yield self._held(worker), worker.order, name


def _place(listed: tuple[int, int, Worker]) -> tuple[int, int]:
    return listed[:2]


def _seats(job: Job, info: WorkerInfo) -> int:
    """How many tasks of the job a worker can have at once, if it has no others."""
    needs, has = job.spec.resources, info.resources
    seats = min(info.slots, info.credit)
    if needs.memory:
        seats = min(seats, has.memory // needs.memory)
    return min(seats, has.gpus // needs.gpus) if needs.gpus else seats


def _cut(listed: Iterable[tuple[Worker, int]], count: int) -> list[tuple[Worker, int]]:
    """As many of the first as are needed for so many seats."""
    chosen: list[tuple[Worker, int]] = []
    for worker, seats in listed:
        if count <= 0:
            break
        chosen.append((worker, min(seats, count)))
        count -= seats
    return chosen


def _most(worker: Worker, ahead: int) -> int:
    """How many tasks a worker may hold, of which each slot may have so many waiting."""
    return min((1 + ahead) * worker.info.slots, worker.info.credit)


def _refilled_at(worker: Worker, ahead: int) -> int:
    """How many tasks a worker that has no free slot must hold less than to be sent more ahead.

    Where many wait there, half of them are to be through first: what is sent is then many at once, and so is what is
    heard of them.
    """
    most = _most(worker, ahead)
    waiting = most - worker.info.slots
    return most if waiting < MANY else most - waiting // 2


def _cached(worker: Worker, inputs: tuple[Ref, ...]) -> int:
    return sum(ref.size for ref in inputs if ref.digest in worker.cached)


def place(state: State, event: Place, now: Now) -> Decision:
    """Hands out what can be handed out, else evens out what was sent ahead."""
    handed = _Handing(state, now)
    if handed.out() or handed.records:
        return join([handed.decision(), *_recall_for_gang(state, handed.kept)])
    return _recall_for_idle(state) or handed.decision()


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
        ahead = _ahead_of(self._state, stage)
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


def _ahead_of(state: State, stage: OpenStage) -> int:
    """How many of a stage's tasks a slot may have waiting.

    A short wait for the next task is a large part of a short task. One that takes a minute is worth its wait: what
    waits at a worker waits behind what it runs, also when work of higher priority comes.
    """
    pace = stage.mean_seconds if stage.timed else state.paces.get(stage.operator)
    if pace is None or pace > LONG:
        return 0
    return max(1, int(state.settings.prefetch / max(pace, 0.0001)))


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


def _recall_for_idle(state: State) -> Decision | None:
    """Asks back what was sent ahead to one worker while another, which could run it, has nothing to do."""
    if not state.ahead or all(pool.places[0][0] >= pool.like.slots for pool in state.pools.values()):
        return None
    turn = Round(state)
    for name in state.ahead:
        worker = state.workers[name]
        ahead = _ahead(state, worker)
        if not ahead:
            continue
        job = state.jobs[state.attempts[ahead[0]].job]
        idle = turn.choose(job, (), apart=name)
        if idle is not None and job.open is not None:
            room = _most(idle, _ahead_of(state, job.open)) - len(idle.held)
            back = tuple(ahead[: min((len(ahead) + 1) // 2, room)])  # so that both have as much to do
            return Decision((r.AttemptsRecalled(back),), (Recall(name, worker.session, back),))
    return None


def _recall_for_gang(state: State, kept: Iterable[str]) -> Iterator[Decision]:
    """Asks back what was sent ahead to workers of whom a gang waits for slots."""
    for name in kept:
        worker = state.workers[name]
        back = tuple(_ahead(state, worker)[: max(0, len(worker.held) - worker.info.slots)])
        if back and worker.reachable:
            yield Decision((r.AttemptsRecalled(back),), (Recall(name, worker.session, back),))


def _ahead(state: State, worker: Worker) -> list[int]:
    """What a worker holds and has not begun, the last first, as far as it is of one job; none while some of it is
    asked back."""
    found: list[int] = []
    job = ""
    for token in reversed(worker.held):
        attempt = state.attempts[token]
        if attempt.started or attempt.gang:  # a gang's has a slot, and would take the others with it
            continue
        if attempt.recalled:
            return []
        if job and attempt.job != job:
            break
        job = attempt.job
        found.append(token)
    return found
