"""MongoDB keeps the contract of documents, and what it alone promises: on each server there is."""

from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio

from tensorfleet.stores.contract import DocumentStore
from tensorfleet.stores.mongo import MongoDocuments
from tensorfleet.testing.documents import *  # noqa: F403
from tests.servers.running import database_url, mongo_servers, remove_database


@pytest_asyncio.fixture(params=mongo_servers())
async def documents_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    url = database_url(request.param)
    yield url
    await remove_database(url)


@pytest.fixture
def store(documents: DocumentStore) -> MongoDocuments:
    return cast(MongoDocuments, documents)


async def test_bulk_that_was_kept_value_by_value_is_read(store: MongoDocuments) -> None:
    assert store._opened is not None
    tasks = store._opened.connected.database["tasks"]
    await tasks.insert_one({"_id": "old", "_entry": 1, "schema": 1, "job_id": "j", "tasks": [{"index": 1}, 0.5]})
    assert await store.get("tasks", ["old"]) == {"old": {"schema": 1, "job_id": "j", "tasks": [{"index": 1}, 0.5]}}
