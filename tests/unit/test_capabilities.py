"""Engines that some workers have: what is told, what a job needs of it, and what is said where nobody has it."""

import sys
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest

from orchestrator.admission import admit
from orchestrator.core.events import Submission
from orchestrator.core.pools import key_of
from orchestrator.core.state import Pool, State
from tensorfleet import capabilities, catalog, direct
from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.errors import FailedPrecondition, InvalidRequest
from tensorfleet.model import JobKind, JobSpec
from tensorfleet.testing.simulated.documents import Database, MemoryDocuments
from tests.simulation.fleet import info
from worker import resources

TF = ("tensorflow==2.21.0", "torch")


def test_what_is_missing_is_told_by_name_alone() -> None:
    assert capabilities.missing((), ()) is None
    assert capabilities.missing(("tensorflow", "torch"), TF) is None
    assert capabilities.missing(("tensorflow", "xgboost"), TF) == "xgboost"


def test_numerics_cover_what_is_required_and_nothing_else() -> None:
    assert capabilities.numerics("cpu", (), TF) == "cpu"
    assert capabilities.numerics("cpu", ("tensorflow",), TF) == "cpu+tensorflow=2.21.0"
    assert capabilities.numerics("cpu", ("torch", "tensorflow"), TF) == "cpu+tensorflow=2.21.0+torch="


def test_a_worker_tells_the_versions_of_its_engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, package in (("tensorflow", "tensorflow_cpu"), ("xgboost", "")):
        (tmp_path / f"{name}.py").touch()
        if package:
            (tmp_path / f"{package}-9.1.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(resources, "ENGINES", ("tensorflow", "xgboost", "no_such_engine"))
    for name in ("tensorflow", "xgboost"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert resources.capabilities() == ["tensorflow==9.1", "xgboost"]


def test_versions_of_engines_are_those_of_the_installed_packages() -> None:
    for told in resources.capabilities():
        name, _, number = told.partition("==")
        assert number == version(name)


@pytest.fixture
def needy(monkeypatch: pytest.MonkeyPatch) -> Algorithm:
    """An algorithm that requires an engine which nobody has."""
    made = msgspec.structs.replace(catalog.algorithm("random_forest"), name="needy", requires=("tensorflow",))
    monkeypatch.setattr(catalog, "_by_name", lambda: {"needy": made})
    return made


async def admitted(spec: JobSpec, state: State) -> Submission:
    documents = MemoryDocuments(Database())
    await documents.open()
    try:
        return await admit(spec, "", documents, state)
    finally:
        await documents.close()


def state_with(*engines: str) -> State:
    state, about = State(), info("w", capabilities=engines)
    state.pools[key_of(about)] = Pool(about, [(0, 1, "w")])
    return state


async def test_a_job_that_nobody_can_run_is_refused_with_what_is_missing(needy: Algorithm) -> None:
    spec = JobSpec(kind=JobKind.TRAIN, algorithm="needy", dataset="iris")
    with pytest.raises(InvalidRequest) as refused:
        await admitted(spec, state_with("torch==2"))
    (fault,) = refused.value.violations
    assert fault.field == "spec.algorithm"
    assert "needs tensorflow, which of 1 worker none has" in fault.description
    assert "pip install 'tensorfleet[tensorflow]'" in fault.description


@pytest.mark.parametrize("engines", [("tensorflow==2.21.0",), None])
async def test_a_job_is_taken_where_somebody_has_it_or_nobody_is_here(needy: Algorithm, engines: tuple[str]) -> None:
    state = State() if engines is None else state_with(*engines)
    spec = JobSpec(kind=JobKind.TRAIN, algorithm="needy", dataset="iris")
    taken = await admitted(spec, state)
    assert taken.resolved.requires == ("tensorflow",)


def test_a_job_without_a_fleet_says_what_is_missing(needy: Algorithm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "find_spec", lambda name: None)
    spec = JobSpec(kind=JobKind.TRAIN, algorithm="needy", dataset="iris")
    with pytest.raises(FailedPrecondition, match=r"needs tensorflow, .* pip install 'tensorfleet\[tensorflow\]'"):
        direct.run(spec, objects=Path("nowhere"))
