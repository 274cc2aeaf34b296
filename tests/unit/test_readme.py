"""What the README shows works as it stands there."""

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.datasets import load_wine
from sklearn.naive_bayes import GaussianNB

from tensorfleet import algorithms, catalog, direct
from tensorfleet.model import JobSpec

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The README's algorithm, as a file of the family folder."""
    found = re.search(r"<!-- algorithm -->\n(.*?)<!-- /algorithm -->", README, re.DOTALL)
    assert found
    (tmp_path / "naive.py").write_text(textwrap.dedent(found[1]))
    monkeypatch.setattr(algorithms, "__path__", [*algorithms.__path__, str(tmp_path)])
    caches = (catalog._files, catalog._all, catalog._by_name)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()
    sys.modules.pop("tensorfleet.algorithms.naive", None)


@pytest.mark.usefixtures("added")
def test_one_file_adds_an_algorithm(tmp_path: Path) -> None:
    spec, violations = catalog.validate(JobSpec(dataset="wine", algorithm="gaussian_nb", validation_split=0.0))
    assert not violations
    model = direct.run(spec, objects=tmp_path / "objects").result
    X, y = load_wine(return_X_y=True)
    assert model.metrics["accuracy"] == GaussianNB().fit(X, y).score(X, y)


def test_its_first_two_blocks_are_one_line_each() -> None:
    blocks = re.findall(r"^```\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert [block.count("\n") for block in blocks[:2]] == [1, 1]
