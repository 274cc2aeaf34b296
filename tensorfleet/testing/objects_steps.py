"""The store that the suites try, and the steps that they take with it."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import pytest_asyncio

from tensorfleet.model import Ref
from tensorfleet.stores import open_objects
from tensorfleet.stores.contract import ObjectStore

MIB = 1024 * 1024
NOWHERE = hashlib.sha256(b"nobody stored this").hexdigest()
NO_DIGESTS = ["", "abc", "../../../../etc/passwd", NOWHERE.upper(), NOWHERE + "0", f"{NOWHERE[:63]}/", f"{NOWHERE}\n"]

Overwrite = Callable[[str, bytes], Awaitable[None]]


@pytest_asyncio.fixture
async def objects(objects_url: str) -> AsyncIterator[ObjectStore]:
    store = await open_objects(objects_url)
    yield store
    await store.close()


async def stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def put(store: ObjectStore, data: bytes) -> str:
    return (await store.put(stream([data]))).digest


async def collect(reading: AsyncIterator[bytes], into: list[bytes]) -> None:
    async for chunk in reading:
        into.append(chunk)  # noqa: PERF401


async def fetch(store: ObjectStore, digest: str, offset: int = 0) -> bytes:
    return b"".join([chunk async for chunk in store.get(digest, offset)])


async def refs(store: ObjectStore) -> set[Ref]:
    return {ref async for ref, _ in store.blobs()}


def ref_of(data: bytes) -> Ref:
    return Ref(hashlib.sha256(data).hexdigest(), len(data))
