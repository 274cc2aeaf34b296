"""The simulation's documents keep the contract, so that what the simulation shows holds for the others."""

from collections.abc import Iterator

import pytest

from tensorfleet import stores
from tensorfleet.testing.documents import *  # noqa: F403
from tests.contract.in_memory import KEPT

del test_what_was_acknowledged_survives_a_kill  # noqa: F821 - it has no process to kill; the simulation kills its own


@pytest.fixture(params=["whole", "torn"])
def documents_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setitem(stores.DOCUMENTS, "memory", "tests.contract.in_memory")
    yield f"memory://documents/{request.param}"
    KEPT.clear()
