"""The scheduler's decisions in scenarios that a person can read; `TENSORFLEET_REWRITE=1 pytest tests/golden` writes
them anew, to be reviewed as a diff."""

import os
from pathlib import Path

import pytest

from tests.golden.script import replay
from tests.simulation.plans import plant

SCENARIOS = sorted((Path(__file__).parent / "scheduler").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    written = path.read_text()
    decided = replay(written)
    if os.environ.get("TENSORFLEET_REWRITE"):
        path.write_text(decided)
    else:
        assert decided.splitlines() == written.splitlines()


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 8
