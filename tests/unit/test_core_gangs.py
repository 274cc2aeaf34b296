"""Gangs in the core: at once or not at all, whole or ended, and none that waits is passed by."""

from typing import Any

import pytest

from orchestrator.core import events as e
from orchestrator.core.commands import AckFinished, Assign, Cancel, EndEarly, Recall, Resume, Roster
from orchestrator.core.decide import Step
from orchestrator.core.explaining import why_pending
from orchestrator.core.records import TasksSucceeded
from tensorfleet.model import Cause, JobSpec, JobState, Ref, Resources
from tests.simulation.fleet import Fleet, assigned, info, said, spec

SAVED = Ref("aa" * 32, 10)


def gang(count: int, least: int = 0, **rest: Any) -> JobSpec:
    return spec(("fit", count), ("finish", 1), gangs={"fit": least}, **rest)


def members(core: Fleet, job: str = "j") -> dict[int, int]:
    """Token by member."""
    return {core.state.attempts[token].index: token for token in core.tokens(job)}


def rosters(done: Step) -> dict[int, tuple[int, tuple[str, ...]]]:
    return {command.token: (command.place, command.addresses) for command in said(done, Roster)}


class TestForming:
    def test_all_begin_at_once_each_in_a_slot_of_its_own(self, core: Fleet) -> None:
        core.join(info("w1", slots=2, credit=9))
        core.submit("j", gang(4))
        assert core.tokens() == []
        done = core.join(info("w2", slots=2, credit=9))
        assert sorted(index for _, _, index in assigned(done)) == [0, 1, 2, 3]
        assert all(len(core.tokens(worker=name)) == 2 for name in ("w1", "w2"))

    def test_none_begins_where_not_all_can(self, core: Fleet) -> None:
        core.join(info("w1", slots=3))
        core.submit("j", gang(4))
        assert core.tokens() == []
        assert why_pending(core.state, core.job("j")) == (
            "its 4 members begin at once, and the workers that could run them have 3 slots: it waits for 1 more; "
            "`tensorfleet worker join ADDRESS` adds some; submitted anew with `-p replicas=3` it asks for no more than "
            "there are, with `-p min_members=3` it begins with those"
        )

    def test_members_take_memory_and_gpus_like_any_task(self, core: Fleet) -> None:
        core.join(info("w1", slots=4, gpus=1, memory=100))
        core.join(info("w2", slots=4, gpus=2, memory=100))
        core.submit("j", gang(3, resources=Resources(gpus=1)))
        assert sorted(core.where("j").values()) == ["w1", "w2", "w2"]
        core.submit("k", gang(2, resources=Resources(memory=60)))
        assert sorted(core.where("k").values()) == ["w1", "w2"]

    def test_no_more_workers_than_the_spec_allows(self, core: Fleet) -> None:
        for name in ("w1", "w2", "w3"):
            core.join(info(name, slots=1))
        core.submit("j", gang(2, workers=1))
        assert core.tokens() == []
        assert "of whom its spec allows 1, have 1 slot: it waits for 1 more" in why_pending(core.state, core.job("j"))
        core.join(info("big", slots=2))
        assert set(core.where("j").values()) == {"big"}

    def test_a_gang_waits_for_a_backoff_as_one(self, core: Fleet) -> None:
        core.join(info("w", slots=2))
        core.submit("j", gang(2))
        core.fail(members(core)[1])
        assert core.tokens() == []
        core.sleep(1.5, beating=("w",))
        assert set(members(core)) == {0, 1}


