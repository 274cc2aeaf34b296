"""Names in the core: aliases and deletions of models, datasets."""

import pytest

from orchestrator.core import events as e
from orchestrator.core import records as r
from orchestrator.core.apply import apply
from tensorfleet.errors import FailedPrecondition, NotFound
from tensorfleet.model import DatasetContent, Ref
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
