"""Datasets that are kept in S3, MongoDB and GridFS: read by the orchestrator, with real servers."""

import gc
import io
import uuid
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import boto3
import bson
import gridfs
import pytest
from PIL import Image
from pymongo import MongoClient
from pymongo.database import Database

from tensorfleet import AsyncClient
from tensorfleet.data import remote, sources
from tensorfleet.errors import (
    SOURCE_AWAY,
    BadInput,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    TensorFleetError,
    Unavailable,
)
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.model import JobKind, JobSpec
from tests.servers.programs import free_port
from tests.servers.running import Running, required

ROWS = [{"width": index % 7, "height": index / 3, "kind": "ab"[index % 2]} for index in range(40)]
CSV = "width,height,kind\n" + "".join(f"{row['width']},{row['height']},{row['kind']}\n" for row in ROWS)


@pytest.fixture(scope="module")
def servers() -> Running:
    return required()


@pytest.fixture(autouse=True)
def environment(servers: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_ENDPOINT_URL", servers.s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.secret_key)
    for name in ("S3_BUCKET", "MONGODB_URL", "MONGODB_DB"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def database(servers: Running) -> AsyncIterator["Database[dict[str, Any]]"]:
    client: MongoClient[dict[str, Any]] = MongoClient(servers.quick_mongo)
    name = f"sources_{uuid.uuid4().hex[:12]}"
    yield client[name]
    client.drop_database(name)
    client.close()


@pytest.fixture
async def bucket(servers: Running) -> AsyncIterator[Any]:
    s3 = boto3.resource("s3", endpoint_url=servers.s3, region_name="us-east-1")
    made = s3.Bucket(f"sources-{uuid.uuid4().hex[:12]}")
    made.create()
    yield made
    made.objects.all().delete()
    made.delete()
    s3.meta.client.close()


def address(servers: Running, database: "Database[dict[str, Any]]", name: str, scheme: str = "mongodb") -> str:
    return f"{scheme}://{urlsplit(servers.quick_mongo).netloc}/{database.name}/{name}"


async def read(url: str) -> bytes:
    return b"".join([chunk async for chunk in remote.fetch(sources.parse(url))])


async def documents(url: str) -> list[dict[str, Any]]:
    return bson.decode_all(await read(url))


async def test_an_object(bucket: Any) -> None:
    data = bytes(range(256)) * 10_000
    bucket.put_object(Key="a folder/100%.parquet", Body=data)
    assert await read(f"s3://{bucket.name}/a%20folder/100%25.parquet") == data


@pytest.mark.parametrize("what", ["key", "bucket"])
async def test_an_object_that_is_not_there(bucket: Any, what: str) -> None:
    url = f"s3://{bucket.name}/no.csv" if what == "key" else "s3://no-such-bucket-here/no.csv"
    with pytest.raises(NotFound, match=r"no\.csv"):
        await read(url)


async def test_an_object_that_is_denied(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(FailedPrecondition, match=r"AWS_SECRET_ACCESS_KEY") as told:
        await read(f"s3://{bucket.name}/no.csv")
    assert bucket.name in told.value.message


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
async def test_servers_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("S3_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for url in ("s3://bucket/x.csv", f"mongodb://127.0.0.1:{port}/db/rows?serverSelectionTimeoutMS=200"):
        with pytest.raises(Unavailable, match=str(port)) as told:
            await read(url)
        assert told.value.reason == SOURCE_AWAY
    gc.collect()  # the driver of MongoDB leaves a socket that it was trying to connect


async def test_a_collection(servers: Running, database: "Database[dict[str, Any]]") -> None:
    """Its documents, whatever is in them, in the order of _id: the same ones are the same bytes."""
    rows = [{"_id": number, "x": [1.5, {"y": b"z"}], "big": "x" * 9999} for number in (3, 1, 2, *range(4, 2000))]
    database["rows"].insert_many(rows)
    found = await documents(address(servers, database, "rows"))
    assert found == sorted(rows, key=lambda row: cast(int, row["_id"]))


async def test_a_collection_that_is_not_there(servers: Running, database: "Database[dict[str, Any]]") -> None:
    with pytest.raises(NotFound, match="no collection nothing"):
        await read(address(servers, database, "nothing"))


async def test_the_orchestrators_own_database(
    servers: Running, database: "Database[dict[str, Any]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    database["rows"].insert_one({"x": 1})
    with pytest.raises(FailedPrecondition, match="MONGODB_URL"):
        await read("mongodb:///rows")
    monkeypatch.setenv("MONGODB_URL", servers.quick_mongo)
    monkeypatch.setenv("MONGODB_DB", database.name)
    assert [document["x"] for document in await documents("mongodb:///rows")] == [1]


async def test_a_file_in_gridfs(servers: Running, database: "Database[dict[str, Any]]") -> None:
    files, newest = gridfs.GridFSBucket(database), bytes(range(256)) * 10_000
    for content in (b"older", newest):
        files.upload_from_stream("a folder/rows.csv", content)
    assert await read(address(servers, database, "a%20folder/rows.csv", "gridfs")) == newest
    with pytest.raises(NotFound, match=r"no file other\.csv"):
        await read(address(servers, database, "other.csv", "gridfs"))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://bucket", "s3://BUCKET/KEY"),
        ("s3:///key.csv", "s3://BUCKET/KEY"),
        ("s3://bucket/key.xls", r"\.parquet"),
        ("s3://key:hunter2@bucket/key.csv", "no keys"),
        ("mongodb://host/db", "COLLECTION"),
        ("mongodb://host/db/a/b", "COLLECTION"),
        ("mongodb://user:hunter2@host/db/a/b", "COLLECTION"),
        ("gridfs://host/db/file", r"\.csv"),
        ("gridfs://host/file.csv", "DATABASE"),
        ("mongodb:///", "COLLECTION"),
        ("gridfs://user:1234/hunter2/a@host/db/file.csv", "quoted as in any URL"),
    ],
)
def test_addresses_that_cannot_be(url: str, told: str) -> None:
    with pytest.raises(BadInput, match=told) as raised:
        sources.parse(url)
    assert "hunter2" not in raised.value.message


def test_what_is_kept_of_an_address() -> None:
    assert sources.shown("mongodb://u:p%40@h:1,i:2/db/rows?authSource=x") == "mongodb://h:1,i:2/db/rows"
    for same in ("s3://bucket/a%20b@c.csv", "mongodb:///rows", "gridfs:///a%40b.csv", "iris", "file:///a@b.csv"):
        assert sources.shown(same) == same
    assert sources.shown("mongodb://u:pa/ss?w@h/db/rows") == "mongodb://h/db/rows"
    for address in ("mongodb:///rows", "gridfs:///a/b.csv", "mongodb://u:p@h/db/rows?authSource=x"):
        assert sources.parse(sources.shown(address)).name == sources.parse(address).name


@pytest.mark.slow
async def test_from_each_place_to_a_model(
    servers: Running, database: "Database[dict[str, Any]]", bucket: Any, tmp_path: Path
) -> None:
    """The same rows from three places and a file: the same bytes of a model, and no password kept."""
    (tmp_path / "rows.csv").write_text(CSV)
    bucket.put_object(Key="rows.csv", Body=CSV.encode())
    gridfs.GridFSBucket(database).upload_from_stream("rows.csv", CSV.encode())
    database["rows"].insert_many([dict(row) for row in ROWS])
    urls = [
        f"s3://{bucket.name}/rows.csv",
        address(servers, database, "rows.csv", "gridfs"),
        address(servers, database, "rows"),
    ]
    async with AsyncLocalFleet(tmp_path / "home", workers=1) as fleet, AsyncClient(fleet.address) as client:
        models = [
            (await (await client.train(dataset, algorithm="decision_tree", target="kind")).result()).sha256
            for dataset in (tmp_path / "rows.csv", *urls)
        ]
        assert len(set(models)) == 1
        added = await client.datasets.list()  # the same bytes under the same name are one dataset
        assert {each.source for each in added} == {"upload:rows.csv", urls[-1]}
        with pytest.raises(NotFound, match="no collection nothing"):
            await client.datasets.add(address(servers, database, "nothing"))
        with pytest.raises(InvalidRequest, match=r"header\.source"):
            await client.datasets.add("s3://bucket/rows.xls")
        with pytest.raises(TensorFleetError, match=r"tensorfleet datasets add s3://bucket/rows\.csv"):
            await client.submit(JobSpec(kind=JobKind.TRAIN, algorithm="svm", dataset="s3://bucket/rows.csv"))


@pytest.mark.slow
async def test_images_from_each_place(
    servers: Running, database: "Database[dict[str, Any]]", bucket: Any, tmp_path: Path
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for number, name in enumerate(("cats/a.png", "cats/b.png", "dogs/a.png")):
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 9), (number, 50, 100)).save(path)
            packed.write(path, name)
    bucket.put_object(Key="photos.zip", Body=archive.getvalue())
    gridfs.GridFSBucket(database).upload_from_stream("photos.zip", archive.getvalue())
    urls = [f"s3://{bucket.name}/photos.zip", address(servers, database, "photos.zip", "gridfs")]
    async with AsyncLocalFleet(tmp_path / "home", workers=1) as fleet, AsyncClient(fleet.address) as client:
        added = [
            await client.datasets.add(f"{place}?size=4&channels=1", name=name)
            for name, place in zip(("folder", "s3", "gridfs"), (f"{tmp_path}/photos", *urls), strict=True)
        ]
        assert len({each.digest for each in added}) == 1
        assert [each.source for each in added[1:]] == [f"{url}?size=4&channels=1" for url in urls]
        assert added[0].columns[0].shape == (4, 4, 1)