class TestWaiting:
    def test_small_tasks_that_come_later_do_not_pass_it_by(self, core: Fleet) -> None:
        core.join(info("w", slots=2, credit=8))
        core.submit("old", spec(("fit", 2)))
        core.submit("j", gang(2))
        core.submit("small", spec(("fit", 50)))
        first, second = core.tokens("old")
        core.finish(first, duration=0.01)
        assert core.tokens("small") == []  # the free slot is kept
        assert "kept for it" in why_pending(core.state, core.job("j"))
        core.finish(second, duration=0.01)
        assert set(members(core)) == {0, 1}

    def test_what_comes_before_it_goes_first(self, core: Fleet) -> None:
        core.join(info("w", slots=2))
        core.submit("old", spec(("fit", 3)))
        core.submit("j", gang(2))
        core.finish(core.tokens("old")[0])
        assert len(core.tokens("old")) == 2

    def test_other_workers_go_on_with_other_things(self, core: Fleet) -> None:
        core.join(info("big", slots=2, gpus=2))
        core.submit("old", spec(resources=Resources(gpus=1)))
        core.submit("j", gang(2, resources=Resources(gpus=1)))
        core.join(info("plain", slots=1))
        core.submit("small", spec(("fit", 5)))
        assert core.where("small") == {0: "plain"}

    def test_one_that_the_fleet_has_no_room_for_keeps_nobody_waiting(self, core: Fleet) -> None:
        core.join(info("w", slots=2, credit=4))
        core.submit("huge", gang(5))
        core.submit("j", gang(2))
        assert set(members(core)) == {0, 1}

    def test_what_was_sent_ahead_is_asked_back_for_it(self, core: Fleet) -> None:
        core.join(info("w", slots=1, credit=5))
        core.submit("small", spec(("fit", 20), priority=0))
        core.finish(core.tokens()[0], duration=0.01)
        tokens = core.tokens(worker="w")
        assert len(tokens) == 5
        core.begin(tokens[0])
        core.submit("j", gang(2, priority=1))
        assert core.tokens("j") == []
        done = core.join(info("w2", slots=1))
        assert [token for command in said(done, Recall) for token in command.tokens] == tokens[:0:-1]
        assert core.tokens(worker="w2") == []  # kept
        for token in tokens[1:]:
            core.tell(e.Released("w", core.session("w"), token))
        core.finish(tokens[0], duration=0.01)
        assert set(core.where("j").values()) == {"w", "w2"}

    def test_what_was_asked_back_in_a_session_that_broke_is_asked_back_in_the_next(self, core: Fleet) -> None:
        core.join(info("w", slots=1, credit=5))
        core.submit("small", spec(("fit", 20), priority=0))
        core.finish(core.tokens()[0], duration=0.01)
        core.begin(core.tokens()[0])
        core.submit("j", gang(2, priority=1))
        asked = [token for command in said(core.join(info("w2")), Recall) for token in command.tokens]
        core.lose("w")
        held = {token: token not in asked for token in core.tokens(worker="w")}
        done = core.join(info("w", slots=1, credit=5), held=held)
        assert [token for command in said(done, Recall) for token in command.tokens] == asked

    def test_two_gangs_never_hold_a_part_each(self, core: Fleet) -> None:
        core.submit("first", gang(3))
        core.submit("second", gang(3))
        for name in ("w1", "w2", "w3", "w4"):
            core.join(info(name))
        assert len(core.tokens("first")) == 3
        assert core.tokens("second") == []
        for name in ("w5", "w6"):
            core.join(info(name))
        assert len(core.tokens("second")) == 3

    def test_an_idle_worker_gets_nothing_back_of_a_gangs(self, core: Fleet) -> None:
        core.join(info("w", slots=2, credit=2))
        core.submit("j", gang(2))
        assert said(core.join(info("idle")), Recall) == []

    def test_one_of_pure_tasks_takes_no_known_results_since_its_members_begin_together(self, core: Fleet) -> None:
        core.join(info("w", slots=2))
        core.submit("first", gang(2, pure_gangs=True))
        core.remember("first", 1)
        core.run_all()
        core.submit("j", gang(2, pure_gangs=True))
        assert set(members(core)) == {0, 1}
        core.run_all()
        assert core.job("j").state is JobState.SUCCEEDED


