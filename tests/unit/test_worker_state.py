"""The worker's state, driven with no event loop: events in, actions and batches out."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tensorfleet.model import Cause, LogLine, Point
from worker.messages import Ending, Order
from worker.state import Begin, Kill, Leave, Pause, Phase, Prefetch, Resume, State


def order(token: int) -> Order:
    return Order(token=token, operator="probe.echo@1")


def connected(slots: int = 1, **options: Any) -> State:
    state = State(slots, **options)
    state.welcome([], [])
    return state


def begun(actions: list[Any]) -> list[int]:
    return [action.order.token for action in actions if isinstance(action, Begin)]


def run(state: State, token: int) -> None:
    """Assigns an attempt and has its process start."""
    state.assign([order(token)])
    state.slot_started(token, 1000 + token)


def finish(state: State, token: int, cause: Cause | None = None) -> list[Any]:
    return state.slot_freed(token) + state.ended(token, Ending(cause=cause))


POINT = Point("loss", 0, 1.0)
LINE = LogLine(0.0, "stdout", "hello")


def test_attempts_begin_in_order_as_slots_come_free() -> None:
    state = connected(slots=2)
    actions = state.assign([order(token) for token in (5, 3, 9, 1)])
    assert begun(actions) == [5, 3]
    assert [action.order.token for action in actions if isinstance(action, Prefetch)] == [9, 1]
    assert begun(state.slot_freed(3)) == [9]
    assert begun(state.slot_freed(9)) == [1]


def test_a_slot_is_free_before_the_outputs_are_put_away() -> None:
    state = connected()
    run(state, 1)
    assert begun(state.assign([order(2)])) == []
    assert begun(state.slot_freed(1)) == [2]
    assert not state.collect().ended
    state.ended(1, Ending())
    assert [ended.token for ended in state.collect().ended] == [1]


def test_an_attempt_is_not_taken_twice() -> None:
    state = connected(slots=2)
    run(state, 1)
    assert state.assign([order(1)]) == []
    finish(state, 1)
    assert state.assign([order(1)]) == []


def test_a_start_is_told_unless_the_end_tells_it_too() -> None:
    state = connected(slots=2)
    run(state, 1)
    run(state, 2)
    finish(state, 1)
    batch = state.collect()
    assert batch.started == ((2, 1002),)
    assert [(ended.token, ended.started) for ended in batch.ended] == [(1, True)]


def test_a_batch_tells_reports_then_the_end() -> None:
    state = connected()
    run(state, 1)
    state.slot_report(1, [POINT], [])
    state.slot_report(1, [POINT], [LINE])
    finish(state, 1)
    batch = state.collect()
    (report,) = batch.reports
    assert (report.number, report.points, report.lines) == (1, (POINT, POINT), (LINE,))
    (ended,) = batch.ended
    assert (ended.last_report, ended.started) == (1, True)
    assert not state.collect()


def test_nothing_is_said_while_not_connected_and_nothing_is_lost() -> None:
    state = State(1)
    run(state, 1)
    state.slot_report(1, [POINT], [])
    assert not state.collect()
    state.welcome([1], [])
    assert state.collect().reports[0].number == 1


def test_an_end_waits_for_its_reports_where_a_batch_has_no_room() -> None:
    state = connected()
    run(state, 1)
    for step in range(8):
        state.slot_report(1, [], [LogLine(0.0, "stdout", "x" * 200_000)] * 2)
        state.slot_report(1, [Point("loss", step, 0.0)], [])
    finish(state, 1)
    batches = []
    while batch := state.collect():
        batches.append(batch)
    assert len(batches) > 1
    assert all(not batch.ended for batch in batches[:-1])
    numbers = [report.number for batch in batches for report in batch.reports]
    assert numbers == list(range(1, batches[-1].ended[0].last_report + 1))


def test_what_is_unacknowledged_is_said_again_in_order_after_a_reconnect() -> None:
    state = connected(slots=2)
    run(state, 1)
    run(state, 2)
    for step in range(3):
        state.slot_report(1, [Point("loss", step, 0.0)], [])
        state.collect()
    finish(state, 2)
    state.collect()
    state.ack([], {1: 1})
    state.stream_lost()
    holdings = state.holdings()
    assert holdings.held == ((1, True),)
    assert [ended.token for ended in holdings.ended] == [2]
    state.welcome([1], [])
    batch = state.collect()
    assert batch.started == ((1, 1001),)
    assert [report.number for report in batch.reports] == [2, 3]
    assert [ended.token for ended in batch.ended] == [2]
    state.ack([2], {1: 3})
    state.stream_lost()
    assert state.holdings().ended == ()
    state.welcome([1], [])
    assert not state.collect().reports


def test_an_end_whose_reports_are_unacknowledged_is_told_as_held() -> None:
    state = connected()
    run(state, 1)
    state.slot_report(1, [POINT], [])
    finish(state, 1)
    assert state.holdings().held == ((1, True),)
    state.collect()
    assert state.holdings().held == ((1, True),)
    state.ack([], {1: 1})
    assert [ended.token for ended in state.holdings().ended] == [1]


def test_what_a_welcome_stops_is_killed_and_never_spoken_of() -> None:
    state = connected(slots=2)
    for token in (1, 2, 3, 4):
        state.assign([order(token)])
    state.slot_started(1, 1001)
    state.slot_report(1, [POINT], [])
    finish(state, 2)
    state.stream_lost()
    actions = state.welcome([4], [1, 2, 3])
    assert actions == [Kill(1), Kill(3)]
    state.slot_report(1, [POINT], [])
    finish(state, 1, Cause.SIGNAL)
    batch = state.collect()
    assert not batch.reports
    assert not batch.ended
    assert list(state.attempts) == [4]


def test_a_stopped_attempts_slot_is_free_only_when_its_process_is_gone() -> None:
    state = connected()
    run(state, 1)
    state.welcome([], [1])
    assert begun(state.assign([order(2)])) == []
    assert begun(state.slot_freed(1)) == [2]


def test_a_recall_releases_only_what_has_not_begun() -> None:
    state = connected()
    for token in (1, 2, 3):
        state.assign([order(token)])
    state.recall([1, 3, 99])
    assert state.collect().released == (3,)
    assert begun(state.slot_freed(1)) == [2]
    state.recall([2])
    assert state.collect().released == ()


def test_cancelled_attempts_say_so_whether_they_ran_or_waited() -> None:
    state = connected()
    run(state, 1)
    state.assign([order(2)])
    assert state.cancel([1, 2, 99], "not wanted") == [Kill(1)]
    assert state.cancel([1], "again") == []
    finish(state, 1, Cause.SIGNAL)
    ends = {ended.token: ended for ended in state.collect().ended}
    assert ends[1].ending.cause is ends[2].ending.cause is Cause.CANCELLED
    assert ends[1].ending.message == "not wanted"
    assert (ends[1].started, ends[2].started) == (True, False)


def test_a_success_that_came_before_the_kill_counts() -> None:
    state = connected()
    run(state, 1)
    state.timed_out(1, "too long")
    finish(state, 1)
    assert state.collect().ended[0].ending.cause is None


def test_a_timeout_is_the_cause_of_the_death_it_brings() -> None:
    state = connected()
    run(state, 1)
    assert state.timed_out(1, "too long") == [Kill(1)]
    finish(state, 1, Cause.SIGNAL)
    ending = state.collect().ended[0].ending
    assert (ending.cause, ending.message) == (Cause.TIMEOUT, "too long")


def test_a_failure_tells_the_last_lines_and_a_success_does_not() -> None:
    state = connected()
    for token, cause in ((1, Cause.EXCEPTION), (2, None)):
        run(state, token)
        state.slot_report(token, [], [LogLine(0.0, "stdout", f"line {number}") for number in range(60)])
        finish(state, token, cause)
    failed, succeeded = (ended.ending for ended in state.collect().ended)
    assert failed.log_tail[-1] == "line 59"
    assert len(failed.log_tail) == 50
    assert succeeded.log_tail == ()


def test_a_full_buffer_holds_the_slot_until_enough_is_acknowledged() -> None:
    state = connected(max_unacked=1000)
    run(state, 1)
    held: list[Any] = []
    while not held:
        held = state.slot_report(1, [POINT] * 10, [])
    assert held == [Pause(1)]
    assert state.slot_report(1, [POINT], []) == []  # what was on its way is kept all the same
    (report,) = state.collect().reports
    assert state.ack([], {1: 0}) == []
    assert state.ack([], {1: report.number}) == [Resume(1)]
    assert state.ack([], {1: report.number}) == []


def test_a_drained_worker_gives_back_what_comes_and_leaves_when_all_is_acknowledged() -> None:
    state = connected()
    run(state, 1)
    state.assign([order(2)])
    assert state.drain("maintenance") == []
    assert state.assign([order(3)]) == []
    batch = state.collect()
    assert (batch.leaving, batch.released) == ("maintenance", (3,))
    assert begun(finish(state, 1)) == [2]
    assert state.ack([1], {}) == []
    finish(state, 2)
    assert state.collect().ended
    assert state.ack([2], {}) == [Leave(0)]
    assert state.drain("again") == []


def test_an_unfit_worker_gives_back_what_waits_and_what_comes_and_says_why_first() -> None:
    state = connected()
    run(state, 1)
    state.assign([order(2)])
    assert state.fit("its disk is full") == []
    assert not state.fitness_told
    assert state.assign([order(3)]) == []
    assert state.collect().released == (2, 3)
    assert begun(finish(state, 1)) == []
    assert not state.left
    state.fit("")
    assert begun(state.assign([order(4)])) == [4]


def test_an_idle_worker_leaves_as_soon_as_it_is_drained() -> None:
    assert connected().drain("maintenance") == [Leave(0)]


def test_a_worker_that_must_go_gives_back_what_waits_and_ends_what_runs() -> None:
    state = connected()
    run(state, 1)
    state.assign([order(2)])
    assert state.leave_now("stopped") == [Kill(1)]
    finish(state, 1, Cause.SIGNAL)
    batch = state.collect()
    assert (batch.leaving, batch.released) == ("stopped", (2,))
    assert batch.ended[0].ending.cause is Cause.LOST_WORKER
    assert state.ack([1], {}) == [Leave(0)]


def test_leaving_is_said_again_to_the_next_session() -> None:
    state = connected()
    run(state, 1)
    state.drain("maintenance")
    assert state.collect().leaving
    assert not state.collect().leaving
    state.stream_lost()
    state.welcome([1], [])
    assert state.collect().leaving


def test_unknown_tokens_change_nothing() -> None:
    state = connected()
    assert state.slot_report(9, [POINT], []) == []
    assert state.slot_started(9, 1) == []
    assert state.ended(9, Ending()) == []
    assert state.ack([9], {9: 3}) == []
    assert state.timed_out(9, "") == []
    assert not state.collect()


def test_an_end_is_not_forgotten_by_an_ack_of_what_still_runs() -> None:
    state = connected()
    run(state, 1)
    state.ack([1], {})
    assert 1 in state.attempts


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_can_be_stopped_by_a_welcome(phase: Phase) -> None:
    state = connected()
    if phase is Phase.QUEUED:
        run(state, 9)
    state.assign([order(1)])
    if phase is Phase.ENDED:
        finish(state, 1)
    state.welcome([9], [1])
    assert 1 not in state.attempts
    assert 1 not in state.queue
    state.collect()


class Fleet(RuleBasedStateMachine):
    """A worker beside an orchestrator that hears, forgets, loses its stream and acknowledges as it pleases."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State(2, max_unacked=2000)
        self.next = 1
        self.running: set[int] = set()
        self.paused: set[int] = set()
        self.made: dict[int, list[int]] = {}  # steps that each attempt reported
        self.heard: dict[int, dict[int, list[int]]] = {}  # steps that came, by report
        self.ended: dict[int, int] = {}
        self.stopped: set[int] = set()
        self.connected = False

    def act(self, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, Begin):
                self.running.add(action.order.token)
                self.act(self.state.slot_started(action.order.token, 1000 + action.order.token))
            elif isinstance(action, Pause):
                self.paused.add(action.token)
            elif isinstance(action, Resume):
                self.paused.discard(action.token)

    def some(self, tokens: set[int], choice: int) -> int:
        return sorted(tokens)[choice % len(tokens)]

    @precondition(lambda self: self.connected)
    @rule()
    def assign(self) -> None:
        self.made[self.next], self.heard[self.next] = [], {}
        self.act(self.state.assign([order(self.next)]))
        self.next += 1

    @precondition(lambda self: self.running - self.paused)
    @rule(choice=st.integers(0, 9), size=st.integers(1, 40))
    def report(self, choice: int, size: int) -> None:
        token = self.some(self.running - self.paused, choice)
        steps = self.made[token]
        new = list(range(len(steps), len(steps) + size))
        if token not in self.stopped:
            steps.extend(new)
        self.act(self.state.slot_report(token, [Point("s", step, 0.0) for step in new], []))

    @precondition(lambda self: self.running - self.paused)
    @rule(choice=st.integers(0, 9), cause=st.sampled_from([None, Cause.SIGNAL]))
    def end(self, choice: int, cause: Cause | None) -> None:
        token = self.some(self.running - self.paused, choice)
        self.running.discard(token)
        self.act(finish(self.state, token, cause))

    @precondition(lambda self: not self.connected)
    @rule(stop=st.booleans(), choice=st.integers(0, 9))
    def welcome(self, stop: bool, choice: int) -> None:
        held = {token for token, _ in self.state.holdings().held}
        stopped = {self.some(held, choice)} if held and stop else set()
        self.stopped |= stopped
        self.connected = True
        self.act(self.state.welcome(held - stopped, stopped))

    @precondition(lambda self: self.connected)
    @rule()
    def lose(self) -> None:
        self.connected = False
        self.act(self.state.stream_lost())

    @precondition(lambda self: self.connected)
    @rule(arrives=st.booleans(), acked=st.booleans())
    def speak(self, arrives: bool, acked: bool) -> None:
        batch = self.state.collect()
        if not arrives:  # the stream broke while it was under way
            self.lose()
            return
        for report in batch.reports:
            assert report.token not in self.stopped
            self.heard[report.token][report.number] = [point.step for point in report.points]
        for ended in batch.ended:
            assert ended.token not in self.stopped
            assert set(self.heard[ended.token]) == set(range(1, ended.last_report + 1))
            self.ended[ended.token] = ended.last_report
        if acked:
            reports = {report.token: report.number for report in batch.reports}
            self.act(self.state.ack([ended.token for ended in batch.ended], reports))

    @invariant()
    def slots_are_not_overfilled(self) -> None:
        assert len(self.running) <= 2
        assert self.running == self.state.busy

    @invariant()
    def what_ended_was_heard_whole_and_once(self) -> None:
        for token in self.ended:
            steps = [step for number in sorted(self.heard[token]) for step in self.heard[token][number]]
            assert steps == self.made[token]

    @invariant()
    def unacknowledged_bytes_are_bounded(self) -> None:
        for attempt in self.state.attempts.values():
            assert attempt.size + attempt.fill <= 2000 + 40 * 25
            assert attempt.size == sum(report.size for report in attempt.unacked)


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.sampled_from(["assign", "recall", "cancel", "free"]), max_size=30))
def test_no_attempt_is_lost_whatever_comes(events: list[str]) -> None:
    state, told = connected(), set()
    for token, event in enumerate(events, 1):
        if event == "assign":
            state.assign([order(token)])
        elif event == "recall":
            state.recall(list(state.attempts))
        elif event == "cancel":
            state.cancel(list(state.queue), "")
        else:
            for busy in list(state.busy):
                finish(state, busy)
        batch = state.collect()
        told |= set(batch.released) | {ended.token for ended in batch.ended}
        assigned = {number for number, name in enumerate(events[:token], 1) if name == "assign"}
        assert assigned == told | state.busy | set(state.queue)


def test_ends_wait_for_company_while_every_slot_has_a_next_task() -> None:
    state = connected(slots=2)
    state.assign([order(token) for token in range(1, 6)])
    state.collect()
    finish(state, 1)
    assert not state.pressing
    finish(state, 2)
    assert state.pressing
    assert [ended.token for ended in state.collect().ended] == [1, 2]


def test_ends_wait_while_whoever_hears_them_is_slow() -> None:
    state = connected()
    state.assign([order(1)])
    finish(state, 1)
    assert state.pressing
    state.collect()
    state.assign([order(2), order(3)])
    finish(state, 2)
    finish(state, 3)
    assert not state.pressing, "the end before them was not heard yet"
    state.ack([1], {})
    assert state.pressing
    assert [ended.token for ended in state.collect().ended] == [2, 3]


def test_what_was_not_heard_in_a_session_that_is_over_holds_up_nothing() -> None:
    state = connected()
    state.assign([order(1)])
    finish(state, 1)
    state.collect()
    state.stream_lost()
    state.welcome([1], [])
    assert [ended.token for ended in state.collect().ended] == [1]
    state.ack([1], {})
    state.assign([order(2)])
    finish(state, 2)
    assert state.pressing
