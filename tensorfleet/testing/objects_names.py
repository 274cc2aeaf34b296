"""The contract of an `ObjectStore`, as to names on blobs."""

import pytest

from tensorfleet.errors import AlreadyExists, InvalidRequest
from tensorfleet.stores.contract import ObjectStore
from tensorfleet.testing.objects_steps import fetch, put, ref_of, refs


async def test_names_are_given_moved_and_taken(objects: ObjectStore) -> None:
    first, second = await put(objects, b"first"), await put(objects, b"second")
    for digest in (first, second, second):
        await objects.name("models/iris/v1/manifest", digest)
    await objects.name("models/iris/v1/part-0", first)
    await objects.name("models/iris/v1/manifest", None)
    await objects.name("models/iris/v1/manifest", None)
    await objects.name("models/never/v1/manifest", None)
    assert await refs(objects) == {ref_of(b"first"), ref_of(b"second")}
    assert await fetch(objects, second) == b"second"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "manifest",
        "/etc/passwd",
        "../outside",
        "models/../../outside",
        "models/./iris",
        "models//iris",
        "models/iris/",
        "models/a\0b",
        "models\\..\\outside",
        "models/" + "x" * 300,
        "cas/sha256/ab",
        "tmp/iris",
    ],
)
async def test_a_name_cannot_leave_its_place(objects: ObjectStore, name: str) -> None:
    digest = await put(objects, b"bytes")
    for target in (digest, None):
        with pytest.raises(InvalidRequest, match="name"):
            await objects.name(name, target)
    assert await refs(objects) == {ref_of(b"bytes")}


async def test_a_name_is_no_beginning_of_another(objects: ObjectStore) -> None:
    digest = await put(objects, b"bytes")
    await objects.name("models/iris/v1/manifest", digest)
    for name in ("models/iris/v1", "models/iris/v1/manifest/part"):
        with pytest.raises(AlreadyExists, match=name):
            await objects.name(name, digest)
    await objects.name("models/iris/v1", None)
    await objects.name("models/iris/v1/manifest/part", None)
    assert await fetch(objects, digest) == b"bytes"


async def test_odd_names_are_names(objects: ObjectStore) -> None:
    digest = await put(objects, b"bytes")
    for name in (
        "models/..iris/v1",
        "models/naïve 😀/v1 final (2)",
        "datasets/a-b_c.d/manifest",
        "models/" + "x" * 255,
    ):
        await objects.name(name, digest)
        await objects.name(name, None)
