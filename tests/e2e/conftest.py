"""What the end-to-end tests share: real orchestrators and workers over homes of their own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tensorfleet import AsyncClient
from tensorfleet.local import AsyncLocalFleet

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def found_from_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs are found in this checkout, also from another folder."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("TENSORFLEET_SERVER", raising=False)
    monkeypatch.delenv("TENSORFLEET_HOME", raising=False)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[AsyncLocalFleet]:
    """Two workers of one slot each, and an orchestrator over an empty home."""
    async with AsyncLocalFleet(tmp_path / "home", workers=2) as fleet:
        yield fleet


@pytest.fixture
async def client(fleet: AsyncLocalFleet) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(fleet.address) as client:
        yield client
