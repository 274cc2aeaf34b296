"""The toy family as a plugin: in this process, or for every process that is started meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from tensorfleet import catalog
from tests.rounds import toy

CACHES = (catalog._plugins, catalog._all, catalog._by_name)


@contextmanager
def known() -> Iterator[None]:
    """The catalog has the toy family."""
    point = SimpleNamespace(name="toy", load=lambda: toy)
    with patch("importlib.metadata.entry_points", lambda group: [point] if group == catalog.GROUP else []):
        _forget()
        try:
            yield
        finally:
            _forget()


def _forget() -> None:
    for cached in CACHES:
        cached.cache_clear()


def installed(folder: Path) -> Path:
    """A folder for PYTHONPATH, in which the toy family is a plugin."""
    metadata = folder / "site" / "toy-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[tensorfleet.algorithms]\ntoy = tests.rounds.toy\n")
    return metadata.parent
