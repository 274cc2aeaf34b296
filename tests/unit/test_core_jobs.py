"""Jobs in the core: accepting, unrolling, looking results up, ending, cancelling, trying again."""

import pytest

from orchestrator.core import events as e
from orchestrator.core import records as r
from orchestrator.core.apply import apply
from orchestrator.core.commands import Cancel
from orchestrator.core.entries import decode
from orchestrator.core.state import Settings
from tensorfleet.errors import AlreadyExists, FailedPrecondition, ResourceExhausted
from tensorfleet.model import Cause, JobState, Resolved
from tests.simulation.fleet import Fleet, info, refused, said, spec
from tests.simulation.plans import plant, result_of


def ended(core: Fleet, job: str) -> r.JobEnded:
    found = [record for entry in core.journal for record in decode(entry) if isinstance(record, r.JobEnded)]
    return next(record for record in reversed(found) if record.job == job)


def test_stages_follow_one_another(core: Fleet) -> None:
    core.join(info("w", slots=2))
    core.submit("j", spec(("read", 1), ("fit", 3), ("finish", 1), model_name="m"))
    assert core.job("j").state == JobState.RUNNING
    assert core.where("j") == {0: "w"}
    core.finish(core.tokens()[0])
    assert core.stage("j").stage.name == "fit"
    assert core.where("j") == {0: "w", 1: "w"}
    core.run_all()
    assert core.job("j").state == JobState.SUCCEEDED
    assert (core.job("j").run, core.job("j").reused) == (5, 0)
    assert list(core.state.models) == ["m"]


def test_the_model_is_registered_before_its_job_ends(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(model_name="m"))
    done = core.finish(core.tokens()[0])
    kinds = [type(record) for record in done.records]
    assert kinds.index(r.ModelRegistered) < kinds.index(r.JobEnded)


def test_versions_of_one_second_differ(core: Fleet) -> None:
    core.join(info("w"))
    for name in ("a", "b"):
        core.submit(name, spec(model_name="m", recipe=name))
        core.run_all()
    first, second = core.state.models["m"]
    assert int(second[1:]) == int(first[1:]) + 1


def test_a_request_is_accepted_once(core: Fleet) -> None:
    assert core.submit("j1", spec(), request_id="mine") == "j1"
    assert core.submit("j2", spec(), request_id="mine") == "j1"
    assert list(core.state.jobs) == ["j1"]


def test_a_batch_may_name_a_request_twice(core: Fleet) -> None:
    batch = tuple(e.Submission(job, "mine", spec(), Resolved()) for job in ("j1", "j2"))
    assert core.ask(e.SubmitJobs, batch) == ["j1", "j1"]


def test_requests_without_an_id_are_all_their_own(core: Fleet) -> None:
    assert [core.submit("j1", spec()), core.submit("j2", spec())] == ["j1", "j2"]


def test_a_request_is_still_known_after_a_restart(core: Fleet) -> None:
    core.submit("j1", spec(), request_id="mine")
    core.restart(snapshot=True)
    assert core.submit("j2", spec(), request_id="mine") == "j1"


def test_known_results_are_not_computed_again(core: Fleet) -> None:
    core.join(info("w"))
    asked = core.submit_unanswered("j", spec(("fit", 4)))
    found = {index: result_of(core.stage("j").stage.task(index)) for index in (0, 2)}
    core.tell(e.KnownResults("j", "fit", asked.upto, found, asked.keys))
    core.run_all()
    assert (core.job("j").run, core.job("j").reused) == (2, 2)


@pytest.mark.parametrize("count", [1500, 2048, 5000])
def test_a_large_stage_may_be_known_as_a_whole(core: Fleet, count: int) -> None:
    core.join(info("w"))
    core.submit("first", spec(("fit", count), recipe="a"))
    core.remember("first")
    core.cancel("first")
    core.submit("second", spec(("fit", count), recipe="a"))
    assert core.job("second").state == JobState.SUCCEEDED
    assert core.job("second").reused == count


def test_nothing_is_assigned_before_it_was_looked_up(core: Fleet) -> None:
    core.join(info("w", slots=4))
    asked = core.submit_unanswered("j", spec(("fit", 3)))
    assert len(asked.keys) == 3
    assert core.tokens() == []


def test_look_ups_keep_ahead_of_the_work(core: Fleet) -> None:
    core.join(info("w", slots=2))
    core.careful = False  # a check after each step would take longer than the steps
    core.submit("j", spec(("fit", 3000)))
    core.run_all()
    assert core.job("j").run == 3000


