"""How processing unrolls: a source read into a dataset's blocks, or a model written as a file.

The rule: one task, whose outputs are the job's.
"""

from collections.abc import Sequence
from typing import Any

from tensorfleet.data import sources
from tensorfleet.kinds.sources import ingest
from tensorfleet.model import DatasetContent, JobResult, JobSpec, Resolved, Task, TaskResult
from tensorfleet.models import frameworks
from tensorfleet.plan import Done, Stage, StageResults, unstoppable

EXPORT = "export"
INGEST = "ingest"


class ProcessPlan:
    """The plan of process jobs; see `tensorfleet.plan.Plan`."""

    def next_stage(
        self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults], stopping: bool = False
    ) -> Stage | Done:
        if stopping:
            raise unstoppable(spec)
        name = spec.algorithm or INGEST
        if not done:
            return Stage(name, 1, lambda _: _export(spec, resolved) if name == EXPORT else _ingest(spec, resolved))
        result = done[0].results[0]
        return Done(JobResult(outputs=result.outputs) if name == EXPORT else JobResult(dataset=_dataset(result)))

    def total_tasks(self, spec: JobSpec, resolved: Resolved) -> int:
        return 1

    def describe(self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults] = ()) -> list[str]:
        if spec.algorithm == EXPORT:
            return [f"export: {spec.model} as {spec.hyperparameters.get('format') or 'its framework keeps it'}"]
        return [f"ingest: read {spec.dataset} into blocks"]


def _ingest(spec: JobSpec, resolved: Resolved) -> Task:
    source = spec.dataset if resolved.upload is None else sources.as_upload(spec.dataset)
    return ingest(spec, source, resolved.upload)


def _export(spec: JobSpec, resolved: Resolved) -> Task:
    format = str(spec.hyperparameters.get("format", ""))
    known = frameworks.FORMATS.get(format)
    return Task(
        operator="model.export@1",
        params={"model": [ref.digest for ref in resolved.model], "format": format},
        inputs=resolved.model,
        threads=spec.resources.cpus,
        pure=known is None or not known.by_tensorflow,
    )


def _dataset(result: TaskResult) -> DatasetContent:
    summary: dict[str, Any] = result.summary
    return DatasetContent(
        refs=result.outputs, rows=int(summary["rows"]), target=str(summary["target"]), columns=list(summary["columns"])
    )
