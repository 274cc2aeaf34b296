"""Which of a worker's slots gets which order, and what comes back of a slot's pipe."""

from tensorfleet.model import Cause, Points
from tests.unit.worker_slots import POINT, Machine, ends
from worker.lanes import DEPTH
from worker.messages import Measured, Order, Succeeded, Work


def test_attempts_begin_in_order_as_slots_come_free() -> None:
    it = Machine(2)
    it.assign(5, 3, 9, 1)
    assert it.started == [5, 3]
    it.finish(3)
    it.finish(5)
    assert it.started == [5, 3, 1, 9]


def test_what_is_given_waits_in_the_slots_pipes_up_to_their_depth() -> None:
    it = Machine(2)
    it.assign(*range(1, 1001))
    assert [len(pipe) for pipe in it.pipes.values()] == [DEPTH - 1, DEPTH - 1]
    for _ in range(DEPTH):
        it.finish(it.running()[0])
    assert it.started == list(range(1, len(it.started) + 1)) or sorted(it.started) == it.started
    assert sum(len(pipe) for pipe in it.pipes.values()) > DEPTH


def test_what_one_slot_has_in_its_pipe_goes_to_one_that_has_nothing() -> None:
    it = Machine(2)
    it.assign(*range(1, 21))
    slow = it.running()[0]
    while it.running() != [slow]:
        it.finish(next(token for token in it.running() if token != slow))
    assert sorted(it.started) == list(range(1, 21))
    assert len(it.started) == len(set(it.started))


def test_a_slot_that_comes_takes_its_share() -> None:
    it = Machine()
    it.assign(*range(1, 11))
    it.come(1)
    assert len(it.running()) == 2
    assert [len(pipe) for pipe in it.pipes.values()] == [4, 4]


def test_a_task_goes_to_the_process_that_ran_its_like() -> None:
    it = Machine(3)
    it.do(it.state.assign([Order(token, Work(operator=f"{name}.run@1")) for token, name in enumerate("abc", 1)], 0.0))
    for token in (1, 2, 3):
        it.finish(token)
    it.do(it.state.assign([Order(4, Work(operator="c.run@1"))], 0.0))
    assert it.slot_of(4) == 2
    it.do(it.state.assign([Order(5, Work(operator="d.run@1")), Order(6, Work(operator="b.run@1"))], 0.0))
    assert (it.slot_of(5), it.slot_of(6)) == (0, 1)


def test_a_full_pipe_leaves_the_rest_to_the_others() -> None:
    it = Machine(2)
    it.room = 3
    it.assign(*range(1, 31))
    assert [len(pipe) for pipe in it.pipes.values()] <= [3, 3]
    while it.running():
        it.finish(it.running()[0])
    assert sorted(it.started) == list(range(1, 31))
    assert it.started[:4] == [1, 2, 3, 4] or sorted(it.started[:4]) == [1, 2, 3, 4]


def test_a_recall_releases_only_what_has_not_begun() -> None:
    it = Machine()
    it.assign(1, 2, 3)
    it.recall(1, 3, 99)
    assert it.collect().released == [3]
    it.finish(1)
    assert it.started == [1, 2]
    it.recall(2)
    assert it.collect().released == []


def test_a_recall_of_many_keeps_the_others_in_their_order() -> None:
    it = Machine(2)
    it.assign(*range(1, 301))
    recalled = [token for token in range(1, 301) if token % 3]
    it.recall(*recalled)
    assert sorted(it.collect().released) == [token for token in recalled if token > 2]
    while it.running():
        it.finish(it.running()[0])
    rest = [token for token in range(3, 301) if token % 3 == 0]
    assert sorted(it.started) == [1, 2, *rest]
    assert it.started[:6] == [1, 2, 3, 6, 9, 12]


def test_a_recall_that_comes_before_the_slot_looks_gives_even_the_first_back() -> None:
    it = Machine(eager=False)
    it.assign(1, 2)
    it.recall(1, 2)
    assert sorted(it.collect().released) == [1, 2]
    it.take(0)
    assert it.started == []


def test_what_a_slot_took_before_its_last_end_was_heard_has_begun() -> None:
    it = Machine(eager=False)
    it.assign(1, 2, 3)
    it.take(0)
    it.runs[0] = None  # it said so, and was not read yet
    it.take(0)
    it.recall(2, 3)
    assert it.collect().released == [3]
    it.do(it.state.slot_said(0, [Succeeded(0.5)], it.now))
    assert it.collect().started == [(2, 1000)]
    it.finish(2)
    assert ends(it.collect()) == [2]


def test_a_kill_hits_only_what_is_meant_by_it() -> None:
    it = Machine(eager=False)
    it.assign(1, 2, 3)
    it.take(0)
    it.runs[0] = None
    it.take(0)
    it.cancel(1)
    assert it.killed == [], "the second runs by now"
    it.do(it.state.slot_said(0, [Succeeded(0.5)], it.now))
    assert it.killed == []
    assert it.collect().succeeded == [1], "a success that came before the kill counts"
    it.cancel(2)
    assert it.killed == [0]
    it.die(0)
    batch = it.collect()
    assert [(ended.token, ended.ending.cause) for ended in batch.ended] == [(2, Cause.CANCELLED)]
    it.take(0)
    assert it.running() == [3]


def test_one_that_began_unseen_is_killed_once_it_is_seen() -> None:
    it = Machine(eager=False)
    it.assign(1, 2, 3)
    it.take(0)
    it.runs[0] = None
    it.take(0)
    it.cancel(2)
    assert it.killed == []
    it.do(it.state.slot_said(0, [Succeeded(0.5)], it.now))
    assert it.killed == [0]


def test_a_stopped_attempts_slot_is_free_only_when_its_process_is_gone() -> None:
    it = Machine()
    it.assign(1)
    it.reconnect(stop=[1])
    it.assign(2)
    assert it.started == [1]
    it.die(0)
    assert it.started == [1, 2]


def test_a_dead_slot_costs_what_it_ran_and_no_more() -> None:
    it = Machine(2)
    it.assign(*range(1, 21))
    it.die(0)
    batch = it.collect()
    assert [(ended.token, ended.ending.cause, ended.started) for ended in batch.ended] == [(1, Cause.SIGNAL, True)]
    while it.running():
        it.finish(it.running()[0])
    assert sorted(it.started) == list(range(1, 21))


def test_a_slot_that_dies_before_it_took_anything_costs_nothing() -> None:
    it = Machine(eager=False)
    it.assign(1, 2)
    assert it.collect().started == [(1, 1000)]
    it.die(0)
    batch = it.collect()
    assert not batch.ended
    assert batch.started == [(1, 1000)]
    it.take(0)
    assert it.running() == [1]


def test_what_waits_behind_a_slot_that_is_held_goes_to_the_others() -> None:
    it = Machine(2, max_unacked=1000)
    it.assign(*range(1, 11))
    it.report(1, [POINT] * 100)
    assert it.held == {0}
    while it.running() != [1]:
        it.finish(next(token for token in it.running() if token != 1))
    assert sorted(it.started) == list(range(1, 11))
    it.assign(11, 12)
    assert len(it.pipes[0]) == 0, "it is given nothing while it is held"
    it.ack(t1=it.collect().reports[-1].number)
    it.assign(13)
    assert it.held == set()


def test_a_slot_that_is_held_is_read_again_when_its_task_is_over() -> None:
    it = Machine(max_unacked=1000)
    it.assign(1, 2)
    it.do(it.state.slot_said(0, [Measured(Points.of([POINT] * 100)), Succeeded(0.5)], it.now))
    assert it.held == set()
