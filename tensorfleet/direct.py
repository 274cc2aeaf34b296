"""Runs a job's plan in this process alone, with no fleet: the same tasks, operators and threads, so the same model.

The rule: what is left on disk is what a fleet would leave, objects by digest in `cas/sha256/ab/<digest>`.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

from tensorfleet import capabilities, catalog
from tensorfleet.errors import FailedPrecondition
from tensorfleet.execution import Pools, execute, written
from tensorfleet.kinds import plan_for
from tensorfleet.model import JobResult, JobSpec, Point, Ref, Resolved, Task, TaskResult
from tensorfleet.operators import Output
from tensorfleet.plan import Done, Stage, StageResults

Report = Callable[[str, int, Point], None]
"""`report(stage, index, point)` takes each point as it comes."""


class DirectResult(Struct, frozen=True):
    """How a job ended that ran in this process: its result, tasks in all, and the folder that holds the objects."""

    result: JobResult
    tasks: int
    objects: Path

    def path(self, ref: Ref) -> Path:
        """Where a blob is."""
        return object_path(self.objects, ref.digest)


def object_path(objects: Path, digest: str) -> Path:
    """Where a blob is under a folder of objects."""
    return objects / "cas" / "sha256" / digest[:2] / digest


def run(
    spec: JobSpec,
    resolved: Resolved | None = None,
    *,
    objects: Path,
    done: Sequence[StageResults] = (),
    opened: Callable[[Stage], None] = lambda stage: None,
    report: Report = lambda stage, index, point: None,
    finished: Callable[[str, int, TaskResult], None] = lambda stage, index, result: None,
) -> DirectResult:
    """Runs a job to its end, one task after another.

    spec: validated, with its defaults filled in. resolved: blobs that must be in `objects` already. done: stages that
    need not run, since their results are there. Raises what an operator raises; BadInput for unusable data, and
    FailedPrecondition where this machine lacks what the algorithm requires.
    """
    for name in catalog.requires(spec.algorithm):
        if find_spec(name) is None:
            how = capabilities.how_to_get(name)
            raise FailedPrecondition(f"{spec.algorithm} needs {name}, which is not installed here: {how}")
    import sklearn.ensemble  # noqa: F401  its libraries' threads can be pinned only once they are loaded

    plan, resolved, stages, tasks = plan_for(spec), resolved or Resolved(), list(done), 0
    pools, held = Pools(), _Held(objects, done)
    try:
        while not isinstance(step := plan.next_stage(spec, resolved, stages), Done):
            held.let_go(step.releases)
            opened(step)
            stages.append(StageResults(step.name, _stage(step, objects, pools, report, finished), step))
            held.add(stages[-1])
            tasks += step.count
    finally:
        pools.let_go()
    return DirectResult(step.result, tasks, objects)


def keep(objects: Path, buffers: Output) -> Ref:
    """Puts a blob into a folder of objects."""
    objects.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=objects, prefix="keep-") as folder:
        ref = written(buffers, Path(folder) / "0")
        _moved(objects, ref, Path(folder) / "0")
    return ref


class _Held:
    """The blobs of stages, so that those can be deleted that no stage holds any more."""

    def __init__(self, objects: Path, done: Sequence[StageResults]) -> None:
        self._objects = objects
        self._outputs: dict[str, list[str]] = {}
        self._holders: Counter[str] = Counter()
        for stage in done:
            self.add(stage)

    def add(self, stage: StageResults) -> None:
        outputs = [ref.digest for result in stage.results for ref in result.outputs]
        self._outputs[stage.name] = outputs
        self._holders.update(outputs)

    def let_go(self, stages: Sequence[str]) -> None:
        for digest in [digest for name in stages for digest in self._outputs.pop(name)]:
            self._holders[digest] -= 1
            if not self._holders[digest]:
                del self._holders[digest]
                object_path(self._objects, digest).unlink(missing_ok=True)


def _moved(objects: Path, ref: Ref, path: Path) -> None:
    kept = object_path(objects, ref.digest)
    kept.parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, kept)  # noqa: PTH105


def _stage(
    stage: Stage,
    objects: Path,
    pools: Pools,
    report: Report,
    finished: Callable[[str, int, TaskResult], None],
) -> Sequence[TaskResult]:
    def run_task(index: int) -> TaskResult:
        return _task(stage.task(index), objects, pools, lambda *point: report(stage.name, index, Point(*point)))

    results = []
    for index in range(stage.count):
        # Alone a gang is its first member, and what a gang makes is what that one makes.
        results.append(TaskResult() if stage.gang and index else run_task(index))
        finished(stage.name, index, results[-1])
    return results


def _task(task: Task, objects: Path, pools: Pools, report: Callable[[str, int, float], None]) -> TaskResult:
    inputs = [object_path(objects, ref.digest) for ref in task.inputs]
    objects.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=objects, prefix="task-") as folder:
        execution = execute(task.operator, task.params, inputs, task.threads, report, folder, pools)
        for ref, path in execution.files:
            _moved(objects, ref, path)
    return TaskResult(tuple(ref for ref, _ in execution.files), execution.summary)
