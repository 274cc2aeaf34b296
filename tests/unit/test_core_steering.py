"""Steering in the core: pausing and going on, saving, ending early; also over restarts and broken streams."""

from typing import Any

import pytest

from orchestrator.core import events as e
from orchestrator.core import records as r
from orchestrator.core.commands import Assign, Cancel, Checkpoint, Pause, Resume, Welcome
from orchestrator.core.entries import decode
from orchestrator.core.reach import held_by_jobs
from orchestrator.core.snapshot import capture, restore
from tensorfleet.errors import FailedPrecondition
from tensorfleet.model import Cause, JobState, Ref
from tests.simulation.fleet import Fleet, info, refused, said, spec
from tests.simulation.plans import result_of

both = pytest.mark.parametrize("snapshot", [False, True], ids=["journal", "snapshot"])
SAVED, NEWER = Ref("aa" * 32, 10), Ref("bb" * 32, 20)


def told(core: Fleet, kind: Any, make: Any, job: str = "j") -> list[tuple[str, tuple[int, ...]]]:
    """Which workers are told of which attempts by a request."""
    done = core.tell(make(0, job))
    return [(command.worker, command.tokens) for command in said(done, kind)]


def test_a_paused_job_is_given_nothing_and_goes_on_when_resumed(core: Fleet) -> None:
    core.join(info("w", slots=2))
    core.submit("j", spec(("fit", 5), ("finish", 1)))
    first, second = core.tokens()
    assert told(core, Pause, e.PauseJob) == [("w", (first, second))]
    assert core.job("j").state == JobState.PAUSED
    core.finish(first)
    assert core.tokens() == [second]
    assert told(core, Pause, e.PauseJob) == [], "it is paused already"
    assert told(core, Resume, e.ResumeJob) == [("w", (second,))]
    assert core.job("j").state == JobState.RUNNING
    assert len(core.tokens()) == 2
    assert told(core, Resume, e.ResumeJob) == []
    core.run_all()
    assert core.job("j").state == JobState.SUCCEEDED


def test_other_jobs_have_the_slots_of_a_paused_one(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("first", spec())
    core.submit("j", spec(recipe="other"))
    core.pause("first")
    core.tell(e.Released("w", core.session("w"), core.tokens()[0]))
    assert core.where("j") == {0: "w"}
    core.run_all()
    assert core.job("first").state == JobState.PAUSED
    core.resume("first")
    assert core.where("first") == {0: "w"}


def test_a_queued_job_is_queued_again_and_one_whose_results_were_found_runs(core: Fleet) -> None:
    core.submit("j", spec(("fit", 2)))
    core.pause("j")
    core.join(info("w"))
    assert core.tokens() == []
    assert core.job("j").paused_at == core.wall
    core.resume("j")
    assert core.job("j").state == JobState.RUNNING, "there is a worker by now"
    core.run_all()
    asked = core.submit_unanswered("k", spec(("fit", 2), recipe="k"))
    core.pause("k")
    core.tell(e.KnownResults("k", "fit", asked.upto, {0: result_of(core.stage("k").stage.task(0))}, asked.keys))
    assert core.job("k").state == JobState.PAUSED
    core.resume("k")
    assert core.job("k").started_at == core.wall


def test_a_stage_that_ends_while_its_job_is_paused_is_followed_by_none_until_it_is_resumed(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("fit", 1), ("finish", 1)))
    core.pause("j")
    core.finish(core.tokens()[0])
    assert core.stage("j").stage.name == "fit"
    core.resume("j")
    assert core.stage("j").stage.name == "finish"


def test_what_has_ended_cannot_be_steered(core: Fleet) -> None:
    core.submit("j", spec())
    core.cancel("j")
    for steer in (core.pause, core.resume, core.checkpoint, core.stop):
        error = refused(steer("j"))
        assert isinstance(error, FailedPrecondition)
        assert "job j has ended (cancelled)" in error.message
        assert isinstance(refused(steer("forgotten")), FailedPrecondition)


def test_a_paused_job_can_be_cancelled_and_misses_its_deadline(core: Fleet) -> None:
    core.join(info("w", slots=2))
    core.submit("j", spec(deadline=5.0))
    core.submit("k", spec())
    for job in ("j", "k"):
        core.pause(job)
    core.cancel("k")
    assert core.job("k").state == JobState.CANCELLED
    core.sleep(6.0, beating=("w",))
    assert core.job("j").state == JobState.FAILED


