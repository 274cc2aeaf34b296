"""Letting go of what a job has made and needs no more: old states of a long training, above all.

The rule: the plan says which stages' outputs nothing that follows reads. They hold no blobs from then on, for the job
or as known results; what their tasks said stays, and so does what their outputs were, by digest.
"""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from orchestrator.core.records import Released
from orchestrator.core.results import Results
from orchestrator.core.state import Job, State
from tensorfleet.keys import task_key
from tensorfleet.model import TaskResult
from tensorfleet.plan import Stage, StageResults


def releases(job: Job, stages: Iterable[str]) -> Iterator[Released]:
    """What letting go of stages comes to, of which the last may still be the open one."""
    done = job.with_open()
    for name in stages:
        place = _place(done, name)
        stage = done[place].stage or job.plan.next_stage(job.spec, job.resolved, done[:place])
        assert isinstance(stage, Stage)
        assert stage.name == name, f"{job.id}: the plan gives {stage.name} in the place of {name}"
        tasks = (stage.task(index) for index in range(stage.count))
        keys = tuple(task_key(task, job.fingerprint or "") if task.pure else "" for task in tasks)
        yield Released(name, keys)


def release(state: State, job: Job, released: Iterable[Released]) -> None:
    """Applies it; the stages are done."""
    for each in released:
        place = _place(job.done, each.stage)
        state.let_go += sum(ref.size for result in job.done[place].results for ref in result.outputs)
        job.done[place] = replace(job.done[place], stage=None, released=True)


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
