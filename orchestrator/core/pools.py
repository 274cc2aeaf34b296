"""Workers by what they have: those that are alike form a pool, sorted by how much they hold.

The rule: a pool holds exactly those of its workers that take work. `apply` keeps it so with each change of a worker;
so whoever places work looks at pools, of which there are few, and at the workers that it chooses.
"""

from bisect import bisect_left, insort

from orchestrator.core.state import Job, Pool, PoolKey, State, Worker
from orchestrator.core.values import WorkerInfo
from tensorfleet import capabilities
from tensorfleet.model import WorkerState


def key_of(info: WorkerInfo) -> PoolKey:
    has = info.resources
    labels = tuple(sorted(has.labels.items()))
    return info.slots, info.credit, has.cpus, has.memory, has.gpus, labels, info.fingerprint, info.capabilities


def sort_in(state: State, worker: Worker) -> None:
    """Puts a worker where it belongs now: into its pool, by what it holds, where it takes work."""
    place = (len(worker.held), worker.order, worker.info.id) if worker.takes_work else None
    if worker.place != place:
        if worker.place is not None:
            _remove(state, worker.pool, worker.place)
        if place is not None:
            insort(state.pools.setdefault(worker.pool, Pool(worker.info)).places, place)
        worker.place = place
    if worker.reachable and len(worker.held) > worker.info.slots:
        state.ahead[worker.info.id] = None
    else:
        state.ahead.pop(worker.info.id, None)
    if worker.unfit and worker.state == WorkerState.READY:
        state.unfit[worker.info.id] = None
    else:
        state.unfit.pop(worker.info.id, None)


def forget(state: State, worker: Worker) -> None:
    """Takes a worker out, of whose kind another is about to be put in."""
    state.ahead.pop(worker.info.id, None)
    state.unfit.pop(worker.info.id, None)
    if worker.place is not None:
        _remove(state, worker.pool, worker.place)
        worker.place = None


def _remove(state: State, key: PoolKey, place: tuple[int, int, str]) -> None:
    places = state.pools[key].places
    del places[bisect_left(places, place)]
    if not places:
        del state.pools[key]


def lacks(job: Job, info: WorkerInfo) -> str | None:
    """What keeps a worker from ever running the job's tasks, as it is; None where nothing does."""
    needs, has = job.spec.resources, info.resources
    if needs.cpus > has.cpus:
        return f"has {has.cpus} processors, needs {needs.cpus}"
    if needs.memory > has.memory:
        return f"has {has.memory} bytes of memory, needs {needs.memory}"
    if needs.gpus > has.gpus:
        return f"has {has.gpus} GPUs, needs {needs.gpus}"
    for name, value in needs.labels.items():
        if has.labels.get(name) != value:
            return f"lacks the label {name}={value}"
    if missing := capabilities.missing(job.resolved.requires, info.capabilities):
        return f"has no {missing}; `{capabilities.how_to_get(missing)}` there, and start it again"
    if job.fingerprint and (other := numerics_of(job, info)) != job.fingerprint:
        return f"has other numerics ({other}, needs {job.fingerprint})"
    return None


def numerics_of(job: Job, info: WorkerInfo) -> str:
    """A worker's fingerprint, as far as it concerns the job."""
    return capabilities.numerics(info.fingerprint, job.resolved.requires, info.capabilities)


def able(state: State, job: Job) -> list[tuple[PoolKey, Pool]]:
    """The pools whose workers could run the job."""
    return [(key, pool) for key, pool in state.pools.items() if lacks(job, pool.like) is None]


def numerics_for(state: State, job: Job) -> str | None:
    """The fingerprint that the job shall stay with: that of the most slots; None while no worker can run it."""
    slots: dict[str, int] = {}
    for _, pool in able(state, job):
        fingerprint = numerics_of(job, pool.like)
        slots[fingerprint] = slots.get(fingerprint, 0) + pool.like.slots * len(pool.places)
    if not slots:
        return None
    # Of many numerics none is the job's own where it allows a mixture; the empty text stands for that.
    return "" if job.spec.allow_mixed_numerics else max(sorted(slots), key=slots.__getitem__)
