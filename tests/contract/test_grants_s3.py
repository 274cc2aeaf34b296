"""What S3 makes of grants: each is for one blob, one method and a while, and takes no other bytes."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from threading import Event
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from msgspec.structs import replace

from tensorfleet.errors import CorruptArtifact, NotFound
from tensorfleet.model import Ref
from tensorfleet.stores import open_objects
from tensorfleet.stores.contract import Grant, ObjectStore
from tensorfleet.stores.s3 import GRANT_SECONDS
from tensorfleet.stores.s3_url import Place
from tensorfleet.testing.objects_steps import fetch, put, ref_of
from tests.servers.places import BUCKET, prefix
from tests.servers.running import Running, required
from worker import grants

DATA = bytes(range(256)) * 8192

Carry = Callable[[Grant, Ref, bytes], bytes]


@pytest.fixture(scope="module")
def servers() -> Running:
    return required()


@pytest.fixture
def place(servers: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.secret_key)
    with prefix(servers) as name:
        yield Place(bucket=BUCKET, prefix=name, endpoint=servers.s3)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[ObjectStore]:
    made = await open_objects(place.url)
    yield made
    await made.close()


@pytest.fixture
def carry(tmp_path: Path) -> Carry:
    """Uses a grant as a worker does: the bytes that were sent, or that came."""
    pool = grants.open_pool()

    def use(grant: Grant, ref: Ref, data: bytes = b"") -> bytes:
        path = tmp_path / "blob"
        path.write_bytes(data)
        grants.carry(pool, grant, ref, path, Event())
        return path.read_bytes()

    return use


async def granted_put(store: ObjectStore, data: bytes) -> Grant:
    grant = await store.grant_put(ref_of(data))
    assert grant is not None
    return grant


async def granted_get(store: ObjectStore, digest: str) -> Grant:
    grant = await store.grant_get(digest)
    assert grant is not None
    return grant


@pytest.mark.parametrize("data", [DATA, b""], ids=["large", "empty"])
async def test_a_blob_is_put_and_got_without_keys(store: ObjectStore, carry: Carry, data: bytes) -> None:
    for _ in range(2):  # also where it is there already
        await asyncio.to_thread(carry, await granted_put(store, data), ref_of(data), data)
    assert await fetch(store, ref_of(data).digest) == data
    assert await asyncio.to_thread(carry, await granted_get(store, ref_of(data).digest), ref_of(data)) == data


@pytest.mark.parametrize("wrong", [b"x" + DATA[1:], DATA[:-1], DATA + b"!"], ids=["other", "shorter", "longer"])
async def test_a_put_of_other_bytes_is_refused(store: ObjectStore, carry: Carry, wrong: bytes) -> None:
    """Of the same size by their digest; of another size already by what was signed."""
    sent = Ref(ref_of(DATA).digest, len(wrong))
    with pytest.raises((CorruptArtifact, grants.Refused)):
        await asyncio.to_thread(carry, await granted_put(store, DATA), sent, wrong)
    assert await store.size(ref_of(DATA).digest) is None


async def test_a_put_under_another_digest_is_refused(store: ObjectStore, carry: Carry) -> None:
    """The digest in the headers is signed: it cannot be exchanged for that of other bytes, nor left out."""
    wrong = b"x" + DATA[1:]
    grant = await granted_put(store, DATA)
    for headers in ({"x-amz-checksum-sha256": (await granted_put(store, wrong)).headers["x-amz-checksum-sha256"]}, {}):
        with pytest.raises(grants.Refused):
            await asyncio.to_thread(carry, replace(grant, headers=headers), ref_of(DATA), wrong)
    assert await store.size(ref_of(DATA).digest) is None


async def test_a_grant_is_for_one_blob_and_one_method(store: ObjectStore, carry: Carry) -> None:
    one, other = await put(store, b"one"), await put(store, b"other")
    grant = await granted_get(store, one)
    elsewhere = replace(grant, url=grant.url.replace(one, other).replace(f"/{one[:2]}/", f"/{other[:2]}/"))
    assert elsewhere != grant
    with pytest.raises(grants.Refused):
        await asyncio.to_thread(carry, elsewhere, ref_of(b"other"))
    with pytest.raises(grants.Refused):
        await asyncio.to_thread(carry, replace(grant, method="PUT"), ref_of(b"two"), b"two")
    assert await fetch(store, one) == b"one"


async def test_a_grant_runs_out(store: ObjectStore, carry: Carry, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = await put(store, b"bytes")
    assert parse_qs(urlsplit((await granted_get(store, digest)).url).query)["X-Amz-Expires"] == [f"{GRANT_SECONDS:.0f}"]
    monkeypatch.setattr("tensorfleet.stores.s3.GRANT_SECONDS", 1.0)
    grant = await granted_get(store, digest)

    async def use_it_for_ever() -> None:
        while True:
            await asyncio.to_thread(carry, grant, ref_of(b"bytes"))
            await asyncio.sleep(0.1)

    with pytest.raises(grants.Refused):
        await use_it_for_ever()


async def test_a_blob_that_somebody_may_be_putting_is_not_deleted(
    store: ObjectStore, carry: Carry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it has been put, it is as old as it is."""

    async def aged() -> str:
        digest = await put(store, DATA)
        while max([age async for _, age in store.blobs()]) < 1:
            await asyncio.sleep(0.05)
        return digest

    digest = await aged()
    grant = await granted_put(store, DATA)
    assert not await store.delete(digest, idle=0.5)
    assert await fetch(store, digest) == DATA
    await asyncio.to_thread(carry, grant, ref_of(DATA), DATA)
    assert not await store.delete(digest, idle=3600.0)
    while not await store.delete(digest, idle=0.5):
        assert await fetch(store, digest) == DATA
    assert await store.size(digest) is None
    await asyncio.to_thread(carry, await granted_put(store, DATA), ref_of(DATA), DATA)
    await aged()
    assert await store.delete(digest, idle=0.5)


async def test_damaged_and_missing_blobs_are_told(
    store: ObjectStore,
    carry: Carry,
    place: Place,
    servers: Running,
) -> None:
    digest = await put(store, b"bytes")
    with pytest.raises(NotFound):
        await asyncio.to_thread(carry, await granted_get(store, hashlib.sha256().hexdigest()), ref_of(b""))
    key = f"{place.prefix}/cas/sha256/{digest[:2]}/{digest}"
    s3 = boto3.client("s3", endpoint_url=servers.s3, region_name="us-east-1")
    s3.put_object(Bucket=place.bucket, Key=key, Body=b"other")
    s3.close()
    with pytest.raises(CorruptArtifact):
        await asyncio.to_thread(carry, await granted_get(store, digest), ref_of(b"bytes"))


async def test_a_grant_says_no_secret(store: ObjectStore, servers: Running) -> None:
    for grant in (await granted_put(store, DATA), await granted_get(store, ref_of(DATA).digest)):
        assert servers.secret_key not in repr(grant)


async def test_a_store_without_grants_says_so(tmp_path: Path) -> None:
    objects = await open_objects(tmp_path)
    assert await objects.grant_get(ref_of(DATA).digest) is None
    assert await objects.grant_put(ref_of(DATA)) is None
    await objects.close()


async def test_what_is_no_blob_is_granted_nothing(store: ObjectStore) -> None:
    for digest in ("", "../../secret", "A" * 64):
        with pytest.raises(NotFound):
            await store.grant_get(digest)
        with pytest.raises(CorruptArtifact):
            await store.grant_put(Ref(digest, 1))
