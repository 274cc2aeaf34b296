"""Placement: which task goes to which worker next, and why another does not.

Order: higher priority first; among equals the submitter with the fewest running tasks; then the older job. A task goes
to a worker with a free slot, rather to one that has its inputs cached, rather to the emptiest. A slot may also have
half a second of work waiting, or one task of under a minute, as far as the worker's credit goes.
"""

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from orchestrator.core import records as r
from orchestrator.core.commands import Assign, Command, Recall
from orchestrator.core.decision import Decision
from orchestrator.core.events import Advance, FailJob, Place
from orchestrator.core.failures import plan_failed
from orchestrator.core.state import Attempt, Job, Now, OpenStage, State, Worker
from tensorfleet.model import JobState, Ref, WorkerState

LONG = 60.0
"""Seconds that a task may take for another to be sent ahead of its end."""


@dataclass(slots=True)
class Room:
    """What a worker can still take in this round."""

    worker: Worker
    slots: int
    credit: int
    memory: int
    gpus: int

    @classmethod
    def of(cls, state: State, worker: Worker) -> "Room":
        specs = [state.jobs[state.attempts[token].job].spec.resources for token in worker.held]
        have = worker.info.resources
        return cls(
            worker,
            worker.info.slots - len(worker.held),
            worker.info.credit - len(worker.held),
            have.memory - sum(spec.memory for spec in specs),
            have.gpus - sum(spec.gpus for spec in specs),
        )

    def fits(self, job: Job, among: Collection[str], *, ahead: int = 0) -> bool:
        """Whether a task of the job can go here now, or ahead of a free slot. among: the workers that it is on.

        ahead: how many tasks a slot may have waiting.
        """
        needs = job.spec.resources
        full = 0 < job.spec.workers <= len(among) and self.worker.info.id not in among
        room = self.slots > 0 or (self.credit > 0 and -self.slots < ahead * self.worker.info.slots)
        return (
            room
            and not full
            and self.memory >= needs.memory
            and self.gpus >= needs.gpus
            and lacks(job, self.worker) is None
        )


@dataclass(slots=True)
class _Round:
    """One round of placement, as it would stand if what it decided so far were applied."""

    rooms: list[Room]
    shares: dict[str, int]
    prefetch: float
    paces: Mapping[str, float]
    workers_of: dict[str, set[str]] = field(default_factory=dict)
    records: list[r.Record] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    touched: dict[str, None] = field(default_factory=dict)
    broken: list[FailJob] = field(default_factory=list)


def lacks(job: Job, worker: Worker) -> str | None:
    """What keeps a worker from ever running the job's tasks, as it is; None where nothing does."""
    needs, has = job.spec.resources, worker.info.resources
    if needs.cpus > has.cpus:
        return f"has {has.cpus} processors, needs {needs.cpus}"
    if needs.memory > has.memory:
        return f"has {has.memory} bytes of memory, needs {needs.memory}"
    if needs.gpus > has.gpus:
        return f"has {has.gpus} GPUs, needs {needs.gpus}"
    for name, value in needs.labels.items():
        if has.labels.get(name) != value:
            return f"lacks the label {name}={value}"
    if job.fingerprint and worker.info.fingerprint != job.fingerprint:
        return f"has other numerics ({worker.info.fingerprint}, needs {job.fingerprint})"
    return None


def numerics_for(state: State, job: Job) -> str | None:
    """The fingerprint that the job shall stay with: that of the most slots; None while no worker can run it."""
    slots: dict[str, int] = {}
    for worker in state.workers.values():
        if worker.state == WorkerState.READY and lacks(job, worker) is None:
            slots[worker.info.fingerprint] = slots.get(worker.info.fingerprint, 0) + worker.info.slots
    if not slots:
        return None
    # Of many numerics none is the job's own where it allows a mixture; the empty text stands for that.
    return "" if job.spec.allow_mixed_numerics else max(sorted(slots), key=slots.__getitem__)