def test_an_answer_to_an_earlier_life_of_the_job_is_dropped(core: Fleet) -> None:
    core.join(info("w"))
    asked = core.submit_unanswered("j", spec(recipe="a"))
    core.cancel("j")
    core.known = None
    core.retry("j", spec(recipe="b"))
    core.tell(e.KnownResults("j", "fit", asked.upto, {}, asked.keys))
    assert core.stage("j").checked == 0
    assert core.tokens() == []


def test_an_answer_to_a_longer_life_of_the_job_is_dropped(core: Fleet) -> None:
    core.join(info("w"))
    asked = core.submit_unanswered("j", spec(("fit", 2), recipe="a"))
    core.cancel("j")
    core.retry("j", spec(("fit", 1), recipe="a", impure=True))
    core.tell(e.KnownResults("j", "fit", asked.upto, {}, asked.keys))
    assert core.where("j") == {0: "w"}


def test_a_doubled_answer_changes_nothing(core: Fleet) -> None:
    core.join(info("w"))
    asked = core.submit_unanswered("j", spec(("fit", 2)))
    core.tell(e.KnownResults("j", "fit", asked.upto, {}, asked.keys))
    core.fail(core.tokens()[0])
    task = core.stage("j").stage.task(0)
    core.tell(e.KnownResults("j", "fit", asked.upto, {0: result_of(task)}, asked.keys))
    assert core.job("j").reused == 0


def test_impure_tasks_are_never_looked_up(core: Fleet) -> None:
    core.known = None
    core.join(info("w"))
    core.submit("j", spec(("fit", 1), impure=True))
    assert len(core.tokens()) == 1


def test_who_asks_for_fresh_results_gets_them(core: Fleet) -> None:
    core.known = None
    core.join(info("w"))
    core.submit("j", spec(("fit", 1), ignore_known_results=True))
    assert len(core.tokens()) == 1


def test_cancelling_stops_what_runs(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("fit", 2)))
    (token,) = core.tokens()
    core.tickets += 1
    done = core.tell(e.CancelJob(core.tickets, "j", "enough"))
    assert [token for command in said(done, Cancel) for token in command.tokens] == [token]
    assert core.job("j").state == JobState.CANCELLED
    failure = ended(core, "j").failure
    assert failure is not None
    assert (failure.cause, failure.message) == (Cause.CANCELLED, "enough")


def test_cancelling_twice_is_no_error(core: Fleet) -> None:
    core.submit("j", spec())
    assert core.cancel("j") == "j"
    assert core.cancel("j") == "j"


def test_a_live_job_cannot_be_retried(core: Fleet) -> None:
    core.submit("j", spec())
    assert isinstance(refused(core.retry("j", spec())), FailedPrecondition)


def test_a_retried_job_keeps_what_is_known(core: Fleet) -> None:
    what = spec(("fit", 2), ignore_known_results=True)
    core.join(info("w"))
    core.submit("j", what)
    core.remember("j", upto=1)
    core.finish(core.tokens()[0])
    core.fail(core.tokens()[0], Cause.BAD_INPUT)
    assert core.job("j").state == JobState.FAILED
    assert core.retry("j", what) == "j"
    core.run_all()
    assert core.job("j").state == JobState.SUCCEEDED
    assert (core.job("j").run, core.job("j").reused) == (1, 1)


def test_a_deadline_ends_a_job_that_waits(core: Fleet) -> None:
    core.submit("j", spec(deadline=5.0))
    core.sleep(4.5)
    assert core.job("j").state == JobState.QUEUED
    core.sleep(1.0)
    failure = ended(core, "j").failure
    assert failure is not None
    assert failure.cause == Cause.DEADLINE


def test_a_deadline_stops_what_runs(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(deadline=5.0))
    done = core.sleep(6.0, beating=("w",))
    assert any(isinstance(command, Cancel) for command in done)
    assert core.tokens() == []


def test_a_deadline_counts_the_time_without_an_orchestrator(core: Fleet) -> None:
    core.submit("j", spec(deadline=100.0))
    core.restart(away=95.0)
    core.sleep(6.0)
    assert core.job("j").state == JobState.FAILED


