"""Plans: how a job unrolls, and that what does not change the model does not change a task."""

from typing import Any

import pytest
from msgspec.structs import replace

from tensorfleet.errors import FailedPrecondition
from tensorfleet.keys import task_key
from tensorfleet.kinds import plan_for
from tensorfleet.model import JobKind, JobSpec, Ref, Resolved, Resources, Task, TaskResult
from tensorfleet.plan import Done, Stage, StageResults

SPEC = JobSpec(algorithm="random_forest", dataset="iris", hyperparameters={"n_estimators": 12})


def ref(name: str) -> Ref:
    return Ref(name.ljust(64, "0"), len(name))


def result(*names: str, **summary: Any) -> TaskResult:
    return TaskResult(tuple(ref(name) for name in names), summary)


INGESTED = StageResults("ingest", [result("manifest", "block")])
PREPARED = StageResults("prepare", [result("train", "validation", "preparation", dataset_digest="d")])
FITTED = StageResults("fit", [result(f"part{index}", f"said{index}") for index in range(3)])
FINISHED = StageResults(
    "finish",
    [
        result(
            "model",
            metrics={"accuracy": 0.9},
            missing_metrics={"roc_auc": "why"},
            metrics_on_training_rows=False,
            features=["a", "b"],
            target="y",
            classes=["0", "1"],
            environment={"numpy": "2"},
        )
    ],
)


def stage(spec: JobSpec, *done: StageResults, resolved: Resolved | None = None) -> Stage:
    step = plan_for(spec).next_stage(spec, resolved or Resolved(), done)
    assert isinstance(step, Stage)
    return step


def tasks(spec: JobSpec, *done: StageResults, resolved: Resolved | None = None) -> list[Task]:
    step = stage(spec, *done, resolved=resolved)
    return [step.task(index) for index in range(step.count)]


def keys(spec: JobSpec, *done: StageResults) -> list[str]:
    return [task_key(task, "f") for task in tasks(spec, *done)]


def test_a_training_unrolls_stage_by_stage() -> None:
    names, done = [], []
    for results in (INGESTED, PREPARED, FITTED, FINISHED):
        step = stage(SPEC, *done)
        names.append((step.name, step.count))
        done.append(results)
    assert names == [("ingest", 1), ("prepare", 1), ("fit", 3), ("finish", 1)]
    assert plan_for(SPEC).total_tasks(SPEC, Resolved()) == 6
    assert len(plan_for(SPEC).describe(SPEC, Resolved())) == 4
    end = plan_for(SPEC).next_stage(SPEC, Resolved(), done)
    assert isinstance(end, Done)
    model = end.result.model
    assert model is not None
    assert model.sha256 == ref("model").digest
    assert model.parts == tuple(ref(name) for name in ("model", "preparation", "part0", "part1", "part2"))
    assert (model.features, model.classes, model.dataset_digest) == (("a", "b"), ("0", "1"), "d")
    assert end.result.metrics == {"accuracy": 0.9}


def test_reading_a_file_is_not_pure_and_everything_else_is() -> None:
    assert [task.pure for task in tasks(replace(SPEC, dataset="file:///x.csv"))] == [False]
    assert [task.pure for task in tasks(SPEC)] == [True]
    assert all(task.pure for task in tasks(SPEC, INGESTED, PREPARED))


def test_an_added_dataset_is_not_read_again() -> None:
    resolved = Resolved(dataset=(ref("m"), ref("b0"), ref("b1")))
    (task,) = tasks(SPEC, resolved=resolved)
    assert task.operator == "data.prepare@1"
    assert task.inputs == resolved.dataset
    assert task.params["training_inputs"] == 3
    assert plan_for(SPEC).total_tasks(SPEC, resolved) == 5


