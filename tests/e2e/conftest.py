"""What the end-to-end tests share: real orchestrators and workers over homes of their own.

The rule: what holds on SQLite and a directory holds on MongoDB and S3. So each test runs on both, unless it says that
it is about one of them by `pytestmark = pytest.mark.stores("local")`.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tensorfleet import AsyncClient
from tensorfleet.local import AsyncLocalFleet
from tests.e2e.stores import Stores

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def found_from_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs are found in this checkout, also from another folder."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("TENSORFLEET_SERVER", raising=False)
    monkeypatch.delenv("TENSORFLEET_HOME", raising=False)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = [str(name) for mark in metafunc.definition.iter_markers("stores") for name in mark.args]
    metafunc.parametrize("stores", chosen or ["local", "cluster"], indirect=True)


@pytest.fixture(autouse=True)
def stores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    """Local is each fleet's home; cluster is MongoDB and S3."""
    with ExitStack() as used:
        found = Stores(request.param, monkeypatch, used)
        found.anew()
        yield found


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[AsyncLocalFleet]:
    """Two workers of one slot each, and an orchestrator over an empty home."""
    async with AsyncLocalFleet(tmp_path / "home", workers=2) as fleet:
        yield fleet


@pytest.fixture
async def client(fleet: AsyncLocalFleet) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(fleet.address) as client:
        yield client