def test_a_task_that_cannot_be_made_is_found_out_when_it_is_handed_out(core: Fleet) -> None:
    core.join(info("w", slots=4))
    core.submit("bad", spec(("fit", 3), broken="second task of fit", impure=True))
    core.submit("good", spec(recipe="good"))
    core.run_all()
    assert core.job("good").state == JobState.SUCCEEDED
    failure = ended(core, "bad").failure
    assert failure is not None
    assert failure.reason == "PLAN_FAILED"


def test_a_failed_task_whose_job_did_not_hear_of_it_ends_the_job(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("fit", 2)))
    (token,) = core.tokens()
    cause = Cause.EXCEPTION
    gone = r.AttemptFailed("j", "fit", 0, token, "w", cause, "", "it broke", (), 1.0, True, None, core.wall)
    apply(core.state, gone, core.mono)  # what a restart finds where a step's second journal entry is missing
    core.tell(e.Advance("j"))
    failure = ended(core, "j").failure
    assert failure is not None
    assert (failure.stage, failure.index) == ("fit", 0)


def test_submissions_past_the_limit_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    core = Fleet(Settings(max_jobs=2))
    two = tuple(e.Submission(name, "", spec(recipe=name), Resolved()) for name in ("b", "c"))
    core.submit("a", spec(), request_id="once")
    refusal = refused(core.ask(e.SubmitJobs, two))
    assert isinstance(refusal, ResourceExhausted)
    assert refusal.retry_after
    assert set(core.state.active) == {"a"}, "all of them, or none"
    core.submit("b", spec(recipe="b"))
    assert core.submit("other", spec(), request_id="once") == "a", "it is there already"
    assert isinstance(refused(core.ask(e.SubmitJobs, two[1:])), ResourceExhausted)
    core.cancel("a")
    core.submit("c", spec(recipe="c"))
    assert set(core.state.active) == {"b", "c"}


def test_an_id_that_is_taken_loses_no_job(core: Fleet) -> None:
    first = e.Submission("j", "", spec(("fit", 1)), Resolved())
    other = e.Submission("k", "", spec(("fit", 2)), Resolved())
    assert isinstance(refused(core.ask(e.SubmitJobs, (other, first, first))), AlreadyExists)
    assert not core.state.jobs
    assert core.ask(e.SubmitJobs, (first,)) == ["j"]
    assert isinstance(refused(core.ask(e.SubmitJobs, (first,))), AlreadyExists)


def test_a_plan_with_a_bug_fails_its_job_alone(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("bad", spec(("fit", 1), ("finish", 1), broken="finish"))
    core.submit("good", spec(recipe="good"))
    core.run_all()
    assert core.job("good").state == JobState.SUCCEEDED
    failure = ended(core, "bad").failure
    assert failure is not None
    assert failure.reason == "PLAN_FAILED"
    assert "a plan with a bug" in failure.message


def test_tasks_that_cannot_be_keyed_fail_the_job_alone(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("bad", spec(broken="tasks of fit"))
    assert core.job("bad").state == JobState.FAILED


def test_a_stage_without_tasks_is_passed(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("none", 0), ("fit", 1)))
    core.run_all()
    assert core.job("j").state == JobState.SUCCEEDED


def test_numerics_are_those_of_most_slots_and_stay(core: Fleet) -> None:
    core.join(info("few", slots=1, fingerprint="avx2"))
    core.join(info("many", slots=3, fingerprint="avx512"))
    core.submit("j", spec(("fit", 9)))
    assert core.job("j").fingerprint == "avx512"
    assert set(core.where("j").values()) == {"many"}


def test_a_mixture_runs_anywhere(core: Fleet) -> None:
    core.join(info("one", fingerprint="avx2"))
    core.join(info("two", fingerprint="avx512"))
    core.submit("j", spec(("fit", 9), allow_mixed_numerics=True))
    assert set(core.where("j").values()) == {"one", "two"}


def test_ended_jobs_are_forgotten_in_their_order(core: Fleet) -> None:
    most = core.settings.remember_ended
    for number in range(most + 2):
        core.submit(f"j{number}", spec())
        core.cancel(f"j{number}")
    assert len(core.state.jobs) == most
    assert "j1" not in core.state.jobs
    assert f"j{most + 1}" in core.state.jobs


def test_jobs_that_wait_start_when_a_worker_joins(core: Fleet) -> None:
    core.submit("j", spec(("fit", 2)))
    assert core.job("j").state == JobState.QUEUED
    core.join(info("w"))
    assert core.where("j") == {0: "w"}
