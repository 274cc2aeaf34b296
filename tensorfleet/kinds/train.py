"""How a training unrolls: read, prepare, fit by ranges of members or as a whole, finish; or go over to rounds.

The rule: ranges are aligned and of a size that the family fixes, so neither the number of workers nor a larger
ensemble changes what a task is.
"""

from collections.abc import Sequence
from typing import Any

from tensorfleet import catalog
from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.members import ranges
from tensorfleet.counts import counted
from tensorfleet.kinds import courses, rounds, spread
from tensorfleet.kinds.sources import ingest
from tensorfleet.model import JobResult, JobSpec, ModelContent, Ref, Resolved, Task, TaskResult, Value
from tensorfleet.plan import Done, Stage, StageResults, unstoppable

MOST_STAGES = 4
"""Of a training that does not go by rounds."""


class TrainPlan:
    """The plan of train jobs; see `tensorfleet.plan.Plan`."""

    def next_stage(
        self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults], stopping: bool = False
    ) -> Stage | Done:
        algorithm = catalog.algorithm(spec.algorithm)
        if stopping and algorithm.rounds is None:
            raise unstoppable(spec)
        results = {stage.name: stage.results for stage in done[:MOST_STAGES]}
        sources = _sources(spec, resolved)
        if sources and "ingest" not in results:
            return Stage("ingest", len(sources), lambda index: ingest(spec, sources[index]))
        if "prepare" not in results:
            return Stage("prepare", 1, lambda _: _prepare(spec, resolved, results.get("ingest", ())))
        if algorithm.rounds is not None:
            return rounds.next_stage(spec, resolved, done, _before_rounds(spec, resolved), stopping)
        prepared = results["prepare"][0]
        if "fit" not in results:
            return _fit(spec, prepared)
        if "finish" not in results:
            return Stage("finish", 1, lambda _: _finish(spec, prepared, results["fit"]))
        return Done(_result(prepared, results["fit"], results["finish"][0]))

    def total_tasks(self, spec: JobSpec, resolved: Resolved) -> int:
        by_rounds = catalog.algorithm(spec.algorithm).rounds is not None
        training = rounds.total_tasks(spec) if by_rounds else len(_ranges(spec)) + 1
        return len(_sources(spec, resolved)) + 1 + training

    def describe(self, spec: JobSpec, resolved: Resolved, done: Sequence[StageResults] = ()) -> list[str]:
        algorithm = catalog.algorithm(spec.algorithm)
        lines = [f"ingest: read {source} into blocks" for source in _sources(spec, resolved)]
        lines.append(f"prepare: {_preparing(spec, resolved, algorithm, done)}")
        fit = _fit_lines(spec) if algorithm.rounds is None else _rounds_lines(spec, resolved, done)
        return [*lines, *fit, "finish: metrics and the model's manifest"]


def _preparing(spec: JobSpec, resolved: Resolved, algorithm: Algorithm, done: Sequence[StageResults]) -> str:
    """What becomes of the rows before they are trained on."""
    prepared = next((stage.results[0].summary for stage in done[:MOST_STAGES] if stage.name == "prepare"), None)
    images = resolved.images if prepared is None or "image" not in prepared else bool(prepared["image"])
    apart = ["split"] if spec.validation_split and not spec.validation_dataset else []
    if images:
        return "; ".join([*apart, "images stay as they are stored"])
    steps = [*apart, "impute", "encode", *(["scale"] if algorithm.scale else [])]
    line = f"{', '.join(steps[:-1])} and {steps[-1]}"
    unsure = images is None and "image" in algorithm.takes
    return f"{line}; images would stay as they are stored" if unsure else line


def _rounds_lines(spec: JobSpec, resolved: Resolved, done: Sequence[StageResults]) -> list[str]:
    base = _before_rounds(spec, resolved)
    if len(done) < base:
        return spread.expected(spec)
    return spread.found(courses.setting_of(spec, resolved, done[:base]), done)


def _before_rounds(spec: JobSpec, resolved: Resolved) -> int:
    """How many stages there are up to `prepare`."""
    return 2 if _sources(spec, resolved) else 1


