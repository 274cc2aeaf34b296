"""What a worker takes, and when it leaves."""

from tensorfleet.model import Points
from tests.unit.worker_slots import POINT, Machine, ends, needy, order
from worker.fetches import FETCHES
from worker.messages import Ending, Measured, Succeeded


def test_an_attempt_is_not_taken_twice() -> None:
    it = Machine(2)
    it.assign(1)
    it.assign(1)
    it.finish(1)
    it.assign(1)
    assert it.started == [1]


def test_unknown_tokens_change_nothing() -> None:
    it = Machine()
    it.do(it.state.slot_said(0, [Measured(Points.of([POINT])), Succeeded(0.5)], it.now))
    it.do(it.state.ended(9, Ending(), it.now) + it.state.fetched(9, it.now))
    it.ack(9, t9=3)
    it.recall(9)
    it.cancel(9)
    assert not it.collect()
    assert it.forgotten == []


def test_inputs_are_fetched_first_and_hold_up_nobody_else() -> None:
    it = Machine()
    it.do(it.state.assign([needy(1), order(2)], it.now))
    assert it.fetching == [1]
    assert it.started == [2]
    it.do(it.state.fetched(1, it.now))
    it.finish(2)
    assert it.started == [2, 1]
    it.finish(1)
    assert it.forgotten == [1], "its inputs are needed no more"


def test_few_inputs_are_fetched_at_a_time() -> None:
    it = Machine()
    it.do(it.state.assign([needy(token) for token in range(100)], it.now))
    assert len(it.fetching) == FETCHES
    it.do(it.state.fetched(0, it.now))
    it.recall(99, 1)
    assert it.fetching == list(range(FETCHES + 2)), "one has come, one is wanted no more"
    assert it.forgotten == [99, 1]
    it.do(it.state.fetched(1, it.now))
    assert 1 not in it.started


def test_a_drained_worker_gives_back_what_comes_and_leaves_when_all_is_acknowledged() -> None:
    it = Machine()
    it.assign(1, 2)
    it.do(it.state.drain("maintenance"))
    it.assign(3)
    batch = it.collect()
    assert (batch.leaving, batch.released) == ("maintenance", [3])
    it.finish(1)
    it.collect()
    it.ack(1)
    assert it.running() == [2]
    it.finish(2)
    assert ends(it.collect()) == [2]
    assert not it.left
    it.ack(2)
    assert it.left == 1
    it.do(it.state.drain("again"))
    assert it.left == 1


def test_an_idle_worker_leaves_as_soon_as_it_is_drained() -> None:
    it = Machine()
    it.do(it.state.drain("maintenance"))
    assert it.left == 1


def test_an_unfit_worker_gives_back_what_waits_and_what_comes_and_says_why_first() -> None:
    it = Machine()
    it.assign(1, 2)
    it.do(it.state.fit("its disk is full", it.now))
    assert not it.state.fitness_told
    it.assign(3)
    assert it.collect().released == [2, 3]
    it.finish(1)
    assert it.running() == []
    assert not it.state.left
    it.do(it.state.fit("", it.now))
    it.assign(4)
    assert it.running() == [4]


def test_a_worker_that_must_go_gives_back_what_waits_and_ends_what_runs() -> None:
    it = Machine()
    it.assign(1, 2)
    it.do(it.state.leave_now("stopped", it.now))
    assert it.killed == [0]
    it.die(0)
    batch = it.collect()
    assert (batch.leaving, batch.released) == ("stopped", [2])
    assert (batch.ended[0].ending.cause, batch.ended[0].ending.gave_up) == (None, True)
    it.ack(1)
    assert it.left == 1
