"""Attempts in the core: failing, trying again, quarantine, reports, and tokens that are refused."""

from collections.abc import Sequence

import pytest

from orchestrator.core import attempts
from orchestrator.core import events as e
from orchestrator.core import records as r
from orchestrator.core.apply import apply
from orchestrator.core.commands import AckFinished, AckReport
from orchestrator.core.decide import Step
from orchestrator.core.entries import decode
from orchestrator.core.snapshot import capture
from orchestrator.core.state import State
from orchestrator.core.timers import next_tick
from orchestrator.drawing import Drawing, draw
from tensorfleet.model import Cause, JobState, Point, Points, RetryPolicy, TaskResult
from tests.simulation.fleet import Fleet, info, said, spec


def only(core: Fleet) -> int:
    (token,) = core.tokens()
    return token


def report(core: Fleet, token: int, number: int, *points: tuple[str, int, float]) -> Step:
    worker = core.state.attempts[token].worker if token in core.state.attempts else "w"
    told = Points.of(Point(*point) for point in points)
    return core.tell(e.Report(worker, core.session(worker), token, number, told, ()))


def kept(done: Step) -> list[tuple[str, int, float]]:
    records = [record for record in done.records if isinstance(record, r.Reported)]
    return [(point.series, point.step, point.value) for record in records for point in record.points]


def failure_of(core: Fleet, job: str) -> r.JobEnded:
    found = [record for entry in core.journal for record in decode(entry) if isinstance(record, r.JobEnded)]
    return next(record for record in found if record.job == job)


def test_a_failure_is_tried_again_after_a_backoff_that_doubles(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(retry=RetryPolicy(max_attempts=4, backoff=2.0, max_backoff=3.0)))
    waits = []
    for _ in range(3):
        core.fail(only(core))
        assert core.tokens() == []
        due = next_tick(core.state)
        assert due is not None
        waits.append(core.stage("j").waiting[0] - core.mono)
        core.sleep(waits[-1] - 0.01, beating=("w",))
        assert core.tokens() == []
        core.sleep(0.02, beating=("w",))
    assert [round(wait, 3) for wait in waits] == [2.0, 3.0, 3.0]
    core.fail(only(core))
    assert core.job("j").state == JobState.FAILED


def test_a_backoff_never_grows_past_counting(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(retry=RetryPolicy(max_attempts=2000, backoff=1.0, max_backoff=0.0)))
    for _ in range(1100):
        core.fail(only(core))
        core.tell(e.Tick())
    assert core.job("j").state == JobState.RUNNING


def test_a_job_fails_with_the_history_of_its_task(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("fit", 2), retry=RetryPolicy(max_attempts=2, backoff=0.0)))
    core.fail(only(core))
    core.tell(e.Tick())
    core.fail(core.tokens()[0])
    failure = failure_of(core, "j").failure
    assert failure is not None
    assert (failure.stage, failure.index, len(failure.attempts)) == ("fit", 0, 2)
    assert "failed 2 times" in failure.message


def test_bad_input_fails_at_once(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("fit", 3)))
    core.fail(only(core), Cause.BAD_INPUT)
    failure = failure_of(core, "j").failure
    assert failure is not None
    assert (failure.code, failure.message) == (3, "it broke")
    assert core.tokens() == []


@pytest.mark.parametrize("cause", [Cause.SIGNAL, Cause.OUT_OF_MEMORY])
def test_a_task_that_kills_is_quarantined(core: Fleet, cause: Cause) -> None:
    core.join(info("w"))
    core.submit("j", spec(retry=RetryPolicy(max_attempts=1, max_backoff=0.0)))
    for _ in range(core.settings.deaths):
        assert core.job("j").state == JobState.RUNNING
        core.fail(only(core), cause)
        core.tell(e.Tick())
    failure = failure_of(core, "j").failure
    assert failure is not None
    assert "quarantined" in failure.message
    assert len(failure.attempts) == core.settings.deaths


