"""The tables of legal changes, and the drawings made from them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.core import transitions
from tensorfleet.model import JobState, TaskState, WorkerState

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "architecture.md"


@pytest.fixture(scope="module")
def diagrams() -> ModuleType:
    found = importlib.util.spec_from_file_location("diagrams", ROOT / "scripts" / "diagrams.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("table", "kind"),
    [(transitions.JOB, JobState), (transitions.TASK, TaskState), (transitions.WORKER, WorkerState)],
)
def test_every_state_has_a_row_and_a_way_to_it(table: dict, kind: type) -> None:  # type: ignore[type-arg]
    assert set(table) == set(kind)
    reached = {next(iter(table)), *(new for following in table.values() for new in following)}
    assert reached == set(kind)


def test_an_illegal_change_is_refused() -> None:
    with pytest.raises(transitions.IllegalTransition, match="j: succeeded -> running"):
        transitions.check(transitions.JOB, JobState.SUCCEEDED, JobState.RUNNING, "j")


def test_the_drawings_show_every_change(diagrams: ModuleType) -> None:
    drawn = diagrams.drawn("job")
    assert "    queued --> running\n" in drawn
    assert "    failed --> [*]\n" in drawn
    assert drawn.count("-->\n") + drawn.count(" --> ") >= sum(map(len, transitions.JOB.values()))


def test_a_marker_is_filled_and_then_stays(diagrams: ModuleType) -> None:
    once = diagrams.redraw("# A\n\n<!-- diagram:worker -->\n\nmore\n")
    assert "ready --> suspect" in once
    assert once.endswith("\n\nmore\n")
    assert diagrams.redraw(once) == once


@pytest.mark.skipif(not DOCUMENT.exists(), reason="the document is not here")
def test_the_document_is_current(diagrams: ModuleType) -> None:
    text = DOCUMENT.read_text()
    assert diagrams.redraw(text) == text, "run `python scripts/diagrams.py --write`"
