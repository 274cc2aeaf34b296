"""Where the tests' servers are: read by fixtures, written by `make servers`."""

import os
import secrets
import socket
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from msgspec import Struct
from pymongo import AsyncMongoClient

from tensorfleet.stores import mongo_url

REAL_MONGO = "MONGODB_TEST_URL"
"""Where it is set, `mongodb://HOST:PORT` of a MongoDB that the tests of the MongoDB servers run on as well."""

PLACE = Path(__file__).parents[2] / ".servers"
FILE = PLACE / "servers.json"


class Running(Struct, frozen=True, kw_only=True):
    """URLs of the servers. durable_mongo keeps its files; quick_mongo is in memory. processes: their ids."""

    durable_mongo: str
    quick_mongo: str
    s3: str
    access_key: str
    secret_key: str
    processes: list[int]


def running() -> Running | None:
    """The servers, where all of them answer."""
    if not FILE.exists():
        return None
    told = msgspec.json.decode(FILE.read_bytes(), type=Running)
    return told if all(_answers(url) for url in (told.durable_mongo, told.quick_mongo, told.s3)) else None


def required() -> Running:
    """The servers; without them the test is skipped, and in CI it fails."""
    there = running()
    if there is None:
        told = "needs the servers of the tests: start them with `make servers`"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    return there


def mongo_servers() -> list[str]:
    """The names of the servers that speak MongoDB's protocol, for a fixture's parameters."""
    return ["quick_mongo", "durable_mongo", *(["real_mongo"] if os.environ.get(REAL_MONGO) else [])]


def database_url(server: str) -> str:
    """The URL of a database on one of them that nobody else uses."""
    base = os.environ[REAL_MONGO] if server == "real_mongo" else str(getattr(required(), server))
    return mongo_url.with_database(base, f"test_{secrets.token_hex(6)}")


async def remove_database(url: str) -> None:
    async with AsyncMongoClient[dict[str, object]](url) as client:
        await client.drop_database(client.get_default_database().name)


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=2):
            return True
    except OSError:
        return False
