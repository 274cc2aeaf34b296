"""What must hold after every step, whatever happened. A breach names what it is about."""

from collections.abc import Iterator

from orchestrator.core.lines import line_of
from orchestrator.core.pools import key_of
from orchestrator.core.reach import made_by, read_by
from orchestrator.core.state import GONE, Job, LineKey, OpenStage, PoolKey, State, Status, Timer, TimerKind
from tensorfleet.model import JobState, WorkerState


class Breach(AssertionError):  # noqa: N818
    """An invariant does not hold."""


def check(state: State) -> None:
    """Raises Breach with everything that is wrong."""
    wrong = [*_attempts(state), *_workers(state), *_jobs(state), *_lines(state), *_pools(state), *_timers(state)]
    if wrong:
        raise Breach("; ".join(wrong))


def _attempts(state: State) -> Iterator[str]:
    for token, attempt in state.attempts.items():
        job = state.jobs.get(attempt.job)
        if attempt.job not in state.active or job is None or job.open is None:
            yield f"attempt {token} is of job {attempt.job}, which is over"
            continue
        if token not in job.open.live.get(attempt.index, ()):
            yield f"attempt {token} is not among those of its task"
        worker = state.workers.get(attempt.worker)
        if worker is None or token not in worker.held:
            yield f"attempt {token} is not held by its worker {attempt.worker}"


def _workers(state: State) -> Iterator[str]:
    for name, worker in state.workers.items():
        if len(worker.held) > max(worker.info.slots, worker.info.credit):
            yield f"worker {name} holds {len(worker.held)} attempts, more than its credit {worker.info.credit}"
        if worker.state in GONE and worker.held:
            yield f"worker {name} is {worker.state} and still holds {list(worker.held)}"
        needs = [
            state.jobs[state.attempts[token].job].spec.resources for token in worker.held if token in state.attempts
        ]
        taken = sum(need.memory for need in needs), sum(need.gpus for need in needs)
        if taken != (worker.memory_taken, worker.gpus_taken):
            yield f"worker {name}: {worker.memory_taken} bytes and {worker.gpus_taken} GPUs are taken, not {taken}"
        yield from (
            f"worker {name} holds {token}, which is over" for token in worker.held if token not in state.attempts
        )


def _pools(state: State) -> Iterator[str]:
    places: dict[PoolKey, list[tuple[int, int, str]]] = {}
    for name, worker in state.workers.items():
        if worker.takes_work:
            places.setdefault(key_of(worker.info), []).append((len(worker.held), worker.order, name))
    kept = {key: pool.places for key, pool in state.pools.items()}
    if kept != {key: sorted(listed) for key, listed in places.items()}:
        yield f"pools are kept as {kept}, yet they are {places}"
    ahead = {
        name for name, worker in state.workers.items() if worker.reachable and len(worker.held) > worker.info.slots
    }
    if set(state.ahead) != ahead:
        yield f"{list(state.ahead)} are said to hold more than they have slots, yet {ahead} do"
    departed = {name for name, worker in state.workers.items() if worker.state in GONE}
    if set(state.departed) != departed:
        yield f"{list(state.departed)} are said to be gone, yet {departed} are"
    unfit = {name for name, worker in state.workers.items() if worker.state == WorkerState.READY and worker.unfit}
    if set(state.unfit) != unfit:
        yield f"{list(state.unfit)} are said to be unfit, yet {unfit} are"
    suspects = {name for name, worker in state.workers.items() if worker.state == WorkerState.SUSPECT}
    if set(state.suspects) != suspects:
        yield f"{list(state.suspects)} are said to be away, yet {suspects} are"


def _timers(state: State) -> Iterator[str]:
    wanted = {Timer(worker.timer, TimerKind.WORKER, name) for name, worker in state.workers.items() if worker.timer}
    for name, worker in state.workers.items():
        latest = worker.heard + state.settings.lease if worker.reachable else worker.deadline
        if (worker.timer is None) != (latest is None) or (worker.timer or 0.0) > (latest or 0.0):
            yield f"worker {name} is looked at {worker.timer}, yet must be at {latest}"
    for job in map(state.jobs.__getitem__, state.active):
        waiting = job.open.waiting if job.open else {}
        wanted |= {Timer(until, TimerKind.BACKOFF, job.id, index) for index, until in waiting.items()}
        wanted |= {Timer(job.deadline, TimerKind.DEADLINE, job.id)} if job.deadline is not None else set()
    if not wanted <= set(state.timers):
        yield f"no timer is set for {wanted - set(state.timers)}"
    if state.timers and state.timers[0] not in wanted:
        yield f"{state.timers[0]} means nothing, and is next"


