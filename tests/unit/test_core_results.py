"""Results as columns: what went in comes out, also by way of a snapshot, and a task costs bytes."""

import tracemalloc
from collections import deque

import msgspec
import pytest

from orchestrator.core import results as columns
from orchestrator.core.results import Results, ResultsImage
from tensorfleet.model import Ref, RetryPolicy, TaskResult
from tests.simulation.fleet import Fleet, info, spec

FIRST = TaskResult((Ref("a" * 64, 3),), {"rows": 1, "share": 1.0, "by": {"x": [None, True, "y"]}})
SECOND = TaskResult((), {"rows": 2})


def filled() -> Results:
    results = Results(4)
    results[2], results[0], results[3] = FIRST, TaskResult(), SECOND
    return results


def test_what_went_in_comes_out() -> None:
    results = filled()
    assert (results[0], results[2], results[-1]) == (TaskResult(), FIRST, SECOND)
    assert list(results) == [TaskResult(), FIRST, SECOND]
    assert results[2:] == [FIRST, SECOND]
    assert [results.has(index) for index in range(4)] == [True, False, True, True]
    assert len(results) == 4


def test_what_is_not_there_is_missed() -> None:
    with pytest.raises(KeyError):
        filled()[1]
    with pytest.raises(IndexError):
        filled()[4]


@pytest.mark.parametrize("order", ["little", "big"])
def test_a_snapshot_gives_it_back_on_any_machine(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    monkeypatch.setattr(columns.sys, "byteorder", order)
    image = msgspec.msgpack.decode(msgspec.msgpack.encode(filled().image()), type=ResultsImage)
    back = Results.of_image(image)
    assert list(back) == list(filled())
    assert [back.has(index) for index in range(4)] == [True, False, True, True]
    back[1] = SECOND
    assert back[1] == SECOND


def test_a_task_costs_bytes(core: Fleet) -> None:
    """Also once it has run, and has failed before: a stage of a million is no burden."""
    tasks, core.careful = 2000, False
    core.story = deque(maxlen=0)
    core.join(info("w", slots=50))
    core.submit("j", spec(("fit", tasks + 200), impure=True, retry=RetryPolicy(backoff=0.0)))
    run(core, 100)
    tracemalloc.start()
    run(core, tasks)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 300 * tasks, "little more than what its result says"


def run(core: Fleet, tasks: int) -> None:
    """So many attempts; one in seven fails."""
    for number in range(tasks):
        token = min(core.state.attempts)
        if number % 7:
            core.finish(token)
        else:
            core.fail(token)
        core.journal.clear()


def test_failed_attempts_are_forgotten_once_the_task_has_succeeded(core: Fleet) -> None:
    core.join(info("w", slots=3))
    core.submit("j", spec(("fit", 3), retry=RetryPolicy(backoff=0.0)))
    for token in core.tokens():
        core.fail(token)
    assert sorted(core.stage("j").history) == [0, 1, 2]
    for token in core.tokens()[:2]:
        core.finish(token)
    assert sorted(core.stage("j").history) == [1, 2], "the last that succeeded may yet have to be shown"
    assert core.stage("j").charged == {2: 1}