def test_deaths_and_failures_have_budgets_of_their_own(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(retry=RetryPolicy(max_attempts=2, max_backoff=0.0)))
    for cause in (Cause.SIGNAL, Cause.EXCEPTION, Cause.SIGNAL):
        core.fail(only(core), cause)
        core.tell(e.Tick())
    assert core.job("j").state == JobState.RUNNING
    core.fail(only(core), Cause.EXCEPTION)
    assert core.job("j").state == JobState.FAILED


def test_a_lost_worker_costs_nothing_that_had_not_begun(core: Fleet) -> None:
    core.submit("j", spec())
    for number in range(core.settings.deaths + 2):
        core.join(info("w", incarnation=str(number)))
        assert core.where("j") == {0: "w"}
    assert core.stage("j").deaths == {}


def test_a_task_that_loses_workers_is_quarantined(core: Fleet) -> None:
    core.submit("j", spec())
    for number in range(core.settings.deaths):
        core.join(info("w", incarnation=str(number)))
        core.begin(only(core))
    core.join(info("w", incarnation="last"))
    assert core.job("j").state == JobState.FAILED


def test_what_never_begins_fails_in_the_end(core: Fleet) -> None:
    """An attempt whose inputs cannot be had ends before it begins; that must not go on forever."""
    core.join(info("w"))
    core.submit("j", spec(retry=RetryPolicy(max_attempts=3, max_backoff=0.0)))
    for _ in range(3):
        core.fail(only(core), Cause.EXCEPTION, started=False)
        core.tell(e.Tick())
    assert core.job("j").state == JobState.FAILED


def test_what_was_given_back_is_pending_again(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("fit", 2)))
    first = only(core)
    core.tell(e.Released("w", core.session("w"), first))
    assert only(core) != first
    assert core.where("j") == {0: "w"}


class TestRefusals:
    """A token that is not live in this worker's hands changes nothing."""

    @pytest.fixture
    def fleet(self, core: Fleet) -> Fleet:
        core.join(info("w"))
        core.join(info("other"))
        core.submit("j", spec(("fit", 3)))
        return core

    def unchanged(self, core: Fleet, event: e.Event) -> Step:
        before = capture(core.state)
        live = {token: repr(attempt) for token, attempt in core.state.attempts.items()}
        done = core.tell(event)
        assert capture(core.state) == before
        assert {token: repr(attempt) for token, attempt in core.state.attempts.items()} == live
        assert not any(record.durable for record in done.records)
        return done

    def test_another_workers_attempt(self, fleet: Fleet) -> None:
        (token,) = fleet.tokens(worker="w")
        done = self.unchanged(fleet, fleet.finished("other", token, TaskResult()))
        assert [token for ack in said(done, AckFinished) for token in ack.tokens] == [token]
        self.unchanged(fleet, e.Began("other", fleet.session("other"), token, 5))
        self.unchanged(fleet, e.Released("other", fleet.session("other"), token))
        self.unchanged(
            fleet, e.Report("other", fleet.session("other"), token, 1, Points.of([Point("loss", 0, 1.0)]), ())
        )
        self.unchanged(fleet, e.Heartbeat("other", fleet.session("other"), {token: 5}, 0.1, 1, ()))

    def test_one_that_never_was(self, fleet: Fleet) -> None:
        done = self.unchanged(fleet, fleet.finished("w", 99, TaskResult()))
        assert [token for ack in said(done, AckFinished) for token in ack.tokens] == [99]

    def test_a_superseded_session(self, fleet: Fleet) -> None:
        (token,) = fleet.tokens(worker="w")
        old = fleet.session("w")
        fleet.join(info("w"), held={token: True})
        for event in (
            fleet.finished("w", token, TaskResult(), session=old),
            e.Began("w", old, token, 5),
            e.Released("w", old, token),
            e.Report("w", old, token, 1, Points(), ()),
            e.Heartbeat("w", old, {token: 5}, 0.1, 1, ()),
            e.Leaving("w", old, "bye"),
            e.SessionLost("w", old),
        ):
            done = self.unchanged(fleet, event)
            assert done.commands == []

    def test_a_doubled_end(self, fleet: Fleet) -> None:
        (token,) = fleet.tokens(worker="w")
        fleet.finish(token)
        done = self.unchanged(fleet, fleet.finished("w", token, TaskResult()))
        assert [token for ack in said(done, AckFinished) for token in ack.tokens] == [token]
        assert fleet.job("j").run == 1

    def test_the_end_of_a_cancelled_jobs_attempt(self, fleet: Fleet) -> None:
        (token,) = fleet.tokens(worker="w")
        fleet.cancel("j")
        done = self.unchanged(fleet, fleet.finished("w", token, TaskResult()))
        assert [token for ack in said(done, AckFinished) for token in ack.tokens] == [token]