def test_a_validation_dataset_takes_the_place_of_the_split() -> None:
    spec = replace(SPEC, validation_dataset="wine")
    first = tasks(spec)
    assert [task.params["source"] for task in first] == ["iris", "wine"]
    ingested = StageResults("ingest", [result("m", "b0", "b1"), result("vm", "vb")])
    (task,) = tasks(spec, ingested)
    assert task.inputs == tuple(ref(name) for name in ("m", "b0", "b1", "vm", "vb"))
    assert (task.params["training_inputs"], task.params["validation_split"]) == (3, 0.0)
    added = Resolved(dataset=(ref("x"), ref("x0")), validation=(ref("v"), ref("v0")))
    (task,) = tasks(spec, resolved=added)
    assert task.inputs == added.dataset + added.validation
    half = Resolved(validation=(ref("v"), ref("v0")))
    (task,) = tasks(spec, INGESTED, resolved=half)
    assert task.inputs == (ref("manifest"), ref("block"), ref("v"), ref("v0"))
    other = Resolved(dataset=(ref("x"), ref("x0")))
    assert [task.params["source"] for task in tasks(spec, resolved=other)] == ["wine"]
    (task,) = tasks(spec, StageResults("ingest", [result("vm", "vb")]), resolved=other)
    assert task.inputs == (ref("x"), ref("x0"), ref("vm"), ref("vb"))


def test_ranges_are_aligned() -> None:
    assert [(task.params["start"], task.params["stop"]) for task in tasks(SPEC, INGESTED, PREPARED)] == [
        (0, 5),
        (5, 10),
        (10, 12),
    ]


def test_more_members_keep_every_whole_range() -> None:
    few = keys(SPEC, INGESTED, PREPARED)
    more = keys(replace(SPEC, hyperparameters={"n_estimators": 30}), INGESTED, PREPARED)
    assert more[:2] == few[:2]
    assert more[2] != few[2]
    assert len(more) == 6


@pytest.mark.parametrize(
    "change",
    [
        {"workers": 4},
        {"priority": 3},
        {"model_name": "x"},
        {"submitter": "me"},
        {"task_timeout": 1.0},
        {"seed": 9},
        {"hyperparameters": {"n_estimators": 12, "n_jobs": 2, "verbose": 1, "oob_score": True, "warm_start": True}},
    ],
)
def test_what_does_not_change_a_range_does_not_change_its_task(change: dict[str, Any]) -> None:
    assert keys(replace(SPEC, **change), INGESTED, PREPARED) == keys(SPEC, INGESTED, PREPARED)


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "extra_trees"},
        {"resources": Resources(cpus=2)},
        {"hyperparameters": {"n_estimators": 12, "max_features": 1}},
        {"hyperparameters": {"n_estimators": 12, "max_features": 1.0}},
        {"hyperparameters": {"n_estimators": 12, "random_state": None}, "seed": 7},
    ],
)
def test_what_changes_a_range_changes_every_task(change: dict[str, Any]) -> None:
    assert not set(keys(replace(SPEC, **change), INGESTED, PREPARED)) & set(keys(SPEC, INGESTED, PREPARED))


def test_finishing_reads_the_parts_only_where_it_must() -> None:
    (task,) = tasks(SPEC, INGESTED, PREPARED, FITTED)
    names = ("train", "validation", "preparation", "said0", "said1", "said2")
    assert task.inputs == tuple(ref(name) for name in names)
    assert task.params["parts"] == [ref(f"part{index}").digest for index in range(3)]
    spec = replace(SPEC, hyperparameters={"n_estimators": 12, "oob_score": True})
    (task,) = tasks(spec, INGESTED, PREPARED, FITTED)
    assert task.inputs == tuple(ref(name) for name in (*names, "part0", "part1", "part2"))


def test_a_whole_model_is_one_task() -> None:
    (task,) = tasks(replace(SPEC, algorithm="svm", hyperparameters={}), INGESTED, PREPARED)
    assert task.operator == "whole.fit@1"
    assert "start" not in task.params
    (prepare,) = tasks(replace(SPEC, algorithm="svm", hyperparameters={}), INGESTED)
    assert prepare.params["scale"] is True


MODEL = (ref("model"), ref("preparation"), ref("part"))


def test_rows_are_predicted_in_one_task() -> None:
    spec, resolved = JobSpec(kind=JobKind.PREDICT, model="m"), Resolved(model=MODEL, upload=ref("rows"))
    (task,) = tasks(spec, resolved=resolved)
    assert task.operator == "predict.rows@1"
    assert task.inputs == (*MODEL, ref("rows"))
    assert plan_for(spec).total_tasks(spec, resolved) == 1
    end = plan_for(spec).next_stage(spec, resolved, [StageResults("predict", [result("said")])])
    assert isinstance(end, Done)
    assert end.result.outputs == (ref("said"),)


