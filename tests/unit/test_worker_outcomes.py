"""How a worker's attempts end: by themselves, before their time, or not in this process."""

from collections import deque

import pytest

from tensorfleet.model import Cause, LogLine, Ref
from tests.unit.worker_slots import POINT, Machine, ends, needy, order
from worker.messages import Died, Ending, Failed, Members, Ready, Saved, Succeeded, Unfit
from worker.outcomes import MOST_UNFIT


def test_a_slot_goes_on_before_the_outputs_are_put_away() -> None:
    it = Machine()
    it.assign(1, 2)
    it.finish(1, Succeeded(0.5, None, (("/x/0", Ref("ab", 1)),)))
    assert it.running() == [2]
    assert list(it.storing) == [1]
    assert not ends(it.collect())
    it.do(it.state.ended(1, Ending(), it.now))
    assert ends(it.collect()) == [1]


def test_inputs_that_are_lost_end_an_attempt_that_did_not_begin() -> None:
    it = Machine()
    it.do(it.state.assign([needy(1)], it.now))
    it.do(it.state.ended(1, Ending(cause=Cause.LOST_INPUT, reason="NOT_FOUND"), it.now))
    (ended,) = it.collect().ended
    assert (ended.ending.cause, ended.started) == (Cause.LOST_INPUT, False)


def test_cancelled_attempts_say_so_whether_they_ran_or_waited() -> None:
    it = Machine()
    it.assign(1, 2)
    it.cancel(1, 2, 99)
    it.cancel(1, reason="again")
    assert it.killed == [0]
    it.die(0)
    told = {ended.token: ended for ended in it.collect().ended}
    assert told[1].ending.cause is told[2].ending.cause is Cause.CANCELLED
    assert told[1].ending.reason == told[2].ending.reason == "CANCELLED"
    assert told[1].ending.message == "not wanted"
    assert (told[1].started, told[2].started) == (True, False)


def test_a_cancel_of_what_waits_in_a_pipe_leaves_what_runs_alone() -> None:
    it = Machine()
    it.assign(1, 2, 3)
    it.cancel(2)
    assert it.killed == []
    (ended,) = it.collect().ended
    assert (ended.token, ended.started) == (2, False)
    it.finish(1)
    assert it.running() == [3]


def test_a_cancel_stops_what_is_on_its_way_too() -> None:
    it = Machine()
    it.do(it.state.assign([needy(1), order(2)], it.now))
    it.finish(2, Succeeded(0.5, None, (("/x/0", Ref("ab", 1)),)))
    it.cancel(1, 2)
    assert sorted(it.forgotten) == [1, 2]
    assert {ended.token: ended.started for ended in it.collect().ended} == {1: False, 2: True}
    it.do(it.state.ended(2, Ending(), it.now) + it.state.fetched(1, it.now))
    assert not it.collect()


def test_a_success_that_came_before_the_kill_counts() -> None:
    it = Machine()
    it.assign(1, timeout=1.0)
    it.tick(2.0)
    it.finish(1)
    assert it.collect().succeeded == [1]


def test_a_timeout_counts_from_the_beginning_and_is_the_cause_of_the_death_it_brings() -> None:
    it = Machine()
    it.assign(1, 2, 3, timeout=1.0)
    assert it.state.lanes.deadline == 1.0
    it.now = 0.75
    it.finish(1)
    it.tick(1.0)
    assert it.killed == []
    assert it.state.lanes.deadline == 1.75
    it.tick(1.75)
    assert it.killed == [0]
    it.die(0)
    (ended,) = it.collect().ended
    assert (ended.token, ended.ending.cause) == (2, Cause.TIMEOUT)
    assert ended.ending.message == "the task ran longer than its 1 seconds since it began or last saved"
    assert it.running() == [3], "what waited behind it goes on"
    assert it.state.lanes.deadline == 2.75


def test_what_is_saved_begins_a_tasks_time_anew() -> None:
    it = Machine()
    it.assign(1, timeout=1.0)
    it.now = 0.75
    it.say(1, Saved("/x/saved", Ref("ab", 1)))
    it.tick(1.5)
    assert it.killed == []
    assert it.state.lanes.deadline == 1.75
    it.tick(1.75)
    assert it.killed == [0]