class TestFewer:
    def test_fewer_form_once_nobody_came_where_the_plan_allows_it(self, core: Fleet) -> None:
        core.join(info("w", slots=2))
        core.submit("j", gang(4, least=2))
        core.sleep(9.0, beating=("w",))
        assert core.tokens() == []
        assert "to begin with 2" in why_pending(core.state, core.job("j"))
        core.sleep(3.0, beating=("w",))
        assert set(members(core)) == {0, 1}

    @pytest.mark.parametrize("least", [0, 3])
    def test_not_where_it_does_not(self, core: Fleet, least: int) -> None:
        core.join(info("w", slots=2))
        core.submit("j", gang(4, least=least))
        core.sleep(30.0, beating=("w",))
        assert core.tokens() == []
        assert "it waits for 2 more; `tensorfleet worker join" in why_pending(core.state, core.job("j"))

    def test_those_that_were_not_needed_are_done_with_the_others(self, core: Fleet) -> None:
        core.join(info("w", slots=2))
        core.submit("j", gang(4, least=1))
        core.sleep(12.0, beating=("w",))
        core.finish(members(core)[0])
        assert core.stage("j").stage.name == "finish"
        core.run_all()
        assert core.job("j").state is JobState.SUCCEEDED

    def test_it_forms_with_all_again_when_they_are_back(self, core: Fleet) -> None:
        core.join(info("w", slots=1))
        core.submit("j", gang(2, least=1))
        core.sleep(12.0, beating=("w",))
        assert set(members(core)) == {0}
        core.join(info("w2", slots=1))
        core.fail(members(core)[0], Cause.LOST_WORKER)
        assert set(members(core)) == {0, 1}


class TestWhole:
    def form(self, core: Fleet) -> dict[int, int]:
        core.join(info("w1", slots=1))
        core.join(info("w2", slots=1))
        core.submit("j", gang(2))
        found = members(core)
        for token in found.values():
            core.begin(token)
        return found

    @pytest.mark.parametrize("failing", [0, 1])
    def test_a_failure_ends_all_and_is_charged_once(self, core: Fleet, failing: int) -> None:
        tokens = self.form(core)
        done = core.fail(tokens[failing])
        (cancel,) = said(done, Cancel)
        assert cancel.tokens == (tokens[1 - failing],)
        assert core.tokens() == []
        core.sleep(1.5, beating=("w1", "w2"))
        anew = members(core)
        assert set(anew) == {0, 1}
        assert not set(anew.values()) & set(tokens.values())
        assert core.stage("j").charged == {0: 1}

    def test_the_gang_has_one_budget(self, core: Fleet) -> None:
        self.form(core)
        for failing in (0, 1, 0):
            core.fail(members(core)[failing])
            core.sleep(5.0, beating=("w1", "w2"))
        assert core.job("j").state is JobState.FAILED
        assert core.tokens() == []

    def test_a_lost_worker_ends_all_once(self, core: Fleet) -> None:
        core.join(info("w1", slots=2))
        core.join(info("w2", slots=2))
        core.submit("j", gang(4))
        for token in core.tokens():
            core.begin(token)
        core.lose("w1")
        core.sleep(2.0, beating=("w2",))
        assert core.tokens() == []
        assert core.stage("j").deaths == {0: 1}
        core.join(info("w3", slots=2))
        assert set(members(core)) == {0, 1, 2, 3}

    def test_a_member_given_back_ends_all_and_is_charged_to_nobody(self, core: Fleet) -> None:
        tokens = self.form(core)
        worker = core.state.attempts[tokens[1]].worker
        done = core.tell(e.Released(worker, core.session(worker), tokens[1]))
        assert [command.tokens for command in said(done, Cancel)] == [(tokens[0],)]
        assert set(members(core)) == {0, 1}
        assert core.stage("j").charged == {} == core.stage("j").deaths

    def test_the_first_has_the_result_and_ends_the_others(self, core: Fleet) -> None:
        tokens = self.form(core)
        done = core.finish(tokens[0])
        assert [command.tokens for command in said(done, Cancel)] == [(tokens[1],)]
        assert [record.indexes for record in done.records if isinstance(record, TasksSucceeded)] == [(0,), (1,)]
        assert core.stage("j").stage.name == "finish"
        assert len(core.job("j").done[0].results[0].outputs) == 1
        assert core.job("j").done[0].results[1].outputs == ()

    def test_another_that_is_done_is_acknowledged_with_the_first(self, core: Fleet) -> None:
        tokens = self.form(core)
        done = core.finish(tokens[1])
        assert said(done, AckFinished) == []
        assert len(core.tokens()) == 2
        done = core.finish(tokens[0])
        assert {token for command in said(done, AckFinished) for token in command.tokens} == set(tokens.values())
        assert said(done, Cancel) == []

    def test_one_that_is_done_is_let_go_when_the_first_fails(self, core: Fleet) -> None:
        tokens = self.form(core)
        core.finish(tokens[1])
        done = core.fail(tokens[0])
        assert {token for command in said(done, AckFinished) for token in command.tokens} == set(tokens.values())

    def test_it_is_done_as_much_when_its_stream_broke_meanwhile(self, core: Fleet) -> None:
        tokens = self.form(core)
        core.finish(tokens[1])
        worker = core.state.attempts[tokens[1]].worker
        core.lose(worker)
        core.join(info(worker, slots=1), finished=(tokens[1],))
        core.finish(tokens[1])
        core.finish(tokens[0])
        assert core.stage("j").stage.name == "finish"

    def test_a_cancelled_job_stops_all(self, core: Fleet) -> None:
        tokens = self.form(core)
        worker = core.state.attempts[tokens[0]].worker
        core.cancel("j")
        assert core.tokens() == []
        assert core.state.workers[worker].held == {}