def test_a_datasets_blocks_are_predicted_in_a_task_each() -> None:
    spec = JobSpec(kind=JobKind.PREDICT, model="m", dataset="iris")
    assert [task.operator for task in tasks(spec, resolved=Resolved(model=MODEL))] == ["data.ingest@1"]
    found = tasks(spec, StageResults("ingest", [result("m", "b0", "b1")]), resolved=Resolved(model=MODEL))
    assert [task.inputs[-1] for task in found] == [ref("b0"), ref("b1")]
    added = tasks(spec, resolved=Resolved(model=MODEL, dataset=(ref("m"), ref("b0"), ref("b1"))))
    assert added == found


def test_processing_reads_a_source_or_an_upload() -> None:
    spec = JobSpec(kind=JobKind.PROCESS, dataset="x.csv")
    (task,) = tasks(spec, resolved=Resolved(upload=ref("bytes")))
    assert (task.params["source"], task.inputs, task.pure) == ("upload:x.csv", (ref("bytes"),), True)
    (task,) = tasks(replace(spec, dataset="upload:x.csv"), resolved=Resolved(upload=ref("bytes")))
    assert task.params["source"] == "upload:x.csv"
    (task,) = tasks(replace(spec, dataset="file:///x.csv", algorithm="ingest", target="t"))
    assert (task.params, task.pure) == ({"source": "file:///x.csv", "target": "t"}, False)
    columns = [{"name": "a", "type": "real"}]
    read = StageResults("ingest", [result("m", "b", rows=3, target="a", columns=columns)])
    end = plan_for(spec).next_stage(spec, Resolved(), [read])
    assert isinstance(end, Done)
    assert end.result.dataset is not None
    assert (end.result.dataset.refs, end.result.dataset.rows) == ((ref("m"), ref("b")), 3)


def test_processing_writes_a_pickle() -> None:
    spec = JobSpec(kind=JobKind.PROCESS, algorithm="export", model="m")
    (task,) = tasks(spec, resolved=Resolved(model=MODEL))
    assert (task.operator, task.inputs) == ("model.export@1", MODEL)
    end = plan_for(spec).next_stage(spec, Resolved(), [StageResults("export", [result("pickle")])])
    assert isinstance(end, Done)
    assert end.result.outputs == (ref("pickle"),)


@pytest.mark.parametrize("kind", [JobKind.TUNE, JobKind.CROSS_VALIDATE])
def test_kinds_that_are_not_there(kind: JobKind) -> None:
    with pytest.raises(FailedPrecondition, match="cannot run jobs of kind"):
        plan_for(JobSpec(kind=kind))


@pytest.mark.parametrize(
    ("changed", "images", "said"),
    [
        ({"algorithm": "random_forest"}, None, "split, impute and encode"),
        ({"algorithm": "svm"}, False, "split, impute, encode and scale"),
        ({"algorithm": "svm", "validation_split": 0.0}, False, "impute, encode and scale"),
        ({"algorithm": "cnn"}, False, "split, impute, encode and scale"),
        ({"algorithm": "cnn"}, None, "split, impute, encode and scale; images would stay as they are stored"),
        ({"algorithm": "cnn"}, True, "split; images stay as they are stored"),
        ({"algorithm": "cnn", "validation_dataset": "other"}, True, "images stay as they are stored"),
    ],
)
def test_what_becomes_of_the_rows_first_is_told_as_it_is(
    changed: dict[str, Any], images: bool | None, said: str
) -> None:
    spec = JobSpec(dataset="photos", **changed)
    lines = plan_for(spec).describe(spec, Resolved(dataset=(ref("d"),), images=images))
    assert [line for line in lines if line.startswith("prepare")] == [f"prepare: {said}"]


def test_once_rows_are_prepared_it_is_known_whether_they_are_images() -> None:
    spec = JobSpec(dataset="file:///photos/", algorithm="cnn")
    told = result("t", "v", "p", dataset_digest="d", training_rows=8, validation_rows=2, image=True)
    lines = plan_for(spec).describe(spec, Resolved(), [INGESTED, StageResults("prepare", [told])])
    assert "prepare: split; images stay as they are stored" in lines
