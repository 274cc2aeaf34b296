"""What must hold after every step, whatever happened. A breach names what it is about."""

from collections.abc import Iterator

from orchestrator.core.state import GONE, Job, OpenStage, State, Status


class Breach(AssertionError):  # noqa: N818
    """An invariant does not hold."""


def check(state: State) -> None:
    """Raises Breach with everything that is wrong."""
    wrong = [*_attempts(state), *_workers(state), *_jobs(state), *_lines(state)]
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
        yield from (
            f"worker {name} holds {token}, which is over" for token in worker.held if token not in state.attempts
        )


def _lines(state: State) -> Iterator[str]:
    queued = [job for line in state.lines.values() for job in line]
    if sorted(queued) != sorted(state.active):
        yield f"{queued} wait in line, yet {list(state.active)} are active"
    unchosen = {job for job in state.active if state.jobs[job].fingerprint is None}
    if set(state.unchosen) != unchosen:
        yield f"{list(state.unchosen)} are said to have no numerics, yet {unchosen} have none"
    for line in state.lines.values():
        orders = [state.jobs[job].order for job in line]
        if orders != sorted(orders):
            yield f"{list(line)} are not in the order they came"
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
        if job.open is not None:
            yield from _stage(job, job.open)
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
    due = {(until, index) for index, until in stage.waiting.items()}
    if not due <= set(stage.dues) or (stage.dues and stage.dues[0] != min(due, default=None)):
        yield f"{name}: {stage.waiting} wait, yet next is due {stage.dues[:1]}"
    for index, status in enumerate(stage.status):
        yield from (f"{name}[{index}] {fault}" for fault in _task(stage, index, Status(status)))


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