def test_the_time_of_a_gang_is_that_of_its_first_member() -> None:
    it = Machine(2)
    it.assign(1, 2, timeout=1.0)
    for place, token in enumerate((1, 2)):
        it.say(token, Ready(f"127.0.0.1:{place}"))
        it.do(it.state.roster(token, Members(place, ("127.0.0.1:0", "127.0.0.1:1"))))
    it.tick(1.0)
    assert it.killed == [0]


def test_what_a_welcome_stops_is_killed_and_never_spoken_of() -> None:
    it = Machine(2)
    it.assign(1, 2, 3, 4)
    it.report(1, [POINT])
    it.finish(2)
    it.reconnect(stop=[1, 2, 3])
    assert it.killed == [it.slot_of(1)]
    it.report(1, [POINT])
    it.die(0)
    assert 3 not in it.started
    batch = it.collect()
    assert not batch.reports
    assert not ends(batch)
    assert list(it.state.attempts) == [4]


@pytest.mark.parametrize("phase", ["waiting", "given", "running", "storing", "ended"])
def test_every_phase_can_be_stopped_by_a_welcome(phase: str) -> None:
    it = Machine()
    if phase == "given":
        it.assign(9)
    it.do(it.state.assign([needy(1) if phase == "waiting" else order(1)], it.now))
    if phase == "ended":
        it.finish(1)
    if phase == "storing":
        it.finish(1, Succeeded(0.5, None, (("/x/0", Ref("ab", 1)),)))
    it.reconnect(stop=[1])
    assert 1 not in it.state.attempts
    if it.killed:
        it.die(0)
    assert not [token for token in ends(it.collect()) if token == 1]


def test_a_failure_tells_the_last_lines_and_a_success_does_not() -> None:
    it = Machine()
    it.assign(1, 2)
    for token in (1, 2):
        it.report(token, [], [LogLine(0.0, "stdout", f"line {number}") for number in range(60)])
        if token == 1:
            it.fail(token)
        else:
            it.finish(token)
    failed, succeeded = (ended.ending for ended in it.collect().ended)
    assert failed.log_tail[-1] == "line 59"
    assert len(failed.log_tail) == 50
    assert succeeded.log_tail == ()


def test_a_failure_for_want_of_room_has_the_disk_looked_at() -> None:
    it = Machine()
    it.assign(1)
    it.finish(1, Failed(Cause.EXCEPTION, "DISK_FULL", "no space"))
    assert it.looked == 1


def test_one_that_does_not_suit_a_process_gets_a_fresh_one_and_is_not_charged() -> None:
    it = Machine()
    it.assign(1, 2)
    for _ in range(MOST_UNFIT):
        it.started.remove(1)
        it.runs[0] = 0  # it ends
        it.do(it.state.slot_said(0, [Unfit("2 threads are set")], it.now))
        assert it.pipes[0] == deque([2]), "its process ends, and is given no more"
        it.die(0, Died(Cause.SIGNAL, "EXITED", "left"))
        assert it.running() == [1]
    assert not ends(it.collect())
    it.started.remove(1)
    it.runs[0] = 0
    it.do(it.state.slot_said(0, [Unfit("2 threads are set")], it.now))
    (ended,) = it.collect().ended
    assert (ended.ending.cause, ended.ending.reason) == (Cause.EXCEPTION, "UNSUITED")
    it.die(0)
    assert it.running() == [2]


def test_one_that_waits_for_a_fresh_process_can_be_stopped_and_given_back() -> None:
    for how in ("cancel", "recall", "pause"):
        it = Machine()
        it.assign(1)
        it.runs[0] = 0  # it ends
        it.do(it.state.slot_said(0, [Unfit("2 threads are set")], it.now))
        getattr(it, how)(1)
        it.die(0)
        assert it.running() == []
        batch = it.collect()
        assert [*ends(batch), *batch.released] == [1]
