"""Workers in the core: joining, falling silent, coming back, draining, leaving."""

import pytest

from orchestrator.core import events as e
from orchestrator.core.commands import Assign, Cancel, Drain, Goodbye, Welcome
from orchestrator.core.timers import next_tick
from tensorfleet.errors import NotFound
from tensorfleet.model import Cause, JobState, WorkerState
from tests.simulation.fleet import Fleet, info, refused, said, spec


def state_of(core: Fleet, worker: str) -> WorkerState:
    return core.state.workers[worker].state


class TestJoining:
    def test_it_is_welcomed_and_given_work(self, core: Fleet) -> None:
        core.submit("j", spec())
        done = core.join(info("w"))
        assert [command.session for command in said(done, Welcome)] == [core.session("w")]

    def test_another_protocol_is_told_to_go_for_good(self, core: Fleet) -> None:
        done = core.tell(e.OpenSession(9, info("w"), 7, 8, {}, (), ()))
        (goodbye,) = said(done, Goodbye)
        assert not goodbye.reconnect
        assert core.state.workers == {}

    def test_what_it_holds_of_an_unknown_life_is_stopped(self, core: Fleet) -> None:
        (welcome,) = said(core.join(info("w"), held={5: True}), Welcome)
        assert (welcome.keep, welcome.stop) == ((), (5,))

    def test_a_newer_session_of_the_same_life_keeps_the_work(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit("j", spec())
        (token,) = core.tokens()
        done = core.join(info("w"), held={token: True})
        (welcome,) = said(done, Welcome)
        assert welcome.keep == (token,)
        assert said(done, Goodbye) != []
        assert core.tokens() == [token]

    def test_a_hello_that_comes_after_that_of_the_next_stream_sends_nobody_away_for_good(self, core: Fleet) -> None:
        core.join(info("w"))
        (goodbye,) = said(core.join(info("w")), Goodbye)
        assert goodbye.reconnect

    def test_another_machine_of_the_same_name_has_the_first_go_for_good(self, core: Fleet) -> None:
        core.join(info("w"))
        (goodbye,) = said(core.join(info("w", incarnation="another")), Goodbye)
        assert not goodbye.reconnect

    def test_an_assignment_that_never_arrived_goes_out_again(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit("j", spec())
        (token,) = core.tokens()
        done = core.join(info("w"))
        assert [command.token for command in said(done, Assign)] == core.tokens() != [token]
        assert core.stage("j").history == {}

    def test_what_it_finished_and_could_not_say_is_waited_for(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit("j", spec())
        (token,) = core.tokens()
        core.join(info("w"), finished=(token,))
        core.finish(token)
        assert core.job("j").state == JobState.SUCCEEDED

    def test_a_new_life_has_lost_everything(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit("j", spec())
        (token,) = core.tokens()
        core.begin(token)
        core.join(info("w", incarnation="b"))
        assert core.tokens() != [token]
        assert core.stage("j").history[0][0].cause == Cause.LOST_WORKER

    def test_a_new_life_may_end_a_job_and_still_joins(self, core: Fleet) -> None:
        core.submit("j", spec(("fit", 2)))
        for number in range(core.settings.deaths + 1):
            core.join(info("w", incarnation=str(number), slots=2))
            for token in core.tokens():
                core.begin(token)
        assert core.job("j").state == JobState.FAILED
        assert state_of(core, "w") == WorkerState.READY


class TestSilence:
    def test_it_is_suspected_then_lost_and_its_work_goes_elsewhere(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit("j", spec())
        core.join(info("other"))
        core.sleep(core.settings.lease + 0.1, beating=("other",))
        assert state_of(core, "w") == WorkerState.SUSPECT
        assert core.where("j") == {0: "w"}
        core.sleep(core.settings.grace + 0.1, beating=("other",))
        assert state_of(core, "w") == WorkerState.LOST
        assert core.where("j") == {0: "other"}

    def test_a_suspect_is_told_to_come_back(self, core: Fleet) -> None:
        core.join(info("w"))
        done = core.sleep(core.settings.lease + 0.1)
        (goodbye,) = [command for command in done if isinstance(command, Goodbye)]
        assert goodbye.reconnect

    def test_heartbeats_keep_it(self, core: Fleet) -> None:
        core.join(info("w"))
        core.sleep(5 * core.settings.lease, beating=("w",))
        assert state_of(core, "w") == WorkerState.READY

    def test_a_lost_one_may_come_back(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit("j", spec())
        (token,) = core.tokens()
        core.sleep(core.settings.lease + core.settings.grace + 1)
        assert state_of(core, "w") == WorkerState.LOST
        (welcome,) = said(core.join(info("w"), held={token: True}), Welcome)
        assert welcome.stop == (token,)
        assert core.where("j") == {0: "w"}

    def test_nothing_is_given_to_a_suspect(self, core: Fleet) -> None:
        core.join(info("w", slots=2))
        core.lose("w")
        core.submit("j", spec())
        assert core.tokens() == []


class TestBrokenStreams:
    def test_back_within_its_grace_it_keeps_what_runs(self, core: Fleet) -> None:
        core.join(info("w"))
        core.join(info("other"))
        core.submit("j", spec())
        (token,) = core.tokens()
        core.begin(token)
        core.lose("w")
        core.sleep(core.settings.grace * 0.9, beating=("other",))
        core.join(info("w"), held={token: True})
        assert core.tokens() == [token]
        assert core.state.attempts[token].started

    def test_past_its_grace_the_work_goes_elsewhere(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit("j", spec())
        core.join(info("other"))
        core.lose("w")
        core.sleep(core.settings.grace + 0.1, beating=("other",))
        assert core.where("j") == {0: "other"}


class TestStalls:
    def test_no_lease_expires_while_nobody_could_be_heard(self, core: Fleet) -> None:
        core.join(info("w"))
        core.tell(e.Tick())
        core.pass_time(3600)
        core.tell(e.Tick())
        core.tell(e.Tick())
        assert state_of(core, "w") == WorkerState.READY

    def test_nor_one_that_began_before_the_first_tick(self, core: Fleet) -> None:
        core.join(info("w"))
        core.pass_time(3600)
        core.tell(e.Tick())
        core.tell(e.Tick())
        assert state_of(core, "w") == WorkerState.READY

    def test_a_grace_goes_on_after_a_stall(self, core: Fleet) -> None:
        core.join(info("w"))
        core.lose("w")
        core.tell(e.Tick())
        core.pass_time(3600)
        core.tell(e.Tick(), e.Tick())
        assert state_of(core, "w") == WorkerState.SUSPECT
        core.sleep(core.settings.grace + 0.1)
        assert state_of(core, "w") == WorkerState.LOST

    def test_a_stall_gives_back_no_more_than_a_lease(self, core: Fleet) -> None:
        core.join(info("w"))
        core.tell(e.Tick())
        core.pass_time(3600)
        core.beat("w")
        core.tell(e.Tick())
        core.sleep(core.settings.lease + core.settings.grace + 2)
        assert state_of(core, "w") == WorkerState.LOST

    def test_hours_without_workers_are_no_stall(self, core: Fleet) -> None:
        core.pass_time(36_000)
        core.join(info("w"))
        core.tell(e.Tick())
        core.sleep(core.settings.lease + core.settings.grace + 2)
        assert state_of(core, "w") == WorkerState.LOST


class TestDraining:
    def test_it_gets_no_more_and_ends_what_it_has(self, core: Fleet) -> None:
        core.join(info("w", slots=2))
        core.submit("j", spec(("fit", 3)))
        core.tickets += 1
        done = core.tell(e.DrainWorker(core.tickets, "w"))
        assert len(said(done, Drain)) == 1
        for token in core.tokens():
            core.finish(token)
        assert core.tokens() == []
        assert state_of(core, "w") == WorkerState.DRAINING
        core.lose("w")
        assert state_of(core, "w") == WorkerState.LEFT

    def test_one_that_was_away_hears_of_it_when_it_is_back(self, core: Fleet) -> None:
        core.join(info("w"))
        core.lose("w")
        core.ask(e.DrainWorker, "w")
        done = core.join(info("w"))
        assert len(said(done, Drain)) == 1
        assert state_of(core, "w") == WorkerState.DRAINING

    @pytest.mark.parametrize("snapshot", [False, True])
    def test_it_goes_on_after_a_restart(self, core: Fleet, snapshot: bool) -> None:
        core.join(info("w"))
        core.ask(e.DrainWorker, "w")
        core.restart(snapshot=snapshot)
        core.join(info("w"))
        assert state_of(core, "w") == WorkerState.DRAINING

    def test_a_new_life_takes_work_again(self, core: Fleet) -> None:
        core.join(info("w"))
        core.ask(e.DrainWorker, "w")
        core.join(info("w", incarnation="b"))
        assert state_of(core, "w") == WorkerState.READY

    def test_an_unknown_worker_is_refused(self, core: Fleet) -> None:
        assert isinstance(refused(core.ask(e.DrainWorker, "nobody")), NotFound)


class TestLeaving:
    def test_one_that_holds_nothing_is_gone(self, core: Fleet) -> None:
        core.join(info("w"))
        session = core.session("w")
        done = core.tell(e.Leaving("w", session, "told to"))
        assert state_of(core, "w") == WorkerState.LEFT
        assert [(goodbye.session, goodbye.reconnect) for goodbye in said(done, Goodbye)] == [(session, False)]
        assert core.state.workers["w"].reason == "told to"

    def test_one_that_holds_something_ends_it_first(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit("j", spec(("fit", 2)))
        (token,) = core.tokens()
        core.tell(e.Leaving("w", core.session("w"), "told to"))
        core.finish(token)
        assert core.job("j").run == 1
        assert core.tokens() == []
        core.lose("w")
        assert state_of(core, "w") == WorkerState.LEFT

    def test_one_that_breaks_off_is_lost(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit("j", spec())
        core.tell(e.Leaving("w", core.session("w"), "told to"))
        core.lose("w")
        core.sleep(core.settings.grace + 0.1)
        assert state_of(core, "w") == WorkerState.LOST
        core.join(info("other"))
        assert core.where("j") == {0: "other"}


def test_the_timer_rests_when_nothing_waits(core: Fleet) -> None:
    assert next_tick(core.state) is None


def test_the_timer_fires_for_a_lease(core: Fleet) -> None:
    core.join(info("w"))
    due = next_tick(core.state)
    assert due is not None
    assert core.mono < due <= core.mono + core.settings.lease


def test_a_job_that_is_over_leaves_the_slot_free(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("a", spec())
    core.submit("b", spec(recipe="b"))
    core.tickets += 1
    done = core.tell(e.CancelJob(core.tickets, "a", ""))
    kinds = [type(command) for command in done.commands]
    assert kinds == [Cancel, Assign]
    assert core.where("b") == {0: "w"}