def test_one_that_gave_up_its_place_is_not_charged_and_goes_on_from_what_it_saved(core: Fleet) -> None:
    core.join(info("w"))
    core.join(info("other"))
    core.submit("j", spec())
    (token,) = core.tokens()
    core.begin(token)
    core.pause("j")
    core.give_up(token, SAVED)
    assert core.tokens() == []
    assert core.stage("j").saved == {0: SAVED}
    assert not core.stage("j").history
    assert SAVED in set(held_by_jobs(core.state))
    done = core.tell(e.ResumeJob(0, "j"))
    (assign,) = said(done, Assign)
    assert assign.saved == {0: SAVED}
    core.run_all()
    assert SAVED not in set(held_by_jobs(core.state))


def test_one_that_gave_up_after_its_job_was_resumed_is_placed_again(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec())
    (token,) = core.tokens()
    core.pause("j")
    core.resume("j")
    (assign,) = said(core.give_up(token, SAVED), Assign)
    assert (assign.token > token, assign.saved) == (True, {0: SAVED})


def test_a_later_death_goes_on_from_the_last_checkpoint(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec())
    (token,) = core.tokens()
    assert core.checkpoint("j") == 0, "it has not begun, as far as anybody knows"
    core.begin(token)
    assert told(core, Checkpoint, e.CheckpointJob) == [("w", (token,))]
    assert core.checkpoint("j") == 1
    for ref in (SAVED, NEWER):
        core.save(token, ref)
    assert not core.save(token, NEWER).records, "it was said again"
    core.fail(token, Cause.SIGNAL)
    core.sleep(2.0, beating=("w",))
    (attempt,) = core.tokens()
    assert attempt != token
    assert core.stage("j").saved == {0: NEWER}
    core.finish(attempt)
    assert core.job("j").state == JobState.SUCCEEDED


def test_what_was_saved_by_an_attempt_that_is_over_is_dropped(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("fit", 2)))
    (token,) = core.tokens()
    session = core.session("w")
    core.finish(token)
    assert not core.tell(e.Saved("w", session, token, SAVED)).records
    assert not core.tell(
        core.finished("w", token, result_of(core.stage("j").stage.task(0)), gave_up=True, saved=SAVED)
    ).records


def test_a_worker_that_is_lost_while_its_job_is_paused_leaves_the_task_pending(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec())
    core.begin(core.tokens()[0])
    core.pause("j")
    core.lose("w")
    core.sleep(2.0)
    core.join(info("other"))
    assert core.tokens() == []
    core.resume("j")
    assert core.where("j") == {0: "other"}


def test_a_paused_attempt_has_no_twin_and_its_pause_makes_it_no_straggler(core: Fleet) -> None:
    core.join(info("w", slots=5))
    core.join(info("other"))
    core.submit("j", spec(("fit", 5), workers=1))
    for token in core.tokens():
        core.begin(token)
    *most, last = core.tokens()
    for token in most:
        core.finish(token)
    core.pause("j")
    core.sleep(100.0, beating=("w", "other"))
    assert core.tokens() == [last]
    core.resume("j")
    core.sleep(1.0, beating=("w", "other"))
    assert core.tokens() == [last]


@both
def test_a_pause_outlives_the_orchestrator_and_the_worker_is_told_so(core: Fleet, snapshot: bool) -> None:
    core.join(info("w", slots=3))
    core.submit("j", spec(("fit", 2)))
    core.submit("k", spec(recipe="k"))
    first, second, other = core.tokens()
    for token in (first, second, other):
        core.begin(token)
    core.pause("j")
    core.save(first, SAVED)
    paused_at = core.job("j").paused_at
    core.restart(snapshot=snapshot)
    job = core.job("j")
    assert (job.state, job.paused_at, core.stage("j").saved) == (JobState.PAUSED, paused_at, {0: SAVED})
    held = dict.fromkeys((first, second, other), True)
    (welcome,) = said(core.join(info("w", slots=3), held=held), Welcome)
    assert sorted(welcome.paused) == [first, second]
    core.resume("j")
    (welcome,) = said(core.join(info("w", slots=3), held=held), Welcome)
    assert welcome.paused == ()
    core.run_all()
    assert core.job("j").state == JobState.SUCCEEDED


