"""Fixtures that tests of more than one room share."""

import asyncio
import gc
import os
from collections.abc import Callable, Iterator, Mapping

import pytest

from tensorfleet.config import STORE_VARIABLES
from tensorfleet.loops import new_loop
from tests.simulation.fleet import Fleet
from tests.simulation.plans import plant

for _variable in STORE_VARIABLES:  # a test says itself where it keeps things, and else in a home of its own
    os.environ.pop(_variable, None)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Whatever tests left is collected now: not while pytest loads what its summary needs, since CPython's parser may
    not be interrupted by the end of a coroutine."""
    gc.collect()


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that the programs have."""
    return {"uvloop": new_loop}


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """The orchestrator's core over a fake plan; prints its story where a test fails."""
    plant(monkeypatch)
    fleet = Fleet()
    yield fleet
    print(fleet.tale())