class TestMeeting:
    def form(self, core: Fleet) -> dict[int, int]:
        return TestWhole().form(core)

    def test_all_are_told_of_each_other_once_all_are_ready(self, core: Fleet) -> None:
        tokens = self.form(core)
        assert rosters(core.meet(tokens[1], "b:2")) == {}
        assert rosters(core.meet(tokens[0], "a:1")) == {
            tokens[0]: (0, ("a:1", "b:2")),
            tokens[1]: (1, ("a:1", "b:2")),
        }

    def test_one_that_says_it_again_is_told_again(self, core: Fleet) -> None:
        tokens = self.form(core)
        core.meet(tokens[1], "b:2")
        core.meet(tokens[0], "a:1")
        assert rosters(core.meet(tokens[1], "b:2")) == {tokens[1]: (1, ("a:1", "b:2"))}

    @pytest.mark.parametrize("snapshot", [False, True])
    def test_who_knows_the_others_need_not_say_it_again_after_a_restart(self, core: Fleet, snapshot: bool) -> None:
        tokens = self.form(core)
        core.meet(tokens[1], "b:2")
        core.meet(tokens[0], "a:1")
        core.restart(snapshot=snapshot)
        for token in tokens.values():
            core.join(info(core.state.attempts[token].worker, slots=1), held={token: True})
        assert rosters(core.meet(tokens[1], "b:2")) == {tokens[1]: (1, ("a:1", "b:2"))}
        assert members(core) == tokens

    def test_one_that_listens_elsewhere_has_all_meet_anew(self, core: Fleet) -> None:
        tokens = self.form(core)
        core.meet(tokens[0], "a:1")
        done = core.meet(tokens[0], "a:9")
        assert {token for command in said(done, Cancel) for token in command.tokens} == set(tokens.values())
        anew = members(core)
        assert not set(anew.values()) & set(tokens.values())
        assert all(core.state.attempts[token].address == "" for token in anew.values())

    def test_what_comes_late_changes_nothing(self, core: Fleet) -> None:
        tokens = self.form(core)
        worker, session = core.state.attempts[tokens[0]].worker, core.session(core.state.attempts[tokens[0]].worker)
        core.cancel("j")
        done = core.tell(e.GangReady(worker, session, tokens[0], "a:1"))
        assert (done.records, done.commands) == ([], [])