def test_a_stop_ends_what_runs_and_finishes_with_what_is_done(core: Fleet) -> None:
    core.join(info("w", slots=2))
    core.submit("j", spec(("r0", 1), ("r1", 2), ("r2", 1), ("finish", 1), rounds=True, model_name="m"))
    core.finish(core.tokens()[0])
    running = core.tokens()
    assert told(core, Cancel, e.StopJob) == [("w", tuple(running))]
    assert core.stage("j").stage.name == "finish"
    core.tell(core.finished("w", running[0], result_of(core.stage("j").stage.task(0))))
    core.stop("j")
    core.run_all()
    assert core.job("j").state == JobState.SUCCEEDED
    assert list(core.state.models) == ["m"]
    assert core.job("j").run == 2


def test_a_stop_before_the_first_round_is_over_lets_it_end(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("r0", 2), ("r1", 2), ("finish", 1), rounds=True))
    assert told(core, Cancel, e.StopJob) == []
    assert core.stage("j").stage.name == "r0"
    core.run_all()
    assert (core.job("j").state, core.job("j").run) == (JobState.SUCCEEDED, 3)


def test_a_stop_of_a_paused_job_has_it_end(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("r0", 1), ("r1", 1), ("r2", 1), ("finish", 1), rounds=True))
    core.finish(core.tokens()[0])
    core.pause("j")
    core.finish(core.tokens()[0])
    core.stop("j")
    assert core.stage("j").stage.name == "finish", "r1 is over too"
    core.run_all()
    assert (core.job("j").state, core.job("j").run) == (JobState.SUCCEEDED, 3)


def test_a_stop_of_a_job_that_was_paused_since_the_last_one_has_it_go_on_to_its_end(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("r0", 2), ("r1", 1), ("finish", 1), rounds=True))
    core.stop("j")
    core.pause("j")
    (token,) = core.tokens()
    assert told(core, Resume, e.StopJob) == [("w", (token,))]
    assert told(core, Resume, e.StopJob) == []
    core.run_all()
    assert (core.job("j").state, core.job("j").run) == (JobState.SUCCEEDED, 3)


def test_what_has_no_rounds_cannot_be_stopped(core: Fleet) -> None:
    core.submit("j", spec())
    error = refused(core.stop("j"))
    assert error.reason == "UNSTOPPABLE"
    assert "a training of random_forest has no rounds to stop after; cancel it instead" in error.message
    assert core.job("j").state == JobState.QUEUED


@both
def test_a_stop_outlives_the_orchestrator(core: Fleet, snapshot: bool) -> None:
    core.join(info("w"))
    core.submit("j", spec(("r0", 1), ("r1", 2), ("finish", 2), rounds=True))
    core.finish(core.tokens()[0])
    core.stop("j")
    core.restart(snapshot=snapshot)
    core.join(info("w"))
    core.run_all()
    assert (core.job("j").state, core.job("j").run) == (JobState.SUCCEEDED, 3)


def test_a_stopped_job_that_begins_again_first_comes_to_where_it_was(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("r0", 1), ("r1", 1), ("r2", 1), ("finish", 1), rounds=True))
    for _ in range(2):
        core.finish(core.tokens()[0])
    core.stop("j")
    core.known = {}
    lost = core.job("j").done[0].results[0].outputs[0].digest
    core.tell(e.Inspected("j", (lost,)))
    core.run_all()
    assert (core.job("j").state, core.job("j").run) == (JobState.SUCCEEDED, 3)


def test_a_paused_job_that_must_begin_again_stays_paused(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("read", 1), ("fit", 2)))
    core.finish(core.tokens()[0])
    core.pause("j")
    lost = core.job("j").done[0].results[0].outputs[0].digest
    done = core.tell(e.Inspected("j", (lost,)))
    assert [record.paused for record in done.records if isinstance(record, r.JobRestarted)] == [True]
    assert (core.job("j").state, core.tokens()) == (JobState.PAUSED, [])
    core.resume("j")
    core.run_all()
    assert core.job("j").state == JobState.SUCCEEDED


def test_a_plan_that_fails_when_asked_to_stop_ends_its_job(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("r0", 1), ("r1", 1), ("finish", 1), rounds=True))
    core.finish(core.tokens()[0])
    object.__setattr__(core.job("j").plan, "next_stage", None)
    core.stop("j")
    assert core.job("j").state == JobState.FAILED


def test_a_snapshot_of_before_is_read(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec())
    core.pause("j")
    again = restore(capture(core.state), core.settings, core.mono)
    assert again.jobs["j"].state == JobState.PAUSED
    assert decode(core.journal[-1])[-1] == r.JobPaused("j", "paused on request", core.wall)