def place(state: State, event: Place, now: Now) -> Decision:
    """Hands out what can be handed out, then evens out what was sent ahead."""
    startable = [Advance(job) for job in state.unchosen if numerics_for(state, state.jobs[job]) is not None]
    turn = _Round(
        rooms=[Room.of(state, worker) for worker in state.workers.values() if worker.state == WorkerState.READY],
        shares=dict(state.shares),
        prefetch=state.settings.prefetch,
        paces=state.paces,
    )
    starved = _hand_out(state, turn, now)
    if not starved:
        _recall_for_idle(state, turn)
    then = (*startable, *(Advance(job) for job in turn.touched), *turn.broken)
    return Decision(tuple(turn.records), tuple(turn.commands), then=then)


class _Line:
    """The jobs of a line, oldest first, and their tasks that can be assigned, one after another."""

    def __init__(self, state: State, jobs: Collection[str]) -> None:
        self._jobs = (state.jobs[job] for job in jobs)
        self._indexes: Iterator[int] = iter(())
        self.job: Job | None = None
        self.index = 0
        self.next_job()

    def next_job(self) -> None:
        for job in self._jobs:
            if job.open is not None and job.fingerprint is not None:
                self.job, self._indexes = job, job.open.pending()
                index = next(self._indexes, None)
                if index is not None:
                    self.index = index
                    return
        self.job = None

    def next_task(self) -> None:
        index = next(self._indexes, None)
        if index is None:
            self.next_job()
        else:
            self.index = index


def _hand_out(state: State, turn: _Round, now: Now) -> bool:
    """Assigns by order until nothing fits; True where tasks are left that wait for a slot."""
    if not any(room.credit > 0 for room in turn.rooms):
        return True
    lines = {key: _Line(state, jobs) for key, jobs in state.lines.items()}
    queue = [(*_rank(turn, key, line.job), key) for key, line in lines.items() if line.job is not None]
    heapq.heapify(queue)
    starved = False
    while queue and any(room.credit > 0 for room in turn.rooms):
        _, share, _, key = heapq.heappop(queue)
        line = lines[key]
        job = line.job
        assert job is not None
        assert job.open is not None
        if share == turn.shares.get(key[1], 0):  # else it has changed since: the line takes its turn anew
            try:
                room = _choose(turn, job, job.open, line.index)
                if room is not None:
                    _assign(state, turn, room, job, job.open, line.index, now)
            except Exception as error:  # of the plan, which makes the tasks
                turn.broken.append(FailJob(job.id, plan_failed(error)))
                room = None
            if room is None:
                starved = True
                line.next_job()
            else:
                line.next_task()
        if line.job is not None:
            heapq.heappush(queue, (*_rank(turn, key, line.job), key))
    return starved or bool(queue)


def _rank(turn: _Round, key: tuple[int, str], job: Job) -> tuple[int, int, int]:
    """Whose turn is next: the least of these."""
    return key[0], turn.shares.get(key[1], 0), job.order


def _choose(turn: _Round, job: Job, stage: OpenStage, index: int) -> Room | None:
    workers = turn.workers_of.setdefault(job.id, set(job.by_worker))
    fitting = [room for room in turn.rooms if room.fits(job, workers, ahead=_ahead_of(turn, stage))]
    if not fitting:
        return None
    if len(fitting) == 1:
        return fitting[0]
    inputs = stage.stage.task(index).inputs
    return max(fitting, key=lambda room: (room.slots > 0, _cached(room.worker, inputs), room.slots, room.credit))


def _ahead_of(turn: _Round, stage: OpenStage) -> int:
    """How many of a stage's tasks a slot may have waiting.

    A short wait for the next task is a large part of a short task. One that takes a minute is worth its wait: what
    waits at a worker waits behind what it runs, also when work of higher priority comes.
    """
    pace = stage.mean_seconds if stage.timed else turn.paces.get(stage.operator)
    if pace is None or pace > LONG:
        return 0
    return max(1, int(turn.prefetch / max(pace, 0.001)))


