"""What each program may not have imported once it is up: it would be paid by every start, in time and in memory.

Numerics load in slots' processes, stores and sources when they are used, and what shows things when there is someone to
see them.
"""

import os
import subprocess
import sys

import pytest

NETWORKS = {"tensorflow", "keras", "h5py", "PIL"}
NUMERICS = {"numpy", "scipy", "sklearn", "pandas", "pyarrow", "joblib", "threadpoolctl"} | NETWORKS
REMOTE = {"boto3", "botocore", "pymongo", "bson", "urllib3", "requests"}
SHOW = {"rich", "pygments", "typer", "pydantic", "structlog"}
GRPC = {"grpc", "google.protobuf"}

HEAVY = {
    "orchestrator.__main__": NUMERICS | REMOTE | SHOW,
    "worker.__main__, worker.agent, worker.slots, worker.resources": NUMERICS | REMOTE | SHOW,
    "worker.zygote": (NUMERICS - {"threadpoolctl"}) | REMOTE | SHOW | GRPC | {"asyncio"},
    "clients.cli.main, clients.cli.standing": NUMERICS | REMOTE | SHOW | GRPC,
    "clients.cli.commands": NUMERICS | REMOTE | GRPC | (SHOW - {"typer"}),
    "tensorfleet.client": NUMERICS | REMOTE | SHOW,
}


@pytest.mark.parametrize("programs", HEAVY)
def test_a_program_that_comes_up_has_imported_nothing_heavy(programs: str) -> None:
    code = f"import {programs}\nimport sys\nprint(*sys.modules)"
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=place)
    imported = set(done.stdout.split())
    assert programs.split(",")[0] in imported
    assert sorted(imported & HEAVY[programs]) == []
