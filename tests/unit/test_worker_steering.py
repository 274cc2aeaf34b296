"""Attempts that pause, hold their places and give them up, go on, and save while they run."""

from tests.unit.worker_slots import KEPT, SAVED, Machine, ends, needy, order
from worker.messages import Ending, GaveUp, Holding, Saved, Succeeded
from worker.state import HOLD
from worker.words import Wish


def test_a_pause_gives_back_what_waits_and_has_pause_what_runs() -> None:
    it = Machine()
    it.do(it.state.assign([order(1), order(2), needy(3)], it.now))
    it.pause(1, 2, 3, 9)
    assert sorted(it.collect().released) == [2, 3]
    assert it.wanted(0) == (Wish.HOLD, 0)
    it.say(1, Holding())
    it.resume(1, 2, 3, 9)
    assert it.wanted(0) == (Wish.GO_ON, 0)
    it.finish(1)
    assert it.collect().succeeded == [1]


def test_what_a_slot_took_unseen_is_paused_once_it_is_seen() -> None:
    it = Machine()
    it.assign(1, 2)
    it.runs[0] = None
    it.take(0)  # 1 has ended and 2 begun, which nobody has heard of
    it.pause(2)
    assert it.wanted(0) == (Wish.GO_ON, 0)
    it.do(it.state.slot_said(0, [Succeeded(0.5)], it.now))
    assert it.wanted(0) == (Wish.HOLD, 0)
    assert not it.collect().released


def test_another_jobs_tasks_go_on_to_other_slots_while_one_is_held() -> None:
    it = Machine(2)
    it.assign(1, 2, 3)
    it.pause(1)
    it.say(1, Holding())
    it.finish(2)
    assert it.running() == [1, 3]


def test_one_that_held_its_place_for_long_saves_and_gives_it_up() -> None:
    it = Machine()
    it.assign(1)
    it.pause(1)
    it.pass_time(HOLD * 2)
    assert it.wanted(0) == (Wish.HOLD, 0), "it has not reached the end of a step yet"
    it.say(1, Holding())
    it.pass_time(HOLD - 1)
    assert it.wanted(0) == (Wish.HOLD, 0)
    it.pass_time(1)
    assert it.wanted(0) == (Wish.PART, 0)
    it.finish(1, GaveUp(SAVED))
    assert list(it.storing) == [1]
    it.do(it.state.ended(1, Ending(gave_up=True, saved=KEPT), it.now))
    (ended,) = it.collect().ended
    assert (ended.ending.gave_up, ended.ending.saved, ended.ending.cause) == (True, KEPT, None)
    assert it.forgotten == [1]


def test_one_that_is_paused_again_before_it_noticed_that_it_may_go_on_gives_up_its_place_as_well() -> None:
    it = Machine()
    it.assign(1, timeout=HOLD)
    it.pause(1)
    it.say(1, Holding())
    it.resume(1)
    it.pause(1)
    it.say(1, Holding())
    it.pass_time(HOLD / 2)
    it.say(1, Holding())
    it.pass_time(HOLD / 2)
    assert it.wanted(0) == (Wish.PART, 0)
    assert it.killed == []


def test_one_that_could_not_save_gives_up_its_place_all_the_same() -> None:
    it = Machine()
    it.assign(1)
    it.pause(1)
    it.say(1, Holding())
    it.pass_time(HOLD)
    it.finish(1, GaveUp(None))
    (ended,) = it.collect().ended
    assert (ended.ending.gave_up, ended.ending.saved) == (True, None)


def test_the_time_for_which_one_is_held_does_not_count() -> None:
    it = Machine(hold=1000.0)
    it.assign(1, timeout=10.0)
    it.pass_time(6.0)
    it.pause(1)
    it.pass_time(1.0)
    it.say(1, Holding())
    it.pass_time(100.0)
    it.resume(1)
    it.pass_time(2.5)
    assert it.killed == []
    it.pass_time(0.5)
    assert it.killed == [0], "6 + 1 before, and 3 after"


def test_one_without_steps_runs_to_its_end_or_its_timeout_though_paused() -> None:
    it = Machine(2)
    it.assign(1, 2, timeout=5.0)
    it.pause(1, 2)
    it.finish(1)
    assert it.collect().succeeded == [1]
    it.pass_time(5.0)
    assert it.killed == [1]


def test_a_resume_after_it_was_asked_to_part_comes_in_time_or_too_late() -> None:
    for in_time in (True, False):
        it = Machine()
        it.assign(1)
        it.pause(1)
        it.say(1, Holding())
        it.pass_time(HOLD)
        it.resume(1)
        assert it.wanted(0) == (Wish.GO_ON, 0)
        it.finish(1, None if in_time else GaveUp(None))
        batch = it.collect()
        assert ends(batch) == [1]
        assert bool(batch.succeeded) == in_time


def test_a_checkpoint_is_said_until_the_attempt_is_over_and_again_in_a_new_session() -> None:
    it = Machine()
    it.assign(1, 2)
    it.checkpoint(1, 2)
    assert it.wanted(0) == (Wish.GO_ON, 1)
    it.say(1, Saved(*SAVED))
    assert [token for token, _ in it.keeping] == [1]
    it.do(it.state.kept(1, KEPT))
    assert it.state.pressing
    assert it.collect().saved == [(1, KEPT)]
    assert not it.collect().saved
    it.reconnect()
    assert it.collect().saved == [(1, KEPT)]
    it.finish(1)
    assert it.wanted(0) == (Wish.GO_ON, 0), "it was not asked of the next"
    it.do(it.state.kept(1, KEPT))
    it.reconnect()
    assert not it.collect().saved


def test_a_checkpoint_of_what_had_not_begun_is_known_where_another_slot_gets_it() -> None:
    it = Machine(2, eager=False)
    it.assign(1)
    it.checkpoint(1)
    it.die(0)
    it.take(1)
    assert it.running() == [1]
    assert it.wanted(1) == (Wish.GO_ON, 1)


def test_what_is_to_end_early_is_told_so_once_it_runs() -> None:
    it = Machine()
    it.assign(1, 2)
    it.end_early(2, 99)
    assert it.wanted(0) == (Wish.GO_ON, 0), "it was asked of the next"
    it.finish(1)
    assert it.running() == [2]
    assert it.wanted(0) == (Wish.END, 0)


def test_what_was_to_end_early_before_it_began_is_known_where_another_slot_gets_it() -> None:
    it = Machine(2, eager=False)
    it.assign(1)
    it.end_early(1)
    it.die(0)
    it.take(1)
    assert it.running() == [1]
    assert it.wanted(1) == (Wish.END, 0)


def test_a_pause_outweighs_an_early_end() -> None:
    it = Machine()
    it.assign(1)
    it.end_early(1)
    it.pause(1)
    assert it.wanted(0) == (Wish.HOLD, 0)
    it.resume(1)
    assert it.wanted(0) == (Wish.END, 0)
    it.finish(1)
    assert it.wanted(0) == (Wish.GO_ON, 0)


def test_after_a_broken_stream_what_is_held_agrees_with_the_welcome() -> None:
    it = Machine(2)
    it.assign(1, 2)
    it.pause(1)
    it.do(it.state.stream_lost())
    it.do(it.state.welcome((), it.now, [2]))
    assert it.wanted(0) == (Wish.GO_ON, 0)
    assert it.wanted(1) == (Wish.HOLD, 0)