class TestReports:
    @pytest.fixture
    def fleet(self, core: Fleet) -> Fleet:
        core.join(info("w"))
        core.submit("j", spec(retry=RetryPolicy(max_backoff=0.0)))
        return core

    def test_each_is_kept_once(self, fleet: Fleet) -> None:
        token = only(fleet)
        assert kept(report(fleet, token, 1, ("loss", 0, 1.0))) == [("loss", 0, 1.0)]
        again = report(fleet, token, 1, ("loss", 0, 1.0))
        assert kept(again) == []
        assert [ack.number for ack in said(again, AckReport)] == [1]

    def test_a_gap_is_neither_kept_nor_acknowledged(self, fleet: Fleet) -> None:
        done = report(fleet, only(fleet), 2, ("loss", 1, 1.0))
        assert kept(done) == []
        assert done.commands == []

    def test_a_later_attempt_repeats_no_step(self, fleet: Fleet) -> None:
        report(fleet, only(fleet), 1, ("loss", 0, 1.0), ("loss", 1, 0.9), ("accuracy", 0, 0.5))
        fleet.fail(only(fleet))
        fleet.tell(e.Tick())
        told = report(fleet, only(fleet), 1, ("loss", 1, 0.9), ("loss", 2, 0.8), ("accuracy", 0, 0.5))
        assert kept(told) == [("loss", 2, 0.8)]

    def test_a_later_attempt_repeats_no_step_after_a_restart(self, fleet: Fleet) -> None:
        report(fleet, only(fleet), 1, ("loss", 5, 1.0))
        fleet.fail(only(fleet))
        fleet.restart(snapshot=True)
        fleet.join(info("w"))
        fleet.tell(e.Tick())
        assert kept(report(fleet, only(fleet), 1, ("loss", 5, 1.0), ("loss", 6, 1.0))) == [("loss", 6, 1.0)]

    def test_one_that_comes_late_is_acknowledged(self, fleet: Fleet) -> None:
        token = only(fleet)
        fleet.cancel("j")
        assert [ack.number for ack in said(report(fleet, token, 7), AckReport)] == [7]

    def test_an_end_that_names_a_report_that_never_came_is_a_failure(self, fleet: Fleet) -> None:
        report(fleet, only(fleet), 1)
        fleet.finish(only(fleet), last_report=2)
        assert fleet.job("j").run == 0
        (history,) = fleet.stage("j").history.values()
        assert "last report is 2" in history[0].message

    def test_an_end_that_names_the_last_is_a_success(self, fleet: Fleet) -> None:
        report(fleet, only(fleet), 1)
        fleet.finish(only(fleet), last_report=1)
        assert fleet.job("j").state == JobState.SUCCEEDED


