"""Datasets are predicted by a job: images as the model takes them, and each with its file."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from clients.cli import output, predict
from clients.cli.options import Format, Options
from tensorfleet.api.v1 import artifacts_pb2, datasets_pb2, jobs_pb2, models_pb2, values_pb2
from tensorfleet.client import AsyncClient
from tensorfleet.errors import InvalidRequest, JobFailed
from tests.unit.fake_fleet import FakeFleet, event, serving

TABLE = pa.table({"file": ["a.png", "b.png"], "prediction": ["cat", "dog"], "probability_cat": [0.75, 0.25]})


class Predicting(FakeFleet):
    """A fake fleet whose job made blocks of predictions."""

    def __init__(self, *blocks: pa.Table) -> None:
        super().__init__()
        self.blobs = {hashlib.sha256(block).hexdigest(): block for block in map(stream, blocks)}
        model = models_pb2.Model(name="m", version="v1", image_shape=[4, 6, 1])
        self.answer("GetModel", models_pb2.GetModelResponse(model=model))
        added = datasets_pb2.Dataset(name="new-1")
        self.answer("UploadDataset", datasets_pb2.UploadDatasetResponse(dataset=added))

    def ends(self, kind: str) -> None:
        outputs = [values_pb2.ArtifactRef(digest=digest, size_bytes=len(blob)) for digest, blob in self.blobs.items()]
        spec = jobs_pb2.JobSpec(kind=f"JOB_KIND_{kind}")  # type: ignore[arg-type]
        done = jobs_pb2.Job(id="j", spec=spec, state="JOB_STATE_SUCCEEDED", outputs=outputs)
        self.answer("SubmitJob", jobs_pb2.SubmitJobResponse(job_id="j", job=done))
        self.answer("WatchJob", [event("1.0", ended=done)])

    def steps(self, method, request, context):  # type: ignore[no-untyped-def]
        if method != "GetArtifact":
            return super().steps(method, request, context)
        return [artifacts_pb2.GetArtifactResponse(chunk=self.blobs[request.digest][request.offset :])]


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as written:
        written.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


async def test_a_folder_is_predicted_as_the_model_takes_images(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.png").write_bytes(b"1")
    async with serving(Predicting(TABLE, TABLE.slice(0, 1))) as fleet, AsyncClient(fleet.address) as client:
        fleet.ends("PREDICT")
        table = await (await client.predict("m", tmp_path / "new")).predictions()
    assert table.column("file").to_pylist() == ["a.png", "b.png", "a.png"]
    assert fleet.requests["UploadDataset"][0][0].header.file_name == "new.zip?size=6x4&channels=1&labels=none"
    asked = fleet.requests["SubmitJob"][0].spec
    assert (asked.model, asked.dataset, asked.kind) == ("m@v1", "new-1", jobs_pb2.JOB_KIND_PREDICT)


async def test_what_predicts_nothing_says_so() -> None:
    async with serving(Predicting()) as fleet, AsyncClient(fleet.address) as client:
        fleet.ends("TRAIN")
        with pytest.raises(JobFailed, match="job j predicts nothing: it is a train job"):
            await (await client.predict("m", "digits")).predictions()
        with pytest.raises(InvalidRequest, match=r"client\.predict\(model, dataset\)"):
            await client.models.predict("m", "new/")  # type: ignore[arg-type]


def test_each_prediction_of_images_stands_beside_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(table: pa.Table, out: Path | None = None) -> list[list[str]]:
        predict._show(table, "m@v1", Options(), out)
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    assert said(TABLE)[0] == ["file", "prediction", "cat"]
    assert said(TABLE)[2:] == [["a.png", "cat", "0.7500"], ["b.png", "dog", "0.2500"]]
    assert said(TABLE.drop_columns("file"))[2] == ["1", "cat", "0.7500"]
    said(TABLE, tmp_path / "made.csv")
    assert (tmp_path / "made.csv").read_text().splitlines()[:2] == [
        '"file","prediction","probability_cat"',
        '"a.png","cat",0.75',
    ]
    shown: list[Any] = []
    monkeypatch.setattr(output, "show_json", shown.append)
    for table in (TABLE, TABLE.drop_columns("file")):
        predict._show(table, "m@v1", Options(output=Format.JSON), None)
    assert [each["files"] for each in shown] == [["a.png", "b.png"], None]
