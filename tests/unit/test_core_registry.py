"""Names in the core: aliases and deletions of models, datasets."""

import pytest

from orchestrator.core import events as e
from orchestrator.core import records as r
from orchestrator.core.apply import apply
from tensorfleet.errors import AlreadyExists, FailedPrecondition, NotFound
from tensorfleet.model import DatasetContent, JobState, Ref
from tests.simulation.fleet import Fleet, info, refused, spec


@pytest.fixture
def versions(core: Fleet) -> list[str]:
    core.join(info("w"))
    for recipe in ("one", "two"):
        core.submit(recipe, spec(model_name="m", recipe=recipe))
        core.run_all()
    return list(core.state.models["m"])


def test_an_alias_moves(core: Fleet, versions: list[str]) -> None:
    for version in versions:
        assert core.ask(e.SetAlias, "m", "production", version) == version
        assert core.state.aliases == {"m": {"production": version}}


def test_an_alias_is_taken_away(core: Fleet, versions: list[str]) -> None:
    core.ask(e.SetAlias, "m", "production", versions[0])
    core.ask(e.SetAlias, "m", "production", "")
    assert core.state.aliases == {}


@pytest.mark.parametrize(("name", "version"), [("nobody", "v1"), ("m", "v1")])
def test_an_alias_names_what_there_is(core: Fleet, versions: list[str], name: str, version: str) -> None:
    assert isinstance(refused(core.ask(e.SetAlias, name, "production", version)), NotFound)


def test_a_version_goes(core: Fleet, versions: list[str]) -> None:
    assert core.ask(e.DeleteModel, "m", versions[0]) == 1
    assert list(core.state.models["m"]) == versions[1:]


def test_a_version_with_an_alias_stays(core: Fleet, versions: list[str]) -> None:
    core.ask(e.SetAlias, "m", "production", versions[0])
    assert isinstance(refused(core.ask(e.DeleteModel, "m", versions[0])), FailedPrecondition)
    assert list(core.state.models["m"]) == versions


def test_a_whole_model_goes_with_its_aliases(core: Fleet, versions: list[str]) -> None:
    core.ask(e.SetAlias, "m", "production", versions[0])
    assert core.ask(e.DeleteModel, "m", "") == 2
    assert (core.state.models, core.state.aliases) == ({}, {})


def test_what_is_not_there_cannot_go(core: Fleet) -> None:
    assert isinstance(refused(core.ask(e.DeleteModel, "m", "")), NotFound)
    assert isinstance(refused(core.ask(e.DeleteDataset, "d")), NotFound)


def test_a_dataset_goes(core: Fleet) -> None:
    content = DatasetContent(refs=(Ref("0" * 64, 1),), rows=1, target="y", columns=[])
    apply(core.state, r.DatasetAdded("d", content, "iris", core.wall), core.mono)
    assert core.ask(e.DeleteDataset, "d") == "d"
    assert core.state.datasets == {}


def added(core: Fleet, job: str, recipe: str, **rest: bool) -> JobState:
    """A job reads a dataset `d`; where it came to."""
    core.submit(job, spec(dataset_name="d", recipe=recipe, **rest))
    core.run_all()
    return core.job(job).state


def test_a_dataset_keeps_its_name(core: Fleet) -> None:
    core.join(info("w"))
    assert added(core, "first", "rows") == JobState.SUCCEEDED
    kept = dict(core.state.datasets)
    assert added(core, "other", "other rows") == JobState.FAILED
    failure = core.job("other").failure
    assert failure is not None
    assert (failure.code, failure.reason) == (AlreadyExists.code, AlreadyExists.reason)
    assert "'d'" in failure.message
    assert "--replace" in failure.message
    assert core.state.datasets == kept


def test_the_same_content_may_be_added_again(core: Fleet) -> None:
    core.join(info("w"))
    added(core, "first", "rows")
    kept = dict(core.state.datasets)
    assert added(core, "again", "rows") == JobState.SUCCEEDED
    assert core.state.datasets == kept


def test_a_dataset_is_replaced_where_that_was_asked_for(core: Fleet) -> None:
    core.join(info("w"))
    added(core, "first", "rows")
    kept = dict(core.state.datasets)
    assert added(core, "other", "other rows", replace_dataset=True) == JobState.SUCCEEDED
    assert core.state.datasets.keys() == kept.keys()
    assert core.state.datasets != kept
