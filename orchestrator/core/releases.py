"""Letting go of what a job has made and needs no more: old states of a long training, above all.

The rule: the plan says which stages' outputs nothing that follows reads. They hold no blobs from then on, for the job
or as known results; what their tasks said stays, and so does what their outputs were, by digest.
"""

from collections.abc import Collection, Iterable, Iterator

from msgspec.structs import replace

from orchestrator.core.results import Results
from orchestrator.core.state import Job, State
from orchestrator.core.values import Released
from tensorfleet.keys import task_key
from tensorfleet.model import TaskResult
from tensorfleet.plan import Stage, StageResults


def releases(job: Job, stages: Iterable[str]) -> Iterator[Released]:
    """What letting go of stages comes to, of which the last may still be the open one."""
    done = job.with_open()
    for name in stages:
        stage = _stage(job, done, _place(done, name))
        tasks = (stage.task(index) for index in range(stage.count))
        keys = tuple(task_key(task, job.fingerprint or "") if task.pure else "" for task in tasks)
        yield Released(name, keys)


def release(state: State, job: Job, released: Iterable[Released]) -> None:
    """Applies it; the stages are done."""
    for each in released:
        place = _place(job.done, each.stage)
        state.let_go += sum(ref.size for result in job.done[place].results for ref in result.outputs)
        job.done[place] = replace(job.done[place], stage=None, released=True)


def comes_of_released(job: Job, digests: Collection[str]) -> bool:
    """Whether any of these blobs, which the job has made, can be made again only of others that it has let go of."""
    done = job.with_open()
    gone = {ref.digest for stage in done if stage.released for result in stage.results for ref in result.outputs}
    if not gone:
        return False
    places = [place for place, stage in enumerate(done) if not stage.released]
    return any(
        ref.digest in gone
        for place in places
        for index in _makers(done[place], digests)
        for ref in _stage(job, done, place).task(index).inputs
    )


def _makers(stage: StageResults, digests: Collection[str]) -> Iterator[int]:
    """The tasks of a stage that have made one of these."""
    assert isinstance(stage.results, Results)
    for index in range(len(stage.results)):
        if stage.results.has(index) and any(ref.digest in digests for ref in stage.results[index].outputs):
            yield index


def _stage(job: Job, done: list[StageResults], place: int) -> Stage:
    """The stage at a place, from the plan where it is not remembered."""
    stage = done[place].stage or job.plan.next_stage(job.spec, job.resolved, done[:place])
    assert isinstance(stage, Stage)
    assert stage.name == done[place].name, f"{job.id}: the plan gives {stage.name} in the place of {done[place].name}"
    return stage


def _place(done: list[StageResults], name: str) -> int:
    """Where a stage is; from the end, since most are let go of soon."""
    for place in range(len(done) - 1, -1, -1):
        if done[place].name == name:
            return place
    raise LookupError(f"no stage {name} is done")


def results_of(job: Job, released: Released) -> Iterator[tuple[str, TaskResult]]:
    """The results of a stage that was let go of, each with its key; of a gang some have none."""
    results = job.done[_place(job.done, released.stage)].results
    assert isinstance(results, Results)
    return ((key, results[index]) for index, key in enumerate(released.keys) if key and results.has(index))
