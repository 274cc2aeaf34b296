"""What the tests over real processes share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Installs the operators of worker_probes.py as a plugin, for every process that is started meanwhile."""
    site = tmp_path_factory.mktemp("plugin")
    metadata = site / "worker_probes-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: worker-probes\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[tensorfleet.algorithms]\nprobe = worker_probes\n")
    (site / "worker_probes.py").symlink_to(Path(__file__).with_name("worker_probes.py"))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(site), *([before] if before else [])])
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
