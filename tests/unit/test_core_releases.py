"""Letting go of what a job needs no more: what it holds, what is known of it, and how a job begins again without it."""

import pytest

from orchestrator.core import events as e
from orchestrator.core import records as r
from orchestrator.core.commands import LookUp
from orchestrator.core.decision import Decision
from orchestrator.core.reach import made_by
from orchestrator.core.snapshot import capture, restore
from orchestrator.core.values import Released
from tensorfleet.keys import task_key
from tensorfleet.model import Cause, JobState, Ref, Task
from tests.simulation.fleet import Fleet, info, spec
from tests.simulation.plans import result_of

ROUNDS = spec(("s0", 2), ("s1", 2), ("s2", 1), ("s3", 2), lets_go=True)


@pytest.fixture
def opened(core: Fleet) -> list[r.StageOpened]:
    """The stages that are opened from here on, in order."""
    found: list[r.StageOpened] = []

    def see(event: e.Event, decision: Decision) -> None:
        found.extend(record for record in decision.records if isinstance(record, r.StageOpened))

    core.watcher = see
    return found


@pytest.fixture
def training(core: Fleet, opened: list[r.StageOpened]) -> Fleet:
    """A job `j` whose third stage runs."""
    core.join(info("w", slots=2))
    core.submit("j", ROUNDS)
    for _ in range(2):
        finish_stage(core)
    assert core.stage("j").stage.name == "s2"
    return core


def finish_stage(core: Fleet) -> None:
    for token in core.tokens("j"):
        core.remember("j")
        core.finish(token)


def held(core: Fleet) -> set[Ref]:
    return set(made_by(core.job("j")))


def outputs(core: Fleet, place: int) -> set[Ref]:
    return {ref for result in core.job("j").done[place].results for ref in result.outputs}


def test_a_stage_that_is_let_go_of_is_held_no_more_and_its_summaries_stay(
    training: Fleet, opened: list[r.StageOpened]
) -> None:
    assert held(training) == outputs(training, 1)
    assert [result.summary for result in training.job("j").done[0].results] == [{"index": 0}, {"index": 1}]
    assert [[each.stage for each in record.released] for record in opened] == [[], [], ["s0"]]
    stage = training.job("j").plan.next_stage(ROUNDS, training.job("j").resolved, [])
    keys = tuple(task_key(stage.task(index), "cpu") for index in range(2))  # type: ignore[union-attr]
    assert opened[-1].released == (Released("s0", keys),)


def test_a_restart_from_a_snapshot_lets_go_as_the_journal_does(training: Fleet, opened: list[r.StageOpened]) -> None:
    training.state = restore(capture(training.state), training.settings, training.mono)
    assert [stage.released for stage in training.job("j").done] == [True, False]
    training.begin_term()
    training.join(info("w", slots=2))
    training.sleep(30.0, beating=("w",))
    training.run_all()
    assert training.job("j").state == JobState.SUCCEEDED
    assert [[each.stage for each in record.released] for record in opened] == [[], [], ["s0"], ["s1"]]
    assert all(each.keys for record in opened for each in record.released)


@pytest.fixture
def asked(core: Fleet) -> list[LookUp]:
    """What is looked up from here on."""
    found: list[LookUp] = []

    def see(event: e.Event, decision: Decision) -> None:
        found.extend(command for command in decision.commands if isinstance(command, LookUp))

    core.watcher = see
    return found


def test_what_was_let_go_is_asked_for_until_it_is_needed(core: Fleet, asked: list[LookUp]) -> None:
    core.join(info("w", slots=2))
    core.submit("j", ROUNDS)
    for _ in range(2):
        finish_stage(core)
    assert [look.let_go for look in asked] == [True, True, True]
    lost = next(iter(outputs(core, 1))).digest
    core.fail(core.tokens("j")[0], Cause.LOST_INPUT, started=False)
    core.known = {}
    core.tell(e.Inspected("j", (lost,)))
    assert (core.job("j").restarts, core.job("j").anew) == (1, True)
    core.state = restore(capture(core.state), core.settings, core.mono)
    assert core.job("j").anew
    core.begin_term()
    core.join(info("w", slots=2))
    core.sleep(30.0, beating=("w",))
    core.run_all()
    assert core.job("j").state == JobState.SUCCEEDED
    assert [look.let_go for look in asked[3:]] == [False] * 4


def test_a_loss_that_needs_nothing_of_what_was_let_go_leaves_that_known(core: Fleet, asked: list[LookUp]) -> None:
    core.join(info("w", slots=2))
    core.submit("j", ROUNDS)
    finish_stage(core)
    core.fail(core.tokens("j")[0], Cause.LOST_INPUT, started=False)
    core.tell(e.Inspected("j", (next(iter(outputs(core, 0))).digest,)))
    core.run_all()
    assert (core.job("j").restarts, core.job("j").anew) == (1, False)
    assert all(look.let_go for look in asked)


@pytest.mark.parametrize("snapshot", [False, True])
def test_one_that_took_what_was_let_go_takes_none_of_that_once_it_is_missing(
    core: Fleet, asked: list[LookUp], snapshot: bool
) -> None:
    core.join(info("w", slots=2))
    first = core.submit_unanswered("j", spec(("s0", 1), ("s1", 1), ("s2", 1)))
    made = result_of(core.stage("j").stage.task(0))
    core.tell(e.KnownResults("j", "s0", 1, {0: made}, first.keys, frozenset({0})))
    if snapshot:
        core.restart(snapshot=True)
        core.join(info("w", slots=2))
    core.fail(core.tokens("j")[0], Cause.LOST_INPUT, started=False)
    asked.clear()
    core.tell(e.Inspected("j", (made.outputs[0].digest,)))
    assert (core.job("j").restarts, core.job("j").anew) == (1, True)
    core.run_all()
    assert core.job("j").state == JobState.SUCCEEDED
    assert [look.let_go for look in asked] == [False] * 3


def test_a_known_result_says_whether_its_outputs_may_be_gone(core: Fleet) -> None:
    core.join(info("w", slots=2))
    asked = core.submit_unanswered("j", ROUNDS)
    results = {index: result_of(Task(operator="x@1", params={"index": index})) for index in asked.keys}
    done = core.tell(e.KnownResults("j", "s0", 2, results, asked.keys, frozenset({1})))
    checked = next(record for record in done.records if isinstance(record, r.StageChecked))
    assert [known.let_go for known in checked.known] == [False, True]
    assert core.stage("j").stage.name == "s1"