def _fit_lines(spec: JobSpec) -> list[str]:
    if catalog.algorithm(spec.algorithm).members is None:
        return ["fit: the whole model in one task"]
    spans = _ranges(spec)
    most = max(stop - start for start, stop in spans)
    return [f"fit: {counted(spans[-1][1], 'member')} in {counted(len(spans), 'task')} of at most {most}"]


def _sources(spec: JobSpec, resolved: Resolved) -> list[str]:
    """What must be read first: the dataset, and the one to validate on, where they have not been added."""
    training = [] if resolved.dataset else [spec.dataset]
    validation = [spec.validation_dataset] if spec.validation_dataset and not resolved.validation else []
    return training + validation


def _prepare(spec: JobSpec, resolved: Resolved, ingested: Sequence[TaskResult]) -> Task:
    training = resolved.dataset or ingested[0].outputs
    validation = resolved.validation or (ingested[-1].outputs if spec.validation_dataset else ())
    algorithm = catalog.algorithm(spec.algorithm)
    params: dict[str, Value] = {
        "target": spec.target,
        "exclude": sorted(set(spec.exclude_features)),
        "validation_split": 0.0 if spec.validation_dataset else spec.validation_split,
        "seed": spec.seed,
        "task": algorithm.goal,
        "scale": algorithm.scale,
        "single": algorithm.single,
        "training_inputs": len(training),
    }
    if algorithm.rounds is not None:
        params["ids"] = True
    return Task(operator="data.prepare@1", params=params, inputs=(*training, *validation), threads=spec.resources.cpus)


def _ranges(spec: JobSpec) -> list[tuple[int, int]]:
    members = catalog.algorithm(spec.algorithm).members
    if members is None:
        return [(0, 1)]
    return ranges(int(catalog.parameters(spec)[members.count]), members.size)  # type: ignore[arg-type]


def _fit(spec: JobSpec, prepared: TaskResult) -> Stage:
    algorithm, spans = catalog.algorithm(spec.algorithm), _ranges(spec)
    given = catalog.parameters(spec)

    def task(index: int) -> Task:
        return Task(
            operator=algorithm.operator,
            params=_fit_params(algorithm, given, *spans[index]),
            inputs=prepared.outputs[:2],
            threads=spec.resources.cpus,
        )

    return Stage("fit", len(spans), task)


def _fit_params(algorithm: Algorithm, given: dict[str, Value], start: int, stop: int) -> dict[str, Value]:
    if algorithm.members is None:
        return {"algorithm": algorithm.name, "hyperparameters": given}
    apart = algorithm.members.apart
    kept: dict[str, Value] = {name: value for name, value in given.items() if name not in apart}
    return {"algorithm": algorithm.name, "hyperparameters": kept, "start": start, "stop": stop}


def _finish(spec: JobSpec, prepared: TaskResult, fitted: Sequence[TaskResult]) -> Task:
    algorithm, given = catalog.algorithm(spec.algorithm), catalog.parameters(spec)
    parts = [result.outputs[0] for result in fitted]
    with_parts = algorithm.members is not None and algorithm.members.needs_members(given)
    inputs: list[Ref] = [*prepared.outputs, *(result.outputs[1] for result in fitted), *(parts if with_parts else [])]
    params: dict[str, Value] = {
        "algorithm": algorithm.name,
        "hyperparameters": given,
        "preparation": prepared.outputs[2].digest,
        "parts": [part.digest for part in parts],
    }
    return Task(operator="train.finish@1", params=params, inputs=tuple(inputs), threads=spec.resources.cpus)


def _result(prepared: TaskResult, fitted: Sequence[TaskResult], finished: TaskResult) -> JobResult:
    summary: dict[str, Any] = finished.summary
    model = ModelContent(
        sha256=finished.outputs[0].digest,
        parts=(finished.outputs[0], prepared.outputs[2], *(result.outputs[0] for result in fitted)),
        features=tuple(summary["features"]),
        target=str(summary["target"]),
        classes=tuple(summary["classes"]),
        dataset_digest=str(prepared.summary["dataset_digest"]),
        environment=dict(summary["environment"]),
        metrics_on_training_rows=bool(summary["metrics_on_training_rows"]),
    )
    return JobResult(metrics=summary["metrics"], missing_metrics=summary["missing_metrics"], model=model)
