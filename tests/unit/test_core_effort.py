"""What a decision costs does not grow with what it is not about. Effort is counted in lines that ran, never in time."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from orchestrator.core import events as e
from orchestrator.core.timers import next_tick
from tensorfleet.model import Resources, RetryPolicy
from tests.simulation.fleet import Fleet, info, spec

MANY = 400


def effort(work: Callable[[], object]) -> int:
    """Lines of Python that some work runs."""
    lines = 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


@pytest.fixture
def busy(core: Fleet) -> Fleet:
    """A worker with a job of far more tasks than it has slots."""
    core.careful = False
    core.join(info("w", slots=2, labels={"kind": "real"}))
    core.submit("j", spec(("fit", 10_000), impure=True, resources=Resources(labels={"kind": "real"})))
    for _ in range(10):
        one_more(core)
    return core


def one_more(core: Fleet) -> None:
    """A task ends, and another takes its slot."""
    core.finish(min(core.state.attempts), duration=100.0)
    assert len(core.state.attempts) == 2


def alike(before: int, after: int) -> None:
    assert after <= before * 1.1, f"{before} lines before, {after} after"


def test_of_a_task_with_what_has_run(busy: Fleet) -> None:
    before = effort(lambda: one_more(busy))
    for _ in range(MANY):
        one_more(busy)
    alike(before, effort(lambda: one_more(busy)))


def test_of_a_task_with_idle_workers_that_cannot_run_it(busy: Fleet) -> None:
    before = effort(lambda: one_more(busy))
    for number in range(MANY):
        busy.join(info(f"idle-{number}"))
    alike(before, effort(lambda: one_more(busy)))


def test_of_a_task_with_busy_workers(busy: Fleet) -> None:
    def hire(count: int) -> int:
        while len(busy.state.workers) <= count:
            busy.join(info(f"other-{len(busy.state.workers)}", labels={"kind": "other"}))
        assert len(busy.state.attempts) == count + 2
        token = busy.tokens("j")[0]
        return effort(lambda: busy.finish(token, duration=100.0))

    busy.submit("other", spec(("fit", 2 * MANY), impure=True, recipe="other", resources=Resources(memory=1)))
    few = hire(2)
    alike(few, hire(MANY))


@pytest.mark.parametrize("fits", [True, False])
def test_of_a_task_with_jobs_that_wait(busy: Fleet, fits: bool) -> None:
    def fill(count: int) -> int:
        for _ in range(count):
            labels = {"kind": "real" if fits else "none"}
            name = f"waiting-{len(busy.state.jobs)}"
            busy.submit(name, spec(recipe=name, impure=True, resources=Resources(labels=labels)))
        return effort(lambda: one_more(busy))

    few = fill(2)
    alike(few, fill(MANY))


def test_of_a_heartbeat(busy: Fleet) -> None:
    before = effort(lambda: busy.beat("w"))
    for number in range(MANY):
        busy.join(info(f"idle-{number}"))
        busy.submit(f"j{number}", spec(recipe=f"{number}", impure=True))
    alike(before, effort(lambda: busy.beat("w")))


def test_of_a_tick_and_of_setting_the_timer(busy: Fleet) -> None:
    def tick() -> None:
        busy.tell(e.Tick())
        assert next_tick(busy.state) is not None

    busy.tell(e.Tick())
    before = effort(tick)
    for number in range(MANY):
        busy.join(info(f"idle-{number}"))
        busy.submit(f"j{number}", spec(recipe=f"{number}", impure=True, deadline=1000.0))
    alike(before, effort(tick))


def test_of_the_end_of_a_backoff(busy: Fleet) -> None:
    """However many others wait longer."""

    def wait(name: str, backoff: float) -> None:
        busy.submit(name, spec(priority=9, impure=True, recipe=name, retry=RetryPolicy(backoff=backoff)))
        one_more(busy)
        busy.fail(busy.tokens(name)[0])

    def end(name: str) -> int:
        wait(name, 0.5)
        busy.pass_time(0.5)
        found = effort(lambda: busy.tell(e.Tick()))
        assert not busy.stage(name).waiting
        busy.cancel(name)
        return found

    busy.sleep(5, beating=("w",))
    before = end("first")
    for number in range(MANY):
        wait(f"slow-{number}", 50.0)
    busy.sleep(5, beating=("w",))
    alike(before, end("last"))