def _cached(worker: Worker, inputs: tuple[Ref, ...]) -> int:
    return sum(ref.size for ref in inputs if ref.digest in worker.cached)


def _assign(state: State, turn: _Round, room: Room, job: Job, stage: OpenStage, index: int, now: Now) -> None:
    token = state.token(len(turn.commands))
    record, command = assignment(token, room.worker, job, stage, index, now)
    if job.state == JobState.QUEUED and job.id not in turn.touched:
        turn.records.append(r.JobStarted(job.id, now.wall))
    turn.records.append(record)
    turn.commands.append(command)
    turn.shares[job.spec.submitter] = turn.shares.get(job.spec.submitter, 0) + 1
    turn.workers_of[job.id].add(room.worker.info.id)
    turn.touched[job.id] = None
    room.slots -= 1
    room.credit -= 1
    room.memory -= job.spec.resources.memory
    room.gpus -= job.spec.resources.gpus


def assignment(
    token: int, worker: Worker, job: Job, stage: OpenStage, index: int, now: Now
) -> tuple[r.AttemptAssigned, Assign]:
    """The record of an assignment, and what the worker is told."""
    name = stage.stage.name
    record = r.AttemptAssigned(job.id, name, index, token, worker.info.id, now.wall)
    task = stage.stage.task(index)
    gpus = job.spec.resources.gpus
    command = Assign(worker.info.id, worker.session, token, job.id, name, index, task, job.spec.task_timeout, gpus)
    return record, command


def _recall_for_idle(state: State, turn: _Round) -> None:
    """Asks back what was sent ahead to one worker while another, which could run it, has nothing to do."""
    idle = [room for room in turn.rooms if room.slots > 0]
    if not idle or turn.records:
        return
    for worker in state.workers.values():
        if len(worker.held) <= worker.info.slots or not worker.reachable:
            continue
        attempt = _ahead(state, worker)
        if attempt is None:
            continue
        job = state.jobs[attempt.job]
        if any(room.fits(job, job.by_worker) and room.worker is not worker for room in idle):
            turn.records.append(r.AttemptRecalled(attempt.token))
            turn.commands.append(Recall(worker.info.id, worker.session, attempt.token))
            return


def _ahead(state: State, worker: Worker) -> Attempt | None:
    """The last attempt that a worker holds, has not begun and was not asked back."""
    for token in reversed(worker.held):
        attempt = state.attempts[token]
        if not attempt.started:
            return None if attempt.recalled else attempt
    return None


def why_pending(state: State, job: Job) -> str:
    """Why a live job has nothing running, or not more; in one line, by the same tests that place it."""
    ready = [worker for worker in state.workers.values() if worker.state == WorkerState.READY]
    away = sum(worker.state == WorkerState.SUSPECT for worker in state.workers.values())
    if not ready and away:
        return f"{away} workers are away and have a moment to come back; no other takes work"
    if not ready:
        return "no worker takes work; `tensorfleet worker join ADDRESS` adds one"
    able = [worker for worker in ready if lacks(job, worker) is None]
    if not able:
        return f"none of {len(ready)} workers can run it: {lacks(job, ready[0])}"
    stage = job.open
    if stage is None or stage.asked > stage.checked:
        return "known results are being looked up"
    if stage.done == stage.stage.count:
        return "its next stage is about to open"
    if not stage.has_pending():
        if stage.live:
            return f"{len(stage.live)} tasks are running, and the stage has no others"
        return f"{len(stage.waiting)} tasks wait out their backoff"
    if 0 < job.spec.workers <= len(job.by_worker):
        return f"it runs on {len(job.by_worker)} workers, the most that its spec allows"
    if all(len(worker.held) >= worker.info.slots for worker in able):
        return "every slot that could run it is busy"
    if not any(Room.of(state, worker).fits(job, job.by_worker) for worker in able):
        return "a slot is free, but what runs has taken the memory or the GPUs that it needs"
    return "it is next"
