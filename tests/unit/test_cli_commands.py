"""Commands against a scripted fleet: what is on stdout, what is asked of the server, and the exit code."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from clients.cli.commands import app
from tensorfleet import __version__
from tensorfleet.api.v1 import artifacts_pb2, datasets_pb2, fleet_pb2, jobs_pb2, models_pb2
from tensorfleet.errors import AlreadyExists, FailedPrecondition, InvalidRequest, NotFound, Unavailable
from tensorfleet.model import FieldViolation
from tensorfleet.sdk.bridge import Bridge
from tests.unit.fake_fleet import FakeFleet, event, job, reported, serving

SUMMARY = jobs_pb2.ModelSummary(
    name="iris-random_forest",
    version="v7",
    display_name="RandomForest_96.7%_Nov20",
    algorithm="random_forest",
    sha256="ab",
)
DONE = job(
    "SUCCEEDED",
    metrics={"accuracy": 0.9667, "train_accuracy": 1.0},
    model=SUMMARY,
    tasks=jobs_pb2.TaskCounts(total=3, run=1, reused=2),
    created_at={"seconds": 100},
    ended_at={"seconds": 102, "nanos": 500_000_000},
)
Run = Callable[..., Result]


@pytest.fixture
def fake() -> Iterator[FakeFleet]:
    bridge, fake = Bridge(), FakeFleet()
    server = serving(fake)
    bridge.run(server.__aenter__())
    fake.answer("SubmitJob", jobs_pb2.SubmitJobResponse(job_id="job-1", job=job()))
    fake.answer("WatchJob", [reported("1", 1), event("2", ended=DONE)])
    fake.answer("GetJob", jobs_pb2.GetJobResponse(job=DONE))
    yield fake
    bridge.run(server.__aexit__(None, None, None))
    bridge.close()


@pytest.fixture
def run(fake: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TENSORFLEET_SERVER", fake.address)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return invoke


def said(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1  # one value and nothing else
    return json.loads(result.stdout)


def test_train_prints_one_json_object(run: Run, fake: FakeFleet) -> None:
    told = said(run("train", "iris", "-p", "n_estimators=64", "-p", "max_features=1.0", "--seed", "7", "-o", "json"))
    assert told["job_id"] == "job-1"
    assert told["state"] == "succeeded"
    assert told["metrics"] == {"accuracy": 0.9667, "train_accuracy": 1.0}
    assert told["model"] == {
        "name": "iris-random_forest",
        "version": "v7",
        "display_name": "RandomForest_96.7%_Nov20",
        "algorithm": "random_forest",
        "sha256": "ab",
    }
    assert told["tasks"] == {"total": 3, "run": 1, "reused": 2}
    assert told["seconds"] == 2.5
    spec = fake.requests["SubmitJob"][0].spec
    assert (spec.dataset, spec.seed, spec.hyperparameters["n_estimators"].integer) == ("iris", 7, 64)
    assert spec.hyperparameters["max_features"].real == 1.0


def test_options_may_stand_before_the_command(run: Run) -> None:
    assert said(run("--output", "json", "train", "iris"))["state"] == "succeeded"


def test_train_tells_people_what_they_need(run: Run) -> None:
    result = run("train", "iris")
    assert result.exit_code == 0
    for part in ("trained in 2.5 s", "0.9667", "iris-random_forest@v7", "ab", "models download iris-random_forest@v7"):
        assert part in result.stdout


@pytest.mark.parametrize(("cause", "code"), [("BAD_INPUT", 2), ("OUT_OF_MEMORY", 1)])
def test_a_job_that_fails_is_an_exit_code_and_still_json(run: Run, fake: FakeFleet, cause: str, code: int) -> None:
    failure = jobs_pb2.Failure(cause=f"FAILURE_CAUSE_{cause}", reason="R", message="in line 3")
    fake.answer("WatchJob", [event("2", ended=job("FAILED", failure=failure))])
    result = run("train", "iris", "--output", "json")
    assert result.exit_code == code
    told = json.loads(result.stdout)
    assert (told["state"], told["model"], told["failure"]["reason"]) == ("failed", None, "R")
    assert "in line 3" in result.stderr


def test_bad_fields_are_exit_code_2_with_nothing_on_stdout(run: Run, fake: FakeFleet) -> None:
    fake.answer("SubmitJob", InvalidRequest([FieldViolation("spec.algorithm", "no such one")]))
    result = run("train", "iris", "-a", "forst", "-o", "json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "algorithm: no such one" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["train", "iris", "-p", "n_estimators"],
        ["train", "iris", "--seed", "many"],
        ["train", "missing.csv"],
        ["jobs", "fly"],
        ["--server", "nowhere", "status"],
        ["up", "--listen", "nowhere"],
        ["worker", "join", "nowhere"],
    ],
)
def test_usage_is_exit_code_2(run: Run, fake: FakeFleet, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert fake.requests["SubmitJob"] == []


def test_nobody_there_is_exit_code_3(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.cli.connection.FIRST_CONTACT", 0.0)
    result = run("--server", "127.0.0.1:1", "status")
    assert result.exit_code == 3
    assert "tensorfleet up" in result.stderr


def test_a_server_that_goes_away_is_exit_code_3(run: Run, fake: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.cli.connection.PATIENCE", 0.01)
    fake.answer("WatchJob", [Unavailable("away")])
    assert run("train", "iris").exit_code == 3


def test_workers_are_listed_with_what_they_run(run: Run, fake: FakeFleet) -> None:
    running = fleet_pb2.RunningAttempt(token=9, job_id="job-1", stage="fit", index=3, pid=4711)
    worker = fleet_pb2.Worker(
        id="worker-1",
        state="WORKER_STATE_READY",
        pid=42,
        host="here",
        slots=2,
        labels={"zone": "a"},
        running=[running],
        capabilities=["tensorflow==2.21.0"],
    )
    fake.answer("ListWorkers", fleet_pb2.ListWorkersResponse(workers=[worker]))
    (told,) = said(run("workers", "list", "--output", "json"))
    assert {name: told[name] for name in ("id", "state", "pid", "host", "slots", "labels")} == {
        "id": "worker-1",
        "state": "ready",
        "pid": 42,
        "host": "here",
        "slots": 2,
        "labels": {"zone": "a"},
    }
    (attempt,) = told["running"]
    assert (attempt["job"], attempt["task"], attempt["pid"]) == ("job-1", "fit/3", 4711)
    assert "worker-1" in run("workers", "list").stdout
    shown = run("workers", "show", "worker-1").stdout
    assert "tensorflow 2.21.0" in shown
    assert "job-1 fit/3" in shown
    assert said(run("workers", "show", "worker-1", "-o", "json"))["capabilities"] == ["tensorflow==2.21.0"]
    assert run("workers", "show", "nobody").exit_code != 0


def test_reads_are_json_values(run: Run, fake: FakeFleet) -> None:
    model = models_pb2.Model(name="m", version="v1", sha256="ab", created_at={"seconds": 1_700_000_000})
    fake.answer("ListJobs", jobs_pb2.ListJobsResponse(jobs=[DONE]))
    fake.answer("ListModels", models_pb2.ListModelsResponse(models=[model]))
    fake.answer("GetModel", models_pb2.GetModelResponse(model=model))
    fake.answer("ListDatasets", datasets_pb2.ListDatasetsResponse(datasets=[datasets_pb2.Dataset(name="iris")]))
    fake.answer("GetDataset", datasets_pb2.GetDatasetResponse(dataset=datasets_pb2.Dataset(name="iris", rows=150)))
    fake.answer("GetStatus", fleet_pb2.GetStatusResponse(release="1", jobs={"running": 2}))
    fake.answer("GetStatistics", models_pb2.GetStatisticsResponse(models=1, by_algorithm={"ridge": 1}))
    fake.answer("ListTasks", jobs_pb2.ListTasksResponse(tasks=[jobs_pb2.Task(stage="fit", state="TASK_STATE_RUNNING")]))
    why = jobs_pb2.ExplainJobResponse(summary="it waits", workers={"worker-1": "no free slot"}, done=["fit: 1 task"])
    fake.answer("ExplainJob", why)
    assert said(run("jobs", "list", "-o", "json"))[0]["id"] == "job-1"
    assert said(run("jobs", "get", "job-1", "-o", "json"))["tasks"]["reused"] == 2
    assert said(run("jobs", "tasks", "job-1", "-o", "json"))[0]["state"] == "running"
    explained = said(run("jobs", "explain", "job-1", "-o", "json"))
    assert (explained["workers"], explained["done"]) == ({"worker-1": "no free slot"}, ["fit: 1 task"])
    assert run("jobs", "explain", "job-1").stdout.split("\n")[2:] == ["Done", "  fit: 1 task", ""]
    assert said(run("models", "list", "-o", "json"))[0]["created_at"] == "2023-11-14T22:13:20.000Z"
    assert said(run("models", "get", "m", "-o", "json"))["sha256"] == "ab"
    assert said(run("models", "stats", "-o", "json"))["by_algorithm"] == {"ridge": 1}
    assert said(run("datasets", "list", "-o", "json"))[0]["name"] == "iris"
    assert said(run("datasets", "get", "iris", "-o", "json"))["rows"] == 150
    assert said(run("status", "-o", "json"))["jobs"] == {"running": 2}


def test_a_dataset_that_cannot_be_trained_on_is_exit_code_2(run: Run, fake: FakeFleet) -> None:
    finding = datasets_pb2.Finding(severity="FINDING_SEVERITY_ERROR", reason="TARGET_ONE_CLASS", message="one class")
    fake.answer("ValidateDataset", datasets_pb2.ValidateDatasetResponse(valid=False, findings=[finding]))
    result = run("datasets", "validate", "d")
    assert result.exit_code == 2
    assert "TARGET_ONE_CLASS: one class" in result.stdout


def collected(blobs: int, results: int = 0) -> fleet_pb2.CollectGarbageResponse:
    kept = fleet_pb2.KeptBlobs(reason="KEPT_FOR_MODEL", blobs=fleet_pb2.BlobCount(count=3, size_bytes=2048))
    freed = fleet_pb2.BlobCount(count=blobs, size_bytes=1024 * blobs)
    return fleet_pb2.CollectGarbageResponse(blobs=freed, results=results, kept=[kept])


def test_garbage_is_told_and_why_the_rest_stays(run: Run, fake: FakeFleet) -> None:
    fake.answer("CollectGarbage", collected(2, results=5))
    told = run("gc").stdout
    assert "Freed 2.0 KiB in 2 blobs" in told
    assert "forgot 5 known results" in told
    assert "models" in told
    assert "Would free 2.0 KiB" in run("gc", "--dry-run").stdout
    value = said(run("gc", "--older-than", "0", "-o", "json"))
    assert value["blobs"] == {"count": 2, "size": 2048}
    assert value["kept"] == {"model": {"count": 3, "size": 2048}}
    asked = [(call.dry_run, call.HasField("older_than")) for call in fake.requests["CollectGarbage"]]
    assert asked == [(False, False), (True, False), (False, True)]
    fake.answer("CollectGarbage", collected(0))
    assert "Nothing to free" in run("gc").stdout


def test_how_old_garbage_must_be_is_a_time(run: Run, fake: FakeFleet) -> None:
    fake.answer("CollectGarbage", collected(0))
    assert run("gc", "--older-than", "2h").exit_code == 0
    assert fake.requests["CollectGarbage"][0].older_than.seconds == 7200
    refused = run("gc", "--older-than", "yesterday")
    assert refused.exit_code == 2
    assert "--older-than" in refused.stderr
    assert "2h" in refused.stderr


def test_a_dataset_is_replaced_only_when_told_to(run: Run, fake: FakeFleet, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    added = datasets_pb2.UploadDatasetResponse(dataset=datasets_pb2.Dataset(name="d", rows=1))
    fake.answer("UploadDataset", AlreadyExists("there is a dataset 'd' with other content"), added)
    result = run("datasets", "add", str(tmp_path / "data.csv"), "--name", "d")
    assert result.exit_code == 2
    assert "other content" in result.stderr
    assert (
        said(run("datasets", "add", str(tmp_path / "data.csv"), "--name", "d", "--replace", "-o", "json"))["rows"] == 1
    )
    assert [call[0].header.replace for call in fake.requests["UploadDataset"]] == [False, True]


def test_a_job_is_steered(run: Run, fake: FakeFleet) -> None:
    fake.answer("CancelJob", jobs_pb2.CancelJobResponse(job=job("CANCELLED")))
    fake.answer("RetryJob", jobs_pb2.RetryJobResponse(job=job("QUEUED")))
    assert said(run("jobs", "cancel", "job-1", "--reason", "enough", "-o", "json"))["state"] == "cancelled"
    assert fake.requests["CancelJob"][0].reason == "enough"
    assert said(run("jobs", "retry", "job-1", "-o", "json"))["state"] == "queued"
    fake.answer("PauseJob", jobs_pb2.PauseJobResponse(job=job("PAUSED")))
    fake.answer("ResumeJob", jobs_pb2.ResumeJobResponse(job=job("RUNNING")))
    fake.answer("StopJob", FailedPrecondition("a training of ridge has no rounds to stop after; cancel it instead"))
    assert said(run("jobs", "pause", "job-1", "--reason", "lunch", "-o", "json"))["state"] == "paused"
    assert fake.requests["PauseJob"][0].reason == "lunch"
    assert run("jobs", "resume", "job-1").stdout == "job-1 running\n"
    result = run("jobs", "stop", "job-1")
    assert (result.exit_code, "cancel it instead" in result.stderr) == (2, True)
    for count, text in ((0, "nothing of it runs"), (2, "2 running tasks save at their next step")):
        fake.answer("CheckpointJob", jobs_pb2.CheckpointJobResponse(job=job("RUNNING"), attempts=count))
        assert run("jobs", "checkpoint", "job-1").stdout == f"job-1 running: {text}\n"
    assert said(run("jobs", "checkpoint", "job-1", "-o", "json")) == {
        "job_id": "job-1",
        "state": "running",
        "attempts": 2,
    }
    fake.answer("GetJob", NotFound("there is no job job-9"))
    assert run("jobs", "cancel", "job-9").exit_code == 2


def test_submitting_does_not_wait(run: Run, fake: FakeFleet) -> None:
    assert said(run("jobs", "submit", "iris", "-o", "json")) == {"job_id": "job-1", "state": "queued"}
    assert fake.requests["WatchJob"] == []


def test_an_alias_moves_to_the_version_that_is_named(run: Run, fake: FakeFleet) -> None:
    model = models_pb2.Model(name="m", version="v3")
    fake.answer("GetModel", models_pb2.GetModelResponse(model=model))
    fake.answer("SetAlias", models_pb2.SetAliasResponse(model=model))
    assert said(run("models", "alias", "m", "production", "-o", "json")) == {"alias": "production", "model": "m@v3"}
    asked = fake.requests["SetAlias"][0]
    assert (asked.name, asked.alias, asked.version) == ("m", "production", "v3")


def test_direct_needs_no_fleet(run: Run, fake: FakeFleet, tmp_path: Path) -> None:
    model = tmp_path / "model.pkl"
    flags = ["--direct", "-p", "n_estimators=3", "--home", str(tmp_path / "home"), "--out", str(model), "-o", "json"]
    told = said(run("train", "iris", *flags))
    assert told["state"] == "succeeded"
    assert len(told["model"]["sha256"]) == 64
    assert model.exists()
    assert fake.requests == {}


def test_the_version_and_the_help_need_nobody(run: Run) -> None:
    assert run("--version").stdout == f"tensorfleet {__version__}\n"
    assert "train" in run("--help").stdout


def test_a_network_is_named_by_flags_and_files(run: Run, fake: FakeFleet, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"class_name": "Sequential", "config": {}}')
    (tmp_path / "weights.keras").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    fake.answer("PutArtifact", artifacts_pb2.PutArtifactResponse())
    run(
        *("train", "digits", "-a", "keras", "--epochs", "3", "-o", "json"),
        *("--architecture", str(tmp_path / "model.json"), "--from-model", str(tmp_path / "weights.keras")),
    )
    spec = fake.requests["SubmitJob"][0].spec
    assert spec.hyperparameters["epochs"].integer == 3
    assert json.loads(spec.hyperparameters["architecture"].text)["class_name"] == "Sequential"
    assert spec.model == f"sha256:{digest}:7"
    assert [(part.digest, part.chunk) for part in fake.requests["PutArtifact"][0]] == [(digest, b"weights")]
    run("train", "digits", "-a", "cnn", "--from-model", "digits@best")
    assert fake.requests["SubmitJob"][1].spec.model == "digits@best"


@pytest.mark.parametrize("flag", ["--architecture", "--from-model"])
def test_a_file_that_is_not_there_is_told_before_anything_is_submitted(run: Run, fake: FakeFleet, flag: str) -> None:
    result = run("train", "digits", "-a", "keras", flag, "nowhere.keras", "-o", "json")
    assert (result.exit_code, "SubmitJob" in fake.requests) == (2, False)
    assert "nowhere.keras" in result.stderr


def test_a_download_says_what_it_wants_by_a_format_or_an_ending(run: Run, fake: FakeFleet, tmp_path: Path) -> None:
    model = models_pb2.Model(name="digits", version="v1", sha256="ab", formats=["keras", "saved_model", "pickle"])
    fake.answer("GetModel", models_pb2.GetModelResponse(model=model))
    fake.answer("DownloadModel", [models_pb2.DownloadModelResponse(chunk=part) for part in (b"PK", b"zip")])
    for arguments in (("--format", "saved-model", "--out", "any"), ("--out", "any.zip")):
        place = tmp_path / arguments[-1]
        told = said(run("models", "download", "digits", *arguments[:-1], str(place), "-o", "json"))
        assert (told["format"], told["sha256"], place.read_bytes()) == ("saved_model", "ab", b"PKzip")
    asked = fake.requests["DownloadModel"]
    assert [(request.model, request.format) for request in asked] == [("digits@v1", "saved_model")] * 2
    refused = run("models", "download", "digits", "--format", "onnx")
    assert (refused.exit_code, "expected keras, saved_model or pickle" in refused.stderr) == (2, True)


def test_algorithms_are_listed_with_how_they_spread_and_what_they_take(run: Run) -> None:
    found = {each["name"]: each for each in said(run("algorithms", "-o", "json"))}
    assert {name: found[name]["way"] for name in ("random_forest", "svm", "cnn")} == {
        "random_forest": "members",
        "svm": "whole",
        "cnn": "rounds",
    }
    assert found["dnn"]["parameters"]["epochs"] == {"default": 10, "takes": "a whole number of at least 1"}
    shown = run("algorithms", "resnet50").stdout
    assert "image or table" in shown
    assert "rotation" in shown
    assert run("algorithms", "forst").exit_code == 2
