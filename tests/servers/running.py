"""Where the tests' servers are: read by fixtures, written by `make servers`."""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from msgspec import Struct

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


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=2):
            return True
    except OSError:
        return False
