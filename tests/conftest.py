"""Fixtures that tests of more than one room share."""

from collections.abc import Iterator

import pytest

from tests.simulation.fleet import Fleet
from tests.simulation.plans import plant


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """The orchestrator's core over a fake plan; prints its story where a test fails."""
    plant(monkeypatch)
    fleet = Fleet()
    yield fleet
    print(fleet.tale())
