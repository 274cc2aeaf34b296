"""A few hundred seeds of the whole system, and that a seed is a run. `make simulate` runs ten thousand."""

from collections.abc import Iterator

import pytest

from tests.simulation.sealed import sealed
from tests.simulation.world import run

SEEDS = 200
CHUNK = 10


@pytest.fixture(scope="module", autouse=True)
def everything_is_simulated() -> Iterator[None]:
    with sealed():
        yield


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_nothing_is_lost_and_nothing_is_wrong(first: int) -> None:
    for seed in range(first, first + CHUNK):
        came = run(seed)
        told = f"python -m tests.simulation --seed {seed} tells the whole story"
        assert not came.wrong, f"seed {seed}: {'; '.join(came.wrong)}; {told}"


@pytest.mark.parametrize("seed", [3, 8])
def test_a_seed_is_a_run(seed: int) -> None:
    """Whether it is told or not, and however often."""
    lines: list[str] = []
    digests = {run(seed).digest, run(seed).digest, run(seed, lines.append).digest}
    assert len(digests) == 1
    assert any("durable" in line for line in lines)
    assert run(seed + 1).digest not in digests
