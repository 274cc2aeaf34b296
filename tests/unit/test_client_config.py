"""Settings: typed, and clear about what is wrong."""

from pathlib import Path

import pytest

from tensorfleet.config import settings
from tensorfleet.errors import InvalidRequest


def test_nothing_said_is_the_folder_here() -> None:
    found = settings({})
    assert (found.home, found.server, found.log_level) == (Path.cwd() / ".tensorfleet", "", "info")


def test_what_is_said_is_typed(tmp_path: Path) -> None:
    given = {"TENSORFLEET_HOME": str(tmp_path), "TENSORFLEET_SERVER": "a:1,b:2", "TENSORFLEET_LOG_LEVEL": "DEBUG"}
    found = settings(given)
    assert (found.home, found.server, found.log_level) == (tmp_path, "a:1,b:2", "debug")


def test_every_bad_variable_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = {
        "TENSORFLEET_HOME": str(tmp_path / "file"),
        "TENSORFLEET_SERVER": "nowhere",
        "TENSORFLEET_LOG_LEVEL": "loud",
    }
    with pytest.raises(InvalidRequest) as told:
        settings(given)
    assert {each.field for each in told.value.violations} == set(given)
