"""What keeps an S3 store from being used is told when it is opened; and how requests name the bucket."""

import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import IncompleteReadError, ReadTimeoutError
from msgspec.structs import replace

from tensorfleet.errors import FailedPrecondition, NotFound, TensorFleetError, Unavailable
from tensorfleet.stores import open_objects
from tensorfleet.stores.s3 import S3Objects
from tensorfleet.stores.s3_client import connect, told
from tensorfleet.stores.s3_url import Place
from tests.servers.places import BUCKET, prefix
from tests.servers.programs import free_port
from tests.servers.running import Running, required

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture(scope="module")
def servers() -> Running:
    return required()


@pytest.fixture
def place(servers: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.secret_key)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with prefix(servers) as name:
        yield Place(bucket=BUCKET, prefix=name, endpoint=servers.s3)


async def refusal(place: Place, kind: type[TensorFleetError]) -> str:
    """What opening it says, which always names bucket and endpoint."""
    with pytest.raises(kind) as raised:
        await open_objects(place.url)
    message = raised.value.message
    assert place.bucket in message
    assert place.endpoint in message
    assert "\n" not in message
    return message


async def test_a_store_that_does_not_answer(place: Place) -> None:
    await refusal(replace(place, endpoint=f"http://127.0.0.1:{free_port()}"), Unavailable)


async def test_a_bucket_that_is_missing_is_not_made(place: Place, servers: Running) -> None:
    missing = replace(place, bucket=f"missing-{secrets.token_hex(6)}")
    assert "create it first" in await refusal(missing, FailedPrecondition)
    s3 = boto3.client("s3", endpoint_url=servers.s3, region_name="us-east-1")
    assert missing.bucket not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    s3.close()


@pytest.mark.parametrize("variable", KEYS)
async def test_wrong_keys(place: Place, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "wrong-hunter2")
    said = await refusal(place, FailedPrecondition)
    assert "AWS_SECRET_ACCESS_KEY" in said
    assert "hunter2" not in said


async def test_no_keys(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in KEYS:
        monkeypatch.delenv(variable)
    assert "AWS_ACCESS_KEY_ID" in await refusal(place, FailedPrecondition)


async def test_a_profile_that_is_not_there(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    await refusal(place, FailedPrecondition)


async def test_opening_again_keeps_what_is_there(place: Place) -> None:
    for blob in (b"one", b"two"):
        store = await open_objects(place.url)
        await store.put_many([[blob]])
        assert "secret" not in store.url
        await store.close()
    store = await open_objects(place.url)
    assert len([ref async for ref, _ in store.blobs()]) == 2
    await store.close()


@pytest.mark.parametrize(
    ("endpoint", "addressing", "named"),
    [
        ("http://store:9000", "", "http://store:9000/data/"),
        ("http://store:9000", "path", "http://store:9000/data/"),
        ("http://store:9000", "virtual", "http://data.store:9000/"),
        ("", "", "https://data.s3."),
        ("", "virtual", "https://data.s3."),
        ("", "path", "https://s3."),
    ],
)
async def test_how_requests_name_the_bucket(place: Place, endpoint: str, addressing: str, named: str) -> None:
    client = connect(Place(bucket="data", endpoint=endpoint, addressing=addressing, region="eu-central-1"))
    url = client.generate_presigned_url("get_object", Params={"Bucket": "data", "Key": "key"})
    client.close()
    assert url.startswith(named)
    assert urlsplit(url).path == ("/data/key" if named.endswith("/data/") or addressing == "path" else "/key")


async def test_what_is_closed_is_not_used(place: Place) -> None:
    store = await open_objects(place.url)
    assert isinstance(store, S3Objects)
    await store.close()
    with pytest.raises((Unavailable, NotFound)):
        await store.size("0" * 64)


@pytest.mark.parametrize(
    "broken",
    [
        IncompleteReadError(actual_bytes=1, expected_bytes=2),
        ReadTimeoutError(endpoint_url="http://store"),
        ConnectionResetError(),
    ],
)
def test_an_answer_that_breaks_off_is_for_another_try(broken: Exception) -> None:
    with pytest.raises(Unavailable), told(Place(bucket="data"), "read"):
        raise broken
