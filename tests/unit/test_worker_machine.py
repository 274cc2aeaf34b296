"""What the worker finds out about its machine, and what its processes may import."""

import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from worker import resources, sandbox
from worker.__main__ import arguments


def test_the_machine_has_processors_and_memory() -> None:
    machine = resources.machine()
    assert machine.cpus == len(os.sched_getaffinity(0))
    assert machine.memory > 1 << 20


def test_gpus_are_those_that_this_process_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert resources.machine().gpus == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert resources.machine().gpus == 0


def test_a_fingerprint_reads_well_and_is_the_same_twice() -> None:
    fingerprint = resources.fingerprint()
    assert re.fullmatch(r"sklearn[\w.]+-numpy[\w.]+-\w+-[0-9a-f]{12}", fingerprint)
    assert fingerprint == resources.fingerprint()


def test_versions_are_those_of_the_installed_packages() -> None:
    for name in resources.PACKAGES:
        assert resources._version(name) == version(name)
    assert resources._version("nothing-like-it") == "none"


def test_a_fingerprint_tells_kernels_and_packages_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resources.fingerprint()
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    other_kernel = resources.fingerprint()
    monkeypatch.setattr(resources, "_version", lambda name: "0.0" if name == "scipy" else "1.0")
    assert len({before, other_kernel, resources.fingerprint()}) == 3


def test_memory_in_use_counts_this_process_and_skips_those_that_are_gone() -> None:
    assert resources.memory_in_use([os.getpid(), 2**22 + 1]) > 1 << 20
    assert resources.memory_in_use([]) == 0


@pytest.mark.parametrize(
    ("slots", "gpus", "shares"),
    [(2, 0, [None, None]), (2, 2, ["0", "1"]), (2, 3, ["0,2", "1"]), (3, 2, ["0", "1", ""])],
)
def test_slots_share_out_the_gpus(
    slots: int, gpus: int, shares: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [sandbox.gpus_of_slot(number, slots, gpus) for number in range(slots)] == shares


def test_slots_share_out_those_gpus_that_the_worker_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5c1e")
    gpus = resources.machine().gpus
    assert [sandbox.gpus_of_slot(number, 2, gpus) for number in range(2)] == ["2", "GPU-5c1e"]


def test_threads_are_pinned_whatever_the_agent_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*sandbox.ONE_THREAD, *sandbox.ARROW):
        monkeypatch.setenv(name, "8")
    sandbox.pin_threads()
    assert {os.environ[name] for name in sandbox.ONE_THREAD} == {"1"}
    assert {os.environ[name] for name in sandbox.ARROW} == set(sandbox.ARROW.values())


def imported_by(program: str, environment: dict[str, str]) -> tuple[set[str], int]:
    """The modules that a program leaves imported, and its threads."""
    code = f"{program}\nimport sys, os\nprint(*sys.modules)\nprint(len(os.listdir('/proc/self/task')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    modules, threads = done.stdout.splitlines()
    return set(modules.split()), int(threads)


def test_the_zygote_is_single_threaded_and_without_grpc() -> None:
    program = "from worker import numerics, sandbox, zygote\nsandbox.pin_threads()\nnumerics.load(numerics.BARE)\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])}
    modules, threads = imported_by(program, environment)
    assert "tensorfleet.execution" in modules
    assert not modules & {"asyncio", "grpc", "google.protobuf", "numpy", "sklearn"}
    assert threads == 1
    whole = "loading = numerics.Loading()\nwhile not loading.done: loading.step()"
    modules, threads = imported_by(program + whole, environment)
    assert {"sklearn.ensemble", "pandas", "pyarrow", "tensorfleet.execution"} <= modules
    assert not modules & {"grpc", "google.protobuf"}
    assert threads == 1


def test_the_state_and_the_start_import_no_more_than_they_need() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])}
    modules, _ = imported_by("import worker.state", environment)
    assert not modules & {"asyncio", "grpc", "numpy", "worker.slots"}
    modules, _ = imported_by("import worker.__main__", environment)
    assert not modules & {"asyncio", "grpc", "numpy", "msgspec", "logging"}
    modules, _ = imported_by("import worker.agent", environment)
    assert not modules & {"numpy", "pandas", "sklearn"}


def test_arguments_have_defaults_and_refuse_nonsense(capsys: pytest.CaptureFixture[str]) -> None:
    given = arguments(["--server", "a:1", "--label", "zone=a", "--label", "disk=fast=yes"])
    assert given.slots == len(os.sched_getaffinity(0))
    assert dict(given.label) == {"zone": "a", "disk": "fast=yes"}
    for wrong in (["--slots", "0"], ["--label", "zone"], []):
        with pytest.raises(SystemExit) as error:
            arguments([*(["--server", "a:1"] if wrong else []), *wrong])
        assert error.value.code == 2
    capsys.readouterr()


def test_code_that_is_given_back_can_still_be_run_and_takes_no_memory_until_then() -> None:
    code = """
import numpy as np
from worker.sandbox import give_back_code
def resident():
    return next(int(row.split()[1]) for row in open("/proc/self/status") if row.startswith("RssFile:"))
before, answer = resident(), np.linalg.inv(np.array([[2.0, 1.0], [1.0, 3.0]])).tolist()
give_back_code()
assert resident() < before / 2, (before, resident())
assert np.linalg.inv(np.array([[2.0, 1.0], [1.0, 3.0]])).tolist() == answer
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