class TestRuns:
    """Ends that tell nothing but that they are, many at once."""

    @pytest.fixture
    def fleet(self, core: Fleet) -> Fleet:
        core.join(info("w", slots=8, credit=8))
        return core

    def end(self, core: Fleet, tokens: Sequence[int], worker: str = "w") -> Step:
        seconds = [0.5] * len(tokens)
        return core.tell(e.Succeeded(worker, core.session(worker), tuple(tokens), tuple(seconds)))

    def runs(self, done: Step) -> list[r.TasksSucceeded]:
        return [record for record in done.records if isinstance(record, r.TasksSucceeded)]

    @pytest.mark.parametrize("impure", [True, False])
    def test_one_record_tells_of_all(self, fleet: Fleet, impure: bool) -> None:
        fleet.submit("j", spec(("fit", 8), impure=impure))
        tokens = fleet.tokens()
        done = self.end(fleet, tokens)
        (run,) = self.runs(done)
        assert run.tokens == tuple(tokens)
        assert run.indexes == tuple(range(8))
        assert len(set(run.keys)) == (0 if impure else 8)
        assert [ack.tokens for ack in said(done, AckFinished)] == [tuple(tokens)]
        assert fleet.job("j").state == JobState.SUCCEEDED
        assert fleet.job("j").run == 8

    def test_runs_of_several_jobs_are_kept_apart(self, fleet: Fleet) -> None:
        for job in ("a", "b"):
            fleet.submit(job, spec(("fit", 4)))
        done = self.end(fleet, fleet.tokens())
        assert [run.job for run in self.runs(done)] == ["a", "b"]
        assert {fleet.job(job).state for job in ("a", "b")} == {JobState.SUCCEEDED}

    def test_what_is_over_or_anothers_is_left_out(self, fleet: Fleet) -> None:
        fleet.submit("j", spec(("fit", 8)))
        tokens = fleet.tokens()
        fleet.finish(tokens[1])
        done = self.end(fleet, [tokens[0], tokens[1], tokens[0], 99, tokens[2]])
        assert [run.tokens for run in self.runs(done)] == [(tokens[0], tokens[2])]
        assert set(said(done, AckFinished)[0].tokens) == {*tokens[:3], 99}
        assert fleet.job("j").run == 3

    def test_one_whose_reports_are_missing_fails(self, fleet: Fleet) -> None:
        fleet.submit("j", spec(("fit", 3)))
        tokens = fleet.tokens()
        report(fleet, tokens[1], 1, ("loss", 0, 1.0))
        done = self.end(fleet, tokens)
        assert [run.tokens for run in self.runs(done)] == [(tokens[0], tokens[2])]
        assert [record.reason for record in done.records if isinstance(record, r.AttemptFailed)] == ["REPORTS_LOST"]

    def test_a_record_has_a_bounded_size(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(attempts, "MOST", 3)
        fleet.submit("j", spec(("fit", 8)))
        done = self.end(fleet, fleet.tokens())
        assert [len(run.tokens) for run in self.runs(done)] == [3, 3, 2]
        assert fleet.job("j").state == JobState.SUCCEEDED

    def test_a_superseded_session_says_nothing(self, fleet: Fleet) -> None:
        fleet.submit("j", spec(("fit", 2)))
        tokens, old = fleet.tokens(), fleet.session("w")
        fleet.join(info("w", slots=8, credit=8), held=dict.fromkeys(tokens, True))
        done = fleet.tell(e.Succeeded("w", old, tuple(tokens), (1.0, 1.0)))
        assert not done.records
        assert not done.commands

    def test_what_failed_before_is_told_with_the_task(self, fleet: Fleet) -> None:
        fleet.submit("j", spec(("fit", 2), retry=RetryPolicy(backoff=0.0)))
        fleet.fail(fleet.tokens()[0])
        fleet.sleep(1.0, beating=("w",))
        self.end(fleet, fleet.tokens())
        drawing, state = Drawing(), State(settings=fleet.settings)
        for record in (record for entry in fleet.journal for record in decode(entry)):
            apply(state, record, 0.0)
            draw(drawing, state, [record])
        (tasks,) = [document for (kind, _), document in drawing.documents.items() if kind == "tasks"]
        assert tasks is not None
        assert {task["index"]: len(task.get("attempts", ())) for task in tasks["tasks"]} == {0: 1, 1: 0}