class TestStopping:
    """A gang is the one stage of its training: it is told to end with what it has, however often it has to form."""

    def form(self, core: Fleet) -> dict[int, int]:
        core.join(info("w1", slots=1))
        core.join(info("w2", slots=1))
        core.submit("j", gang(2, rounds=True))
        found = members(core)
        for token in found.values():
            core.begin(token)
        return found

    def early(self, done: Step) -> list[int]:
        return sorted(token for command in said(done, EndEarly) for token in command.tokens)

    def test_what_runs_is_told_and_the_firsts_end_ends_the_stage(self, core: Fleet) -> None:
        tokens = self.form(core)
        done = core.tell(e.StopJob(0, "j"))
        assert self.early(done) == sorted(tokens.values())
        assert said(done, Cancel) == []
        core.finish(tokens[0])
        assert core.stage("j").stage.name == "finish"
        core.run_all()
        assert core.job("j").state is JobState.SUCCEEDED

    def test_a_paused_one_is_told_once_it_was_told_to_go_on(self, core: Fleet) -> None:
        tokens = self.form(core)
        core.pause("j")
        done = core.tell(e.StopJob(0, "j"))
        kinds = [type(command) for command in done.commands if isinstance(command, Resume | EndEarly)]
        assert kinds == [Resume, Resume, EndEarly, EndEarly]
        assert self.early(done) == sorted(tokens.values())

    def test_the_next_formation_is_told_as_it_begins(self, core: Fleet) -> None:
        tokens = self.form(core)
        core.stop("j")
        done = core.give_up(tokens[0], SAVED)
        anew = members(core)
        assert self.early(done) == sorted(anew.values())
        kinds = [type(command) for command in done.commands if isinstance(command, Assign | EndEarly)]
        assert kinds == [Assign, EndEarly, Assign, EndEarly]
        assert [assign.saved for assign in said(done, Assign)] == [{index: SAVED} for index in (0, 1)]

    @pytest.mark.parametrize("snapshot", [False, True])
    def test_who_was_away_is_told_when_it_is_back(self, core: Fleet, snapshot: bool) -> None:
        tokens = self.form(core)
        core.stop("j")
        core.restart(snapshot=snapshot)
        for token in tokens.values():
            done = core.join(info(core.state.attempts[token].worker, slots=1), held={token: True})
            assert self.early(done) == [token]

    def test_one_that_was_over_when_its_job_was_stopped_trains_to_its_end_where_it_must_be_made_again(
        self, core: Fleet
    ) -> None:
        tokens = self.form(core)
        core.finish(tokens[0])
        core.stop("j")
        lost = core.job("j").done[0].results[0].outputs[0].digest
        done = core.tell(e.Inspected("j", (lost,)))
        assert set(members(core)) == {0, 1}
        assert self.early(done) == []
        token = members(core)[1]
        done = core.join(info(core.state.attempts[token].worker, slots=1), held={token: True})
        assert self.early(done) == []

    def test_what_is_not_stopped_is_told_nothing(self, core: Fleet) -> None:
        tokens = self.form(core)
        worker = core.state.attempts[tokens[0]].worker
        done = core.join(info(worker, slots=1), held={tokens[0]: True})
        assert self.early(done) == []
        assert self.early(core.fail(tokens[0])) == []


class TestRestart:
    @pytest.mark.parametrize("snapshot", [False, True])
    def test_a_formation_in_hand_survives(self, core: Fleet, snapshot: bool) -> None:
        tokens = TestWhole().form(core)
        core.restart(snapshot=snapshot)
        for token in tokens.values():
            core.join(info(core.state.attempts[token].worker, slots=1), held={token: True})
        assert members(core) == tokens
        core.finish(tokens[0])
        core.run_all()
        assert core.job("j").state is JobState.SUCCEEDED

    @pytest.mark.parametrize("snapshot", [False, True])
    def test_one_of_whom_a_member_did_not_come_back_forms_anew(self, core: Fleet, snapshot: bool) -> None:
        tokens = TestWhole().form(core)
        worker = core.state.attempts[tokens[0]].worker
        core.restart(snapshot=snapshot)
        done = core.join(info(worker, slots=1), held={tokens[0]: True})
        core.sleep(12.0, beating=(worker,))
        core.join(info("w3", slots=1))
        anew = members(core)
        assert set(anew) == {0, 1}
        assert not set(anew.values()) & set(tokens.values())
        assert said(done, Cancel) == []

    def test_half_a_formation_in_the_journal_is_ended(self, core: Fleet) -> None:
        TestWhole().form(core)
        entry = next(at for at, data in enumerate(core.journal) if b"TasksAssigned" in data)
        from orchestrator.core import records as r
        from orchestrator.core.entries import decode, encode

        kept = decode(core.journal[entry])
        last = max(at for at, record in enumerate(kept) if isinstance(record, r.TasksAssigned))
        core.journal[entry:] = [encode(kept[:last])]
        core.restart()
        assert core.tokens() == []
        for name in ("w1", "w2"):
            core.join(info(name, slots=1))
        assert set(members(core)) == {0, 1}


def test_an_assignment_of_several_members_is_one_message_a_worker(core: Fleet) -> None:
    core.join(info("w1", slots=2))
    core.submit("j", gang(4))
    done = core.join(info("w2", slots=2))
    orders = said(done, Assign)
    assert sorted(order.worker for order in orders) == ["w1", "w2"]
    assert sorted(index for order in orders for index in order.indexes) == [0, 1, 2, 3]
