"""S3 keeps the contract of objects, and what S3 alone promises."""

import uuid
from collections.abc import Iterator
from typing import cast

import boto3
import pytest

from tensorfleet.stores.contract import ObjectStore
from tensorfleet.stores.s3 import S3Objects
from tensorfleet.stores.s3_client import connect
from tensorfleet.stores.s3_url import Place
from tensorfleet.testing.objects import *  # noqa: F403
from tensorfleet.testing.objects_steps import Overwrite
from tests.servers.running import Running, required


@pytest.fixture(scope="module")
def servers() -> Running:
    return required()


@pytest.fixture(autouse=True)
def keys(servers: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.secret_key)


@pytest.fixture
def bucket(servers: Running) -> Iterator[str]:
    name = f"objects-{uuid.uuid4().hex[:12]}"
    s3 = boto3.resource(
        "s3",
        endpoint_url=servers.s3,
        region_name="us-east-1",
        aws_access_key_id=servers.access_key,
        aws_secret_access_key=servers.secret_key,
    )
    made = s3.Bucket(name)
    made.create()
    yield name
    made.objects.all().delete()
    made.delete()
    s3.meta.client.close()


@pytest.fixture
def place(servers: Running, bucket: str) -> Place:
    return Place(bucket=bucket, prefix="a fleet/100% mine", endpoint=servers.s3)


@pytest.fixture
def objects_url(place: Place) -> str:
    return place.url


@pytest.fixture
def store(objects: ObjectStore) -> S3Objects:
    return cast(S3Objects, objects)


@pytest.fixture
def overwrite(place: Place) -> Iterator[Overwrite]:
    client = connect(place)

    async def write(digest: str, data: bytes) -> None:
        client.put_object(Bucket=place.bucket, Key=f"{place.prefix}/cas/sha256/{digest[:2]}/{digest}", Body=data)

    yield write
    client.close()
