"""Datasets: what is a name, what is a path, and how files and DataFrames go up."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tensorfleet.api.v1 import datasets_pb2
from tensorfleet.client import AsyncClient
from tensorfleet.errors import BadInput, InvalidRequest, Unavailable
from tensorfleet.sdk.plain import path_of, plain, rows_of
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