def _lines(state: State) -> Iterator[str]:
    queued: dict[LineKey, list[tuple[int, str]]] = {}
    for job in map(state.jobs.__getitem__, state.active):
        waits = job.fingerprint is not None and job.state != JobState.PAUSED
        if waits and job.open is not None and next(job.open.pending(), None) is not None:
            queued.setdefault(line_of(job), []).append((job.order, job.id))
    if state.lines != {key: sorted(line) for key, line in queued.items()}:
        yield f"{state.lines} are in line, yet {queued} have tasks to hand out"
    unchosen = {job for job in state.active if state.jobs[job].fingerprint is None}
    if set(state.unchosen) != unchosen:
        yield f"{list(state.unchosen)} are said to have no numerics, yet {unchosen} have none"
    shares: dict[str, int] = {}
    for attempt in state.attempts.values():
        submitter = state.jobs[attempt.job].spec.submitter
        shares[submitter] = shares.get(submitter, 0) + 1
    if shares != state.shares:
        yield f"shares are kept as {state.shares}, yet they are {shares}"


def _jobs(state: State) -> Iterator[str]:
    for job_id in state.active:
        job = state.jobs[job_id]
        if job.state.ended:
            yield f"job {job_id} is {job.state} and still active"
        if (job.paused_at is not None) != (job.state == JobState.PAUSED):
            yield f"job {job_id} is {job.state}, and paused at {job.paused_at}"
        if job.open is not None:
            yield from _stage(job, job.open)
            yield from _inputs(job, job.open)
    for job_id, job in state.jobs.items():
        if job_id not in state.active and not (job.state.ended and job_id in state.ended):
            yield f"job {job_id} is {job.state} and not active"


def _stage(job: Job, stage: OpenStage) -> Iterator[str]:
    name = f"{job.id}/{stage.stage.name}"
    live = sum(len(tokens) for tokens in stage.live.values())
    if live != job.running or sum(job.by_worker.values()) != job.running:
        yield f"{name}: {job.running} running, yet {live} live and {job.by_worker} by worker"
    if stage.done != stage.status.count(Status.SUCCEEDED):
        yield f"{name}: {stage.done} done, yet {stage.status.count(Status.SUCCEEDED)} succeeded"
    if stage.returned != sorted(set(stage.returned)):
        yield f"{name}: {stage.returned} are pending again, not each once and in order"
    if stage.stage.gang and stage.live and sorted(stage.live) != list(range(stage.formed)):
        yield f"{name}: a formation of {stage.formed} is not whole: {sorted(stage.live)} are there"
    over = [index for index in stage.saved if stage.status[index] in (Status.SUCCEEDED, Status.FAILED)]
    if over:
        yield f"{name}: what {over} saved is kept, yet they are over"
    for index, status in enumerate(stage.status):
        yield from (f"{name}[{index}] {fault}" for fault in _task(stage, index, Status(status)))


def _inputs(job: Job, stage: OpenStage) -> Iterator[str]:
    """What a job reads it was given, or it has made it and not let go of it."""
    there = {ref.digest for ref in (*read_by(job.resolved), *made_by(job))}
    gone = {ref.digest for each in job.done if each.released for result in each.results for ref in result.outputs}
    for index in range(stage.stage.count if gone - there else 0):
        for ref in stage.stage.task(index).inputs:
            if ref.digest in gone - there:
                yield f"{job.id}/{stage.stage.name}[{index}] reads {ref.digest}, which the job has let go of"


def _task(stage: OpenStage, index: int, status: Status) -> Iterator[str]:
    held = index in stage.returned or index in stage.waiting
    if status == Status.PENDING and not (held or index >= stage.frontier):
        yield "is pending and nowhere: it is lost"
    if held and index >= stage.frontier:
        yield "waits twice: as one given back, and as one never assigned"
    if status != Status.PENDING and held:
        yield f"is {status.name} and waits"
    if status == Status.RUNNING and not stage.live.get(index):
        yield "is running, yet nobody has it"
    if status != Status.RUNNING and stage.live.get(index):
        yield f"is {status.name}, yet {stage.live[index]} run it"
    if (status == Status.SUCCEEDED) != stage.results.has(index):
        yield f"is {status.name}, which its result belies"
