"""Stragglers in the core: a twin is started, the first to commit wins, and both must agree."""

import pytest

from orchestrator.core import events as e
from orchestrator.core import records as r
from orchestrator.core.commands import Cancel
from tensorfleet.model import Cause, JobState, Resources, TaskResult
from tests.simulation.fleet import Fleet, info, said, spec
from tests.simulation.plans import result_of


def late(core: Fleet, *stages: tuple[str, int], **rest: object) -> int:
    """A job of which one attempt is left, on w1; its token. The others took a second."""
    core.join(info("w1", slots=8))
    core.submit("j", spec(*(stages or (("fit", 8),)), **rest))
    *others, last = core.tokens()
    core.begin(last)
    for token in others:
        core.finish(token)
    return last


def twins(core: Fleet, *stages: tuple[str, int], **rest: object) -> tuple[int, int]:
    first = late(core, *stages, **rest)
    core.join(info("w2"))
    core.sleep(6.0, beating=("w1", "w2"))
    assert core.tokens()[0] == first
    return first, core.tokens()[1]


def test_a_twin_starts_elsewhere_when_an_attempt_is_far_past_its_cohort(core: Fleet) -> None:
    late(core)
    core.join(info("w2"))
    core.sleep(core.settings.straggler_floor - 1, beating=("w1", "w2"))
    assert len(core.tokens()) == 1
    core.sleep(2, beating=("w1", "w2"))
    assert {core.state.attempts[token].worker for token in core.tokens()} == {"w1", "w2"}
    core.sleep(60, beating=("w1", "w2"))
    assert len(core.tokens()) == 2  # and no third


def test_no_twin_on_the_same_worker(core: Fleet) -> None:
    late(core)
    core.sleep(60, beating=("w1",))
    assert len(core.tokens()) == 1


def test_no_twin_of_what_is_impure(core: Fleet) -> None:
    late(core, impure=True)
    core.join(info("w2"))
    core.sleep(60, beating=("w1", "w2"))
    assert len(core.tokens()) == 1


def test_no_twin_where_its_memory_is_taken(core: Fleet) -> None:
    late(core, resources=Resources(memory=8))
    core.join(info("w2", slots=2, memory=10))
    core.submit("other", spec(recipe="other", resources=Resources(memory=10), priority=9))
    assert core.where("other") == {0: "w1"} or core.where("other") == {0: "w2"}
    taken = core.where("other")[0]
    core.sleep(60, beating=("w1", "w2"))
    assert len(core.tokens("j")) == (1 if taken == "w2" else 2)


def test_twins_keep_within_the_most_workers_of_a_job(core: Fleet) -> None:
    core.join(info("w1", slots=12))
    core.submit("j", spec(("fit", 12), workers=2))
    *others, one, two = core.tokens()
    for token in (one, two):
        core.begin(token)
    for token in others:
        core.finish(token)
    for name in ("w2", "w3"):
        core.join(info(name))
    core.sleep(30, beating=("w1", "w2", "w3"))
    assert len(core.job("j").by_worker) == 2
    assert len(core.tokens()) == 3


@pytest.mark.parametrize("winner", [0, 1])
def test_the_first_wins_and_the_other_is_cancelled(core: Fleet, winner: int) -> None:
    pair = twins(core)
    done = core.finish(pair[winner])
    assert [token for command in said(done, Cancel) for token in command.tokens] == [pair[1 - winner]]
    assert core.job("j").state == JobState.SUCCEEDED
    assert core.job("j").run == 8


def test_the_last_of_a_stage_may_end_together_while_each_has_a_twin(core: Fleet) -> None:
    core.join(info("w1", slots=2))
    core.submit("j", spec(("fit", 8)))
    while core.job("j").run < 6:
        core.finish(core.tokens()[0])
    firsts = core.tokens()
    for token in firsts:
        core.begin(token)
    core.join(info("w2", slots=2))
    core.sleep(6.0, beating=("w1", "w2"))
    twins = core.tokens(worker="w2")
    assert len(twins) == 2
    done = core.tell(e.Succeeded("w1", core.session("w1"), tuple(firsts), (9.0, 9.0)))
    assert [token for command in said(done, Cancel) for token in command.tokens] == twins
    assert core.job("j").state == JobState.SUCCEEDED


@pytest.mark.parametrize("loser", [0, 1])
def test_the_other_goes_on_when_one_fails(core: Fleet, loser: int) -> None:
    pair = twins(core)
    core.fail(pair[loser])
    assert core.tokens() == [pair[1 - loser]]
    core.finish(pair[1 - loser])
    assert core.job("j").state == JobState.SUCCEEDED


def test_both_lost_is_pending_again(core: Fleet) -> None:
    twins(core)
    for name in ("w1", "w2"):
        core.join(info(name, incarnation="b"))
    assert len(core.tokens()) == 1


class TestAgreement:
    """What is kept must be what the second finisher made, as long as the job lives."""

    def second(self, core: Fleet, token: int, result: TaskResult) -> e.Finished:
        return core.finished("w2", token, result)

    def test_the_same_is_fine(self, core: Fleet) -> None:
        first, second = twins(core, ("fit", 8), ("finish", 1))
        task = core.task(core.state.attempts[second])
        core.finish(first)
        core.tell(self.second(core, second, result_of(task)))
        assert core.job("j").state == JobState.RUNNING

    @pytest.mark.parametrize("restart", [None, False, True])
    def test_another_fails_the_job_and_names_both(self, core: Fleet, restart: bool | None) -> None:
        first, second = twins(core, ("fit", 8), ("finish", 1))
        task = core.task(core.state.attempts[second])
        core.finish(first)
        assert core.stage("j").stage.name == "finish"
        if restart is not None:
            core.restart(snapshot=restart)
            core.join(info("w2"), finished=(second,))
        done = core.tell(self.second(core, second, result_of(task, "another")))
        (ended,) = [record for record in done.records if isinstance(record, r.JobEnded)]
        assert ended.failure is not None
        assert (ended.failure.cause, ended.failure.stage, ended.failure.index) == (Cause.MISMATCH, "fit", 7)
        for salt in ("", "another"):
            assert result_of(task, salt).outputs[0].digest in ended.failure.message

    def test_a_cancelled_twin_says_nothing_of_outputs(self, core: Fleet) -> None:
        first, second = twins(core, ("fit", 8), ("finish", 1))
        core.finish(first)
        core.tell(core.finished("w2", second, TaskResult(), cause=Cause.CANCELLED))
        assert core.job("j").state == JobState.RUNNING
