"""The store that the suites try, and the steps that they take with it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from tensorfleet.stores import open_documents
from tensorfleet.stores.contract import DocumentStore, Entry, Write


@pytest_asyncio.fixture
async def documents(documents_url: str) -> AsyncIterator[DocumentStore]:
    store = await open_documents(documents_url)
    yield store
    await store.close()


def entry(number: int, term: int = 1, writer: str = "a", records: bytes = b"records") -> Entry:
    return Entry(number, term, writer, records)


async def fill(store: DocumentStore, last: int, term: int = 1, writer: str = "a") -> None:
    """Commits entries up to a number."""
    for number in range(await store.last_number() + 1, last + 1):
        await store.commit(entry(number, term, writer, b"%d" % number), [])


async def put(store: DocumentStore, collection: str, **documents: dict[str, Any]) -> None:
    """Commits documents by id."""
    writes = [Write(collection, document_id, document) for document_id, document in documents.items()]
    await store.commit(entry(await store.last_number() + 1), writes)


async def read(store: DocumentStore, document_id: str) -> dict[str, Any] | None:
    return (await store.get("jobs", [document_id])).get(document_id)
