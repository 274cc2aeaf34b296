"""Which workers have room for a job's tasks.

The rule: what is given out in a round counts at once, though nothing of it is applied yet; so each choice of a round
sees those before it.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator

from orchestrator.core.pools import able
from orchestrator.core.state import Job, Pool, PoolKey, State, Worker
from orchestrator.core.values import WorkerInfo
from tensorfleet.model import Ref

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
        most = worker.info.slots if held < worker.info.slots else may_hold(worker, ahead)
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


def may_hold(worker: Worker, ahead: int) -> int:
    """How many tasks a worker may hold, of which each slot may have so many waiting."""
    return min((1 + ahead) * worker.info.slots, worker.info.credit)


def _refilled_at(worker: Worker, ahead: int) -> int:
    """How many tasks a worker that has no free slot must hold less than to be sent more ahead.

    Where many wait there, half of them are to be through first: what is sent is then many at once, and so is what is
    heard of them.
    """
    most = may_hold(worker, ahead)
    waiting = most - worker.info.slots
    return most if waiting < MANY else most - waiting // 2


def _cached(worker: Worker, inputs: tuple[Ref, ...]) -> int:
    return sum(ref.size for ref in inputs if ref.digest in worker.cached)
