"""Networks on fleets of real processes: one model at any number of workers, and everything that people do with it."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tensorfleet import AsyncClient, Client
from tensorfleet.client import Job, Model
from tensorfleet.errors import InvalidRequest, JobFailed
from tensorfleet.local import AsyncLocalFleet, LocalFleet
from tensorfleet.model import JobState, TaskState
from tensorfleet.sdk.events import StageOpened

CNN: dict[str, Any] = {
    "epochs": 3,
    "filters": [8],
    "units": 16,
    "batch_size": 32,
    "learning_rate": 0.01,
    "way": "rounds",
    "replicas": 4,
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with LocalFleet(tmp_path_factory.mktemp("fleet"), workers=2) as fleet, Client(fleet.address) as client:
        fleet.workers_ready(2)
        yield client


@pytest.fixture(scope="module")
def job(client: Client) -> Job:
    return client.train("digits", algorithm="cnn", hyperparameters=CNN, model_name="numbers").wait()


@pytest.fixture(scope="module")
def model(job: Job) -> Model:
    return job.result()


def test_one_worker_makes_the_model_that_two_made(model: Model, tmp_path: Path) -> None:
    with LocalFleet(tmp_path, workers=1) as fleet, Client(fleet.address) as alone:
        fleet.workers_ready(1)
        other = alone.train("digits", algorithm="cnn", hyperparameters=CNN).result()
    assert other.sha256 == model.sha256
    assert other.metrics == model.metrics


async def test_four_workers_and_a_pause_a_kill_and_a_restart_do_not_change_a_model(
    model: Model, tmp_path: Path
) -> None:
    async with AsyncLocalFleet(tmp_path, workers=4) as fleet, AsyncClient(fleet.address) as client:
        await fleet.workers_ready(4)
        job = await client.train("digits", algorithm="cnn", hyperparameters=CNN)
        done = set()
        async for event in job.watch():
            stage = event.stage if isinstance(event, StageOpened) else ""
            if stage in done:
                continue
            done.add(stage)
            if stage == "round-0":
                await job.pause()
                await job.resume()
            if stage == "round-1":
                await fleet.kill_worker()
            if stage == "round-2":
                await fleet.restart_orchestrator()
        assert {"round-0", "round-1", "round-2"} <= done
        assert (await job.result()).sha256 == model.sha256
        (trained,) = job.info.trained
        assert (trained.first, trained.last) == (0, CNN["epochs"] - 1)
        assert sum(block.rows for block in trained.blocks) == 1437


def test_a_model_says_what_it_is_and_how_it_is_loaded(model: Model) -> None:
    info = model.info
    assert info.formats == ("keras", "saved_model", "pickle")
    assert (info.algorithm, info.classes[:2], len(info.features)) == ("cnn", ("0", "1"), 64)
    assert info.environment["keras"]
    assert "keras.saving.load_model" in info.how_to_load
    assert info.metrics["accuracy"] > 0.8


def test_the_fleet_and_the_client_predict_the_same(client: Client, model: Model) -> None:
    X, y = load_digits(return_X_y=True)
    network = model.load()
    here = network.predict_proba(X[:20])
    there = client.models.predict("numbers", X[:20], probabilities=True)
    np.testing.assert_allclose(there.probabilities, here, atol=1e-5)
    assert there.predictions == network.predict(X[:20]).tolist()
    assert there.classes == list(range(10))
    assert (model.predict(X) == y).mean() > 0.8


def test_each_format_is_downloaded(client: Client, model: Model, tmp_path: Path) -> None:
    import keras

    path = client.models.download("numbers", tmp_path / "model.keras")
    X = model.load().prepared(load_digits(return_X_y=True)[0][:5])
    np.testing.assert_allclose(keras.saving.load_model(path)(X), model.load().outputs(X), atol=1e-6)
    saved = client.models.download("numbers", tmp_path / "model.zip", format="saved_model")
    with zipfile.ZipFile(saved) as zipped:
        assert {"saved_model.pb", "assets.extra/tensorfleet.json"} <= set(zipped.namelist())
    with pytest.raises(InvalidRequest, match="expected keras, saved_model or pickle for numbers@"):
        client.models.download("numbers", tmp_path / "model.onnx", format="onnx")


def test_training_goes_on_from_an_alias_and_from_a_file(client: Client, model: Model, tmp_path: Path) -> None:
    client.models.alias("numbers", "best", model.version)
    given = {**CNN, "epochs": 1, "way": "whole"}
    named = client.train("digits", algorithm="cnn", hyperparameters=given, model="numbers@best").result()
    assert named.metrics["accuracy"] > 0.8
    path = client.models.download("numbers@best", tmp_path / "model.keras")
    filed = client.train("digits", algorithm="cnn", hyperparameters=given, model=path).result()
    assert filed.sha256 == named.sha256


def test_what_cannot_be_gone_on_from_is_refused(client: Client, model: Model) -> None:
    client.train("iris", hyperparameters={"n_estimators": 2}, model_name="flowers").result()
    with pytest.raises(
        InvalidRequest, match="flowers is a random_forest of sklearn; cnn goes on from a model of keras"
    ):
        client.train("digits", algorithm="cnn", model="flowers")
    with pytest.raises(InvalidRequest, match="random_forest trains anew"):
        client.train("iris", model="numbers")
    with pytest.raises(InvalidRequest, match="there is no model 'nothing'"):
        client.train("digits", algorithm="cnn", model="nothing")
    rows = pd.DataFrame(np.zeros((20, 64)), columns=[f"f{place}" for place in range(64)])
    with pytest.raises(InvalidRequest, match=r"tells apart '0', .* and the rows to train on are of 'a', 'b'"):
        client.train(rows.assign(label=list("ab") * 10), algorithm="cnn", model="numbers")
    failed = client.train("digits", algorithm="cnn", hyperparameters={**CNN, "units": 8}, model="numbers").wait()
    assert failed.info.failure is not None
    assert failed.info.failure.reason == "WEIGHTS_UNLIKE"
    assert "dense_0/kernel" in failed.info.failure.message


def test_a_loss_that_is_no_number_fails_the_job_and_leaves_its_last_state(client: Client) -> None:
    # One step an epoch: the first is as good as any, and what it leads to is nothing.
    given = {"epochs": 3, "batch_size": 2000, "optimizer": "sgd", "learning_rate": 1e30, "units": 8}
    job = client.train("digits", algorithm="dnn", hyperparameters=given, validation_split=0.0).wait()
    failure = job.info.failure
    assert job.state == JobState.FAILED
    assert failure is not None
    assert (failure.reason, failure.stage) == ("LOSS_NOT_FINITE", "round-1")
    with pytest.raises(JobFailed, match="lower learning_rate"):
        job.result()
    reached = {task.stage: task for task in client.jobs.tasks(job.id)}["round-0"]
    assert reached.state == TaskState.SUCCEEDED
    assert client.fetch(reached.outputs[0])


def test_a_folder_of_images_is_trained_on_and_predicted(client: Client, tmp_path: Path) -> None:
    for kind, light in (("dark", 0), ("light", 190)):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for number in range(12):
            noise = np.random.default_rng(number).integers(0, 60, (8, 8))
            Image.fromarray((noise + light).astype(np.uint8)).save(tmp_path / "photos" / kind / f"{number}.png")
    given = {"epochs": 5, "filters": [4], "units": 8, "batch_size": 4, "learning_rate": 0.01}
    job = client.train(str(tmp_path / "photos"), algorithm="cnn", hyperparameters=given, model_name="photos")
    model = job.result()
    paths = [tmp_path / "photos" / kind / "3.png" for kind in ("dark", "light")]
    assert model.predict(paths).tolist() == ["dark", "light"]
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    said = client.models.predict("photos", pixels, probabilities=True)
    assert said.predictions == ["dark", "light"]
    np.testing.assert_allclose(said.probabilities, model.load().predict_proba(pixels), atol=1e-5)
    assert model.info.image_shape == (8, 8, 1)
    (tmp_path / "new" / "deep").mkdir(parents=True)
    Image.new("RGB", (30, 20), (250, 250, 250)).save(tmp_path / "new" / "large.jpg")
    Image.new("L", (8, 8), 10).save(tmp_path / "new" / "deep" / "small.png")
    table = client.predict("photos", tmp_path / "new").predictions()
    assert table.select(["file", "prediction"]).to_pydict() == {
        "file": ["deep/small.png", "large.jpg"],
        "prediction": ["dark", "light"],
    }
    one = client.predict("photos", str(tmp_path / "new" / "large.jpg")).predictions()
    assert one.column("prediction").to_pylist() == ["light"]


def test_a_saved_model_is_written_anew_each_time_and_a_keras_file_is_not(client: Client, model: Model) -> None:
    from tensorfleet.model import JobKind, JobSpec

    def written(format: str) -> bytes:
        reference = model.info.reference
        spec = JobSpec(kind=JobKind.PROCESS, algorithm="export", model=reference, hyperparameters={"format": format})
        done = client.submit(spec).wait()
        return client.fetch(done.info.outputs[0])

    assert written("keras") == model.load().file
    with zipfile.ZipFile(io.BytesIO(written("saved_model"))) as zipped:
        assert zipped.testzip() is None
