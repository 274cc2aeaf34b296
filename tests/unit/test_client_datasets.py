"""Datasets: what is a name, what is a path, and how files and DataFrames go up."""

import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tensorfleet.api.v1 import datasets_pb2
from tensorfleet.client import AsyncClient
from tensorfleet.errors import BadInput, InvalidRequest, NotFound, Unavailable
from tensorfleet.sdk.plain import as_taken, path_of, plain, rows_of, source_of
from tests.unit.fake_fleet import FakeFleet, serving

ADDED = datasets_pb2.UploadDatasetResponse(dataset=datasets_pb2.Dataset(name="data-12ab", rows=2))


@pytest.fixture
async def fake() -> AsyncIterator[FakeFleet]:
    async with serving(FakeFleet()) as fleet:
        yield fleet


def uploaded(fake: FakeFleet, call: int = -1) -> tuple[datasets_pb2.DatasetHeader, bytes]:
    head, *rest = fake.requests["UploadDataset"][call]
    return head.header, b"".join(part.chunk for part in rest)


async def test_a_file_goes_up_in_parts_that_fit(fake: FakeFleet, tmp_path: Path) -> None:
    content = b"a,b\n" + b"1,2\n" * 600_000
    (tmp_path / "data.csv").write_bytes(content)
    fake.answer("UploadDataset", ADDED)
    async with AsyncClient(fake.address) as client:
        assert await client.datasets.named(str(tmp_path / "data.csv"), "b") == "data-12ab"
    header, sent = uploaded(fake)
    assert (header.file_name, header.target, header.source) == ("data.csv", "b", "")
    assert sent == content
    assert max(len(part.chunk) for part in fake.requests["UploadDataset"][0][1:]) <= 1024 * 1024


async def test_an_upload_that_broke_is_sent_again_as_a_whole(fake: FakeFleet, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(b"a,b\n1,2\n")
    fake.answer("UploadDataset", Unavailable("away"), ADDED)
    async with AsyncClient(fake.address) as client:
        await client.datasets.add(tmp_path / "data.csv")
    assert uploaded(fake, 0) == uploaded(fake, 1)


async def test_a_frame_goes_up_with_its_types_and_without_its_index(fake: FakeFleet) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=[7, 9])
    fake.answer("UploadDataset", ADDED)
    async with AsyncClient(fake.address) as client:
        await client.datasets.add(frame, name="mine")
    header, sent = uploaded(fake)
    back = pd.read_parquet(io.BytesIO(sent))
    assert (header.name, header.file_name) == ("mine", "frame.parquet")
    assert list(back.columns) == ["a", "b"]
    assert back["a"].tolist() == [1, 2]


async def test_a_source_that_workers_read_is_only_named(fake: FakeFleet) -> None:
    fake.answer("UploadDataset", ADDED)
    async with AsyncClient(fake.address) as client:
        await client.datasets.add("file:///data/x.csv", name="x")
    header, sent = uploaded(fake)
    assert (header.source, sent) == ("file:///data/x.csv", b"")


async def test_a_folder_of_images_goes_up_as_an_archive_of_its_images_alone(fake: FakeFleet, tmp_path: Path) -> None:
    content = {"dogs/b.png": b"1" * 700_000, "cats/in/a.JPG": b"22", "cats/c.gif": b"3" * 3_000_000}
    for name, data in {**content, "cats/.x.png": b"hidden", "cats/notes.txt": b"text"}.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(data)
    fake.answer("UploadDataset", Unavailable("away"), ADDED)
    async with AsyncClient(fake.address) as client:
        assert await client.datasets.named(f"{tmp_path}/photos/?size=64&channels=1") == "data-12ab"
    header, sent = uploaded(fake)
    assert header.file_name == "photos.zip?size=64&channels=1"
    with zipfile.ZipFile(io.BytesIO(sent)) as archive:
        assert archive.namelist() == ["cats/c.gif", "cats/in/a.JPG", "dogs/b.png"]
        assert {name: archive.read(name) for name in archive.namelist()} == content
    assert max(len(part.chunk) for part in fake.requests["UploadDataset"][-1][1:]) <= 1024 * 1024
    assert uploaded(fake, 0) == uploaded(fake, 1)


