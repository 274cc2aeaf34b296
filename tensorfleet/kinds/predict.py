"""How predictions unroll: a request's rows in one task, or a dataset's blocks in a task each.

The rule: a task reads the model and one block, so predictions spread as far as there are blocks.
"""

from collections.abc import Sequence

from tensorfleet.counts import counted
from tensorfleet.kinds.sources import ingest
from tensorfleet.model import JobResult, JobSpec, Ref, Resolved, Task, Value
from tensorfleet.plan import Done, Stage, StageResults, unstoppable


class PredictPlan:
    """The plan of predict jobs; see `tensorfleet.plan.Plan`."""

    def next_stage(
        self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults], stopping: bool = False
    ) -> Stage | Done:
        if stopping:
            raise unstoppable(spec)
        results = {stage.name: stage.results for stage in done}
        if "predict" in results:
            return Done(JobResult(outputs=tuple(result.outputs[0] for result in results["predict"])))
        if resolved.upload is not None:
            rows = resolved.upload
            return Stage("predict", 1, lambda _: _predict(spec, resolved, "predict.rows@1", rows))
        if not resolved.dataset and "ingest" not in results:
            return Stage("ingest", 1, lambda _: ingest(spec, spec.dataset))
        blocks = (resolved.dataset or results["ingest"][0].outputs)[1:]
        return Stage("predict", len(blocks), lambda index: _predict(spec, resolved, "predict.block@1", blocks[index]))

    def total_tasks(self, spec: JobSpec, resolved: Resolved) -> int:
        """A source that has not been read counts as one block."""
        if resolved.upload is not None:
            return 1
        return len(resolved.dataset) - 1 if resolved.dataset else 2

    def describe(self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults] = ()) -> list[str]:
        if resolved.upload is not None:
            return ["predict: the request's rows in one task"]
        if resolved.dataset:
            return [f"predict: {counted(len(resolved.dataset) - 1, 'block')}, a task each"]
        return [f"ingest: read {spec.dataset} into blocks", "predict: a task a block"]


def _predict(spec: JobSpec, resolved: Resolved, operator: str, rows: Ref) -> Task:
    digests: list[Value] = [ref.digest for ref in resolved.model]
    return Task(
        operator=operator, params={"model": digests}, inputs=(*resolved.model, rows), threads=spec.resources.cpus
    )