async def test_a_folder_is_added_by_its_bare_name(
    fake: FakeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    (tmp_path / "photos" / "cats" / "a.png").write_bytes(b"1")
    monkeypatch.chdir(tmp_path)
    fake.answer("UploadDataset", ADDED)
    async with AsyncClient(fake.address) as client:
        await client.datasets.add("photos?size=8")
    assert uploaded(fake)[0].file_name == "photos.zip?size=8"


async def test_a_bare_name_is_a_folder_here_where_no_dataset_has_it(
    fake: FakeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    (tmp_path / "photos" / "cats" / "a.png").write_bytes(b"1")
    (tmp_path / "iris").mkdir()
    monkeypatch.chdir(tmp_path)
    fake.answer("UploadDataset", ADDED)
    fake.answer("GetDataset", datasets_pb2.GetDatasetResponse(), NotFound("none"))
    async with AsyncClient(fake.address) as client:
        assert await client.datasets.named("photos") == "photos"
        assert await client.datasets.named("photos?size=8") == "data-12ab"
        assert [await client.datasets.named(name) for name in ("iris", "other", "")] == ["iris", "other", ""]
    assert uploaded(fake)[0].file_name == "photos.zip?size=8"


@pytest.mark.parametrize("given", ["new/?labels=none&size=8", "one.PNG?labels=none&size=8"])
async def test_images_to_predict_go_up_whatever_folders_they_are_in(
    fake: FakeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    (tmp_path / "new" / "empty").mkdir(parents=True)
    (tmp_path / "new" / "deep").mkdir()
    for file in ("one.PNG", "new/b.jpg", "new/deep/a.png", "new/notes.txt"):
        (tmp_path / file).write_bytes(b"1")
    monkeypatch.chdir(tmp_path)
    fake.answer("UploadDataset", ADDED)
    async with AsyncClient(fake.address) as client:
        assert await client.datasets.named(given) == "data-12ab"
    header, sent = uploaded(fake)
    one = given.startswith("one")
    assert header.file_name == f"{'one' if one else 'new'}.zip?labels=none&size=8"
    with zipfile.ZipFile(io.BytesIO(sent)) as archive:
        assert archive.namelist() == (["one.PNG"] if one else ["b.jpg", "deep/a.png"])


async def test_an_array_goes_up_with_the_labels_beside_it(fake: FakeFleet, tmp_path: Path) -> None:
    X, y = np.arange(27, dtype=np.uint8).reshape(3, 3, 3), np.array([0, 1, 0])
    np.save(tmp_path / "a.npy", X)
    np.save(tmp_path / "a_labels.npy", y)
    fake.answer("UploadDataset", ADDED)
    async with AsyncClient(fake.address) as client:
        await client.datasets.add(tmp_path / "a.npy")
    header, sent = uploaded(fake)
    assert header.file_name == "a.npz"
    with np.load(io.BytesIO(sent)) as loaded:
        np.testing.assert_array_equal(loaded["X"], X)
        np.testing.assert_array_equal(loaded["y"], y)


async def test_a_folder_without_images_is_told_before_anything_goes_up(fake: FakeFleet, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x")
    async with AsyncClient(fake.address) as client:
        with pytest.raises(BadInput, match="there are no images in it"):
            await client.datasets.add(tmp_path)
    assert "UploadDataset" not in fake.requests


def test_a_path_on_this_machine_is_a_source_for_its_workers(tmp_path: Path) -> None:
    folder = tmp_path / "my photos.v2"
    folder.mkdir()
    (tmp_path / "a.npz").write_bytes(b"")
    assert source_of(f"{folder}?size=8") == f"file://{tmp_path}/my%20photos.v2/?size=8"
    assert source_of(f"{tmp_path}/a.npz") == f"file://{tmp_path}/a.npz"
    assert [source_of(name) for name in ("", "iris", "s3://b/k.zip?size=8")] == ["", "iris", "s3://b/k.zip?size=8"]


@pytest.mark.parametrize("name", ["iris", "synthetic:classification?rows=10", "file:///data/x.csv", "data-12ab"])
def test_names_and_sources_are_no_paths(name: str) -> None:
    assert path_of(name) is None


@pytest.mark.parametrize("name", ["missing.csv", "./missing", "folder/data.parquet"])
def test_a_path_without_a_file_is_told_at_once(name: str) -> None:
    with pytest.raises(BadInput, match="there is no file"):
        path_of(name)


def test_values_of_numpy_become_plain_ones() -> None:
    given = {"a": np.int64(1), "b": np.float64(1.0), "c": np.bool_(True), "d": np.array([1, 2]), "e": (1, None)}
    made = plain(given, "spec")
    assert made == {"a": 1, "b": 1.0, "c": True, "d": [1, 2], "e": [1, None]}
    assert isinstance(made, dict)
    assert [type(made[name]) for name in "abc"] == [int, float, bool]


def test_what_is_not_plain_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"spec\.hyperparameters\.base\[1\]"):
        plain({"base": [1, object()]}, "spec.hyperparameters")


def test_rows_come_in_many_shapes() -> None:
    frame = pd.DataFrame({"a": [1.0, np.nan], "b": ["x", "y"]})
    assert rows_of(frame) == (["a", "b"], [[1.0, "x"], [None, "y"]])
    assert rows_of(np.array([[1, 2], [3, 4]])) == ([], [[1, 2], [3, 4]])
    assert rows_of([{"a": 1}, {"b": 2, "a": 3}]) == (["a", "b"], [[1, None], [3, 2]])
    assert rows_of([[1, "x"]]) == ([], [[1, "x"]])
    with pytest.raises(InvalidRequest):
        rows_of([1, 2])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("new/", "new/?size=48x64&channels=3&labels=none"),
        ("new", "new?size=48x64&channels=3&labels=none"),
        ("new.zip?channels=1", "new.zip?size=48x64&channels=1&labels=none"),
        ("one.JPG?size=9", "one.JPG?size=9&channels=3&labels=none"),
        ("s3://bucket/new.zip", "s3://bucket/new.zip?size=48x64&channels=3&labels=none"),
        ("file:///data/new/", "file:///data/new/?size=48x64&channels=3&labels=none"),
        ("file:///data/rows.csv", "file:///data/rows.csv"),
        ("synthetic:images", "synthetic:images"),
        ("rows.csv", "rows.csv"),
        ("digits", "digits"),
    ],
)
def test_images_are_read_as_a_model_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, taken: str
) -> None:
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path)
    assert as_taken(given, (64, 48, 3)) == taken
    assert as_taken(given, ()) == given
