"""The worker's state, driven with no event loop: events in, actions and batches out."""

from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tensorfleet.model import Cause, LogLine, Point, Points, Ref
from worker.actions import (
    Action,
    Fetch,
    Forget,
    Give,
    Keep,
    Kill,
    Leave,
    LookAtDisk,
    Pause,
    PutAway,
    Resume,
    Steer,
    TakeBack,
    Tell,
)
from worker.lanes import DEPTH
from worker.messages import (
    Blob,
    Died,
    End,
    Ending,
    Failed,
    FromSlot,
    GaveUp,
    Holding,
    Lines,
    Measured,
    Members,
    Order,
    OrderInput,
    Ready,
    Saved,
    Succeeded,
    Unfit,
    Work,
)
from worker.outbox import Batch
from worker.state import FETCHES, HOLD, MOST_UNFIT, State
from worker.words import Wish

POINT = Point("loss", 0, 1.0)
LINE = LogLine(0.0, "stdout", "hello")
DEATH = Died(Cause.SIGNAL, "SIGKILL", "killed")


def order(token: int, timeout: float = 0.0, inputs: tuple[OrderInput, ...] = ()) -> Order:
    return Order(token, Work(operator="probe.echo@1", timeout=timeout, inputs=inputs))


def needy(token: int) -> Order:
    return order(token, inputs=(OrderInput(Ref("ab", 2)),))


class Machine:
    """A worker's slots as its state sees them: pipes from which a slot takes one order after another.

    eager: whether a slot takes its next order at once. started: tokens in the order in which slots took them.
    """

    def __init__(self, slots: int = 1, *, eager: bool = True, connected: bool = True, **options: Any) -> None:
        self.state = State(slots, **options)
        self.now = 0.0
        self.eager = eager
        self.room = 1_000_000
        self.pipes: dict[int, deque[int]] = {}
        self.runs: dict[int, int | None] = {}
        self.started: list[int] = []
        self.fetching: list[int] = []
        self.storing: dict[int, Succeeded | GaveUp] = {}
        self.steered: dict[int, tuple[int, Wish, int]] = {}
        self.rosters: dict[int, Members] = {}
        self.keeping: list[tuple[int, Saved]] = []
        self.forgotten: list[int] = []
        self.killed: list[int] = []
        self.held: set[int] = set()
        self.left = self.looked = 0
        if connected:
            self.do(self.state.welcome([], self.now))
        for number in range(slots):
            self.come(number)

    def do(self, actions: list[Action]) -> None:
        waiting = deque(actions)
        while waiting:
            action = waiting.popleft()
            match action:
                case Give(slot, orders):
                    assert slot not in self.killed
                    taken = max(0, min(len(orders), self.room - len(self.pipes[slot])))
                    self.pipes[slot].extend(each.token for each in orders[:taken])
                    if taken < len(orders):
                        waiting.extend(self.state.slot_full(slot, len(orders) - taken, self.now))
                case TakeBack(slot):
                    count = len(self.pipes[slot])
                    self.pipes[slot].clear()
                    waiting.extend(self.state.came_back(slot, count, self.now))
                case Kill(slot):
                    assert not self.pipes[slot], "what waits behind it could be killed in its stead"
                    self.killed.append(slot)
                case Pause(slot):
                    self.held.add(slot)
                case Resume(slot):
                    self.held.discard(slot)
                case Fetch(wanted):
                    self.fetching.append(wanted.token)
                case Steer(slot, token, wish, saves):
                    self.steered[slot] = (token, wish, saves)
                case Tell(slot, members):
                    self.rosters[self.runs[slot] or 0] = members
                case Keep(token, saved):
                    self.keeping.append((token, saved))
                case PutAway(token, outcome):
                    self.storing[token] = outcome
                case Forget(token):
                    self.forgotten.append(token)
                case LookAtDisk():
                    self.looked += 1
                case Leave():
                    self.left += 1
        if self.eager:
            for number in self.runs:
                self.take(number)

    def take(self, number: int) -> None:
        """A slot takes its next order, where it runs nothing."""
        if self.runs[number] is None and self.pipes[number]:
            self.runs[number] = self.pipes[number].popleft()
            self.started.append(self.runs[number] or 0)

    def come(self, number: int) -> None:
        self.pipes[number], self.runs[number] = deque(), None
        self.do(self.state.slot_came(number, 1000 + number, self.now))

    def assign(self, *tokens: int, **what: Any) -> None:
        self.do(self.state.assign([order(token, **what) for token in tokens], self.now))

    def slot_of(self, token: int) -> int:
        return next(number for number, running in self.runs.items() if running == token)

    def report(self, token: int, points: Any = (), lines: Any = ()) -> None:
        self.do(self.state.slot_said(self.slot_of(token), [Measured(Points.of(points)), Lines(tuple(lines))], self.now))

    def finish(self, token: int, outcome: End | None = None) -> None:
        number = self.slot_of(token)
        self.runs[number] = None
        if self.eager:
            self.take(number)
        self.do(self.state.slot_said(number, [outcome or Succeeded(0.5)], self.now))

    def fail(self, token: int, cause: Cause = Cause.EXCEPTION) -> None:
        self.finish(token, Failed(cause, cause.name, "it failed", 0.5))

    def die(self, number: int, died: Died = DEATH) -> None:
        """A slot's process ends, and another takes its place."""
        waiting = len(self.pipes[number])
        self.pipes.pop(number)
        self.runs.pop(number)
        if number in self.killed:
            self.killed.remove(number)
        self.held.discard(number)
        self.steered.pop(number, None)
        self.do(self.state.slot_gone(number, waiting, died, self.now))
        self.come(number)

    def pause(self, *tokens: int) -> None:
        self.do(self.state.pause(tokens, self.now))

    def resume(self, *tokens: int) -> None:
        self.do(self.state.resume(tokens, self.now))

    def checkpoint(self, *tokens: int) -> None:
        self.do(self.state.checkpoint(tokens))

    def wanted(self, number: int) -> tuple[Wish, int]:
        """What a slot knows is wanted of what it runs."""
        token, wish, saves = self.steered.get(number, (0, Wish.GO_ON, 0))
        return (wish, saves) if token == self.runs[number] else (Wish.GO_ON, 0)

    def say(self, token: int, *messages: FromSlot) -> None:
        self.do(self.state.slot_said(self.slot_of(token), messages, self.now))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        if self.state.lanes.deadline <= self.now:
            self.do(self.state.tick(self.now))

    def running(self) -> list[int]:
        return sorted(token for token in self.runs.values() if token is not None)

    def collect(self) -> Batch:
        return self.state.collect()

    def recall(self, *tokens: int) -> None:
        self.do(self.state.recall(tokens, self.now))

    def cancel(self, *tokens: int, reason: str = "not wanted") -> None:
        self.do(self.state.cancel(tokens, reason, self.now))

    def ack(self, *tokens: int, **reports: int) -> None:
        self.do(self.state.ack(tokens, {int(token[1:]): number for token, number in reports.items()}, self.now))

    def reconnect(self, stop: Any = ()) -> None:
        self.do(self.state.stream_lost())
        self.do(self.state.welcome(stop, self.now))


def ends(batch: Batch) -> list[int]:
    return [ended.token for ended in batch.ended] + list(batch.succeeded)


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


def test_a_slot_goes_on_before_the_outputs_are_put_away() -> None:
    it = Machine()
    it.assign(1, 2)
    it.finish(1, Succeeded(0.5, None, (("/x/0", Ref("ab", 1)),)))
    assert it.running() == [2]
    assert list(it.storing) == [1]
    assert not ends(it.collect())
    it.do(it.state.ended(1, Ending(), it.now))
    assert ends(it.collect()) == [1]


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


def test_inputs_that_are_lost_end_an_attempt_that_did_not_begin() -> None:
    it = Machine()
    it.do(it.state.assign([needy(1)], it.now))
    it.do(it.state.ended(1, Ending(cause=Cause.LOST_INPUT, reason="NOT_FOUND"), it.now))
    (ended,) = it.collect().ended
    assert (ended.ending.cause, ended.started) == (Cause.LOST_INPUT, False)


def test_an_attempt_is_not_taken_twice() -> None:
    it = Machine(2)
    it.assign(1)
    it.assign(1)
    it.finish(1)
    it.assign(1)
    assert it.started == [1]


def test_a_start_is_told_unless_the_end_tells_it_too() -> None:
    it = Machine(2)
    it.assign(1, 2)
    it.finish(1)
    batch = it.collect()
    assert batch.started == [(2, 1001)]
    assert batch.succeeded == [1]
    assert not it.collect().started


def test_starts_wait_where_they_may() -> None:
    it = Machine()
    it.assign(1)
    assert not it.state.collect(starts=False)
    assert it.state.collect(starts=True).started == [(1, 1000)]


def test_a_bare_success_is_told_by_its_seconds_alone() -> None:
    it = Machine()
    it.assign(1, 2, 3)
    it.finish(1)
    it.finish(2, Succeeded(0.25, None, (), {"rows": 1}))
    it.report(3, [POINT])
    it.finish(3)
    batch = it.collect()
    assert (batch.succeeded, batch.seconds) == ([1], [0.5])
    assert [(ended.token, ended.started, ended.last_report) for ended in batch.ended] == [(2, True, 0), (3, True, 1)]


def test_a_batch_tells_reports_then_the_end() -> None:
    it = Machine()
    it.assign(1)
    it.report(1, [POINT])
    it.report(1, [POINT], [LINE])
    it.finish(1)
    batch = it.collect()
    (report,) = batch.reports
    assert (report.number, report.points, report.lines) == (1, Points.of([POINT, POINT]), (LINE,))
    (ended,) = batch.ended
    assert (ended.last_report, ended.started) == (1, True)
    assert not it.collect()


def test_reports_belong_to_what_was_first_in_the_pipe_when_they_were_made() -> None:
    it = Machine()
    it.assign(1, 2)
    said = [
        Measured(Points.of([Point("a", 0, 0.0)])),
        Succeeded(0.5),
        Measured(Points.of([Point("b", 0, 0.0)])),
        Failed(Cause.SIGNAL, "", ""),
    ]
    it.do(it.state.slot_said(0, said, it.now))
    assert [(report.token, report.points.names[0]) for report in it.collect().reports] == [(1, "a"), (2, "b")]


def test_nothing_is_said_while_not_connected_and_nothing_is_lost() -> None:
    it = Machine(connected=False)
    it.assign(1)
    it.report(1, [POINT])
    assert not it.collect()
    it.do(it.state.welcome([], it.now))
    assert it.collect().reports[0].number == 1


def test_an_end_waits_for_its_reports_where_a_batch_has_no_room() -> None:
    it = Machine()
    it.assign(1)
    for step in range(8):
        it.report(1, [], [LogLine(0.0, "stdout", "x" * 200_000)] * 2)
        it.report(1, [Point("loss", step, 0.0)])
    it.finish(1)
    batches = []
    while batch := it.collect():
        batches.append(batch)
    assert len(batches) > 1
    assert all(not batch.ended for batch in batches[:-1])
    numbers = [report.number for batch in batches for report in batch.reports]
    assert numbers == list(range(1, batches[-1].ended[0].last_report + 1))


def test_what_is_unacknowledged_is_said_again_in_order_after_a_reconnect() -> None:
    it = Machine(2)
    it.assign(1, 2)
    for step in range(3):
        it.report(1, [Point("loss", step, 0.0)])
        it.collect()
    it.finish(2)
    it.collect()
    it.ack(t1=1)
    it.do(it.state.stream_lost())
    holdings = it.state.holdings()
    assert holdings.held == ((1, True),)
    assert [ended.token for ended in holdings.ended] == [2]
    it.do(it.state.welcome([], it.now))
    batch = it.collect()
    assert batch.started == [(1, 1000)]
    assert [report.number for report in batch.reports] == [2, 3]
    assert ends(batch) == [2]
    it.ack(2, t1=3)
    it.do(it.state.stream_lost())
    assert it.state.holdings().ended == ()
    it.do(it.state.welcome([], it.now))
    assert not it.collect().reports


def test_an_end_whose_reports_are_unacknowledged_is_told_as_held() -> None:
    it = Machine()
    it.assign(1)
    it.report(1, [POINT])
    it.finish(1)
    assert it.state.holdings().held == ((1, True),)
    it.collect()
    assert it.state.holdings().held == ((1, True),)
    it.ack(t1=1)
    assert [ended.token for ended in it.state.holdings().ended] == [1]


def test_what_waits_in_a_pipe_is_held_and_has_not_begun() -> None:
    it = Machine()
    it.assign(1, 2, 3)
    assert it.state.holdings().held == ((1, True), (2, False), (3, False))


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


def test_a_stopped_attempts_slot_is_free_only_when_its_process_is_gone() -> None:
    it = Machine()
    it.assign(1)
    it.reconnect(stop=[1])
    it.assign(2)
    assert it.started == [1]
    it.die(0)
    assert it.started == [1, 2]


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


def test_a_start_is_told_anew_where_another_slot_has_the_order() -> None:
    it = Machine(2, eager=False)
    it.assign(1)
    assert it.collect().started == [(1, 1000)]
    it.do(it.state.lanes.take_back([it.state.lanes.by_slot[0]]))
    assert it.collect().started == [(1, 1000)], "whoever has it now"


def test_a_full_pipe_leaves_the_rest_to_the_others() -> None:
    it = Machine(2)
    it.room = 3
    it.assign(*range(1, 31))
    assert [len(pipe) for pipe in it.pipes.values()] <= [3, 3]
    while it.running():
        it.finish(it.running()[0])
    assert sorted(it.started) == list(range(1, 31))
    assert it.started[:4] == [1, 2, 3, 4] or sorted(it.started[:4]) == [1, 2, 3, 4]


def test_cancelled_attempts_say_so_whether_they_ran_or_waited() -> None:
    it = Machine()
    it.assign(1, 2)
    it.cancel(1, 2, 99)
    it.cancel(1, reason="again")
    assert it.killed == [0]
    it.die(0)
    told = {ended.token: ended for ended in it.collect().ended}
    assert told[1].ending.cause is told[2].ending.cause is Cause.CANCELLED
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
    it.now = 2.0
    it.do(it.state.tick(it.now))
    it.finish(1)
    assert it.collect().succeeded == [1]


def test_a_timeout_counts_from_the_beginning_and_is_the_cause_of_the_death_it_brings() -> None:
    it = Machine()
    it.assign(1, 2, 3, timeout=1.0)
    assert it.state.lanes.deadline == 1.0
    it.now = 0.75
    it.finish(1)
    it.now = 1.0
    it.do(it.state.tick(it.now))
    assert it.killed == []
    assert it.state.lanes.deadline == 1.75
    it.now = 1.75
    it.do(it.state.tick(it.now))
    assert it.killed == [0]
    it.die(0)
    (ended,) = it.collect().ended
    assert (ended.token, ended.ending.cause) == (2, Cause.TIMEOUT)
    assert ended.ending.message == "the task ran longer than its 1 seconds"
    assert it.running() == [3], "what waited behind it goes on"
    assert it.state.lanes.deadline == 2.75


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


def test_a_full_buffer_holds_the_slot_until_enough_is_acknowledged() -> None:
    it = Machine(max_unacked=1000)
    it.assign(1)
    while not it.held:
        it.report(1, [POINT] * 10)
    it.report(1, [POINT])  # what was on its way is kept all the same
    (report,) = it.collect().reports
    it.ack(t1=0)
    assert it.held == {0}
    it.ack(t1=report.number)
    assert it.held == set()


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


def test_an_idle_worker_leaves_as_soon_as_it_is_drained() -> None:
    it = Machine()
    it.do(it.state.drain("maintenance"))
    assert it.left == 1


def test_a_worker_that_must_go_gives_back_what_waits_and_ends_what_runs() -> None:
    it = Machine()
    it.assign(1, 2)
    it.do(it.state.leave_now("stopped", it.now))
    assert it.killed == [0]
    it.die(0)
    batch = it.collect()
    assert (batch.leaving, batch.released) == ("stopped", [2])
    assert batch.ended[0].ending.cause is Cause.LOST_WORKER
    it.ack(1)
    assert it.left == 1


def test_leaving_is_said_again_to_the_next_session() -> None:
    it = Machine()
    it.assign(1)
    it.do(it.state.drain("maintenance"))
    assert it.collect().leaving
    assert not it.collect().leaving
    it.reconnect()
    assert it.collect().leaving


def test_unknown_tokens_change_nothing() -> None:
    it = Machine()
    it.do(it.state.slot_said(0, [Measured(Points.of([POINT])), Succeeded(0.5)], it.now))
    it.do(it.state.ended(9, Ending(), it.now) + it.state.fetched(9, it.now))
    it.ack(9, t9=3)
    it.recall(9)
    it.cancel(9)
    assert not it.collect()
    assert it.forgotten == []


def test_an_end_is_not_forgotten_by_an_ack_of_what_still_runs() -> None:
    it = Machine()
    it.assign(1)
    it.ack(1)
    assert 1 in it.state.attempts


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


SAVED = ("/x/1/saved-0", Ref("cd", 9))
KEPT = Blob(Ref("cd", 9), b"123456789")


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


def test_after_a_broken_stream_what_is_held_agrees_with_the_welcome() -> None:
    it = Machine(2)
    it.assign(1, 2)
    it.pause(1)
    it.do(it.state.stream_lost())
    it.do(it.state.welcome((), it.now, [2]))
    assert it.wanted(0) == (Wish.GO_ON, 0)
    assert it.wanted(1) == (Wish.HOLD, 0)


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


def test_a_member_of_a_gang_is_ready_until_it_has_the_roster() -> None:
    it = Machine()
    it.assign(1)
    it.say(1, Ready("10.0.0.1:99"))
    assert it.collect().ready == [(1, "10.0.0.1:99")]
    it.reconnect()
    assert it.collect().ready == [(1, "10.0.0.1:99")]
    it.do(it.state.roster(1, Members(0, ("10.0.0.1:99",))))
    assert it.rosters == {1: Members(0, ("10.0.0.1:99",))}
    it.reconnect()
    assert not it.collect().ready
    it.do(it.state.roster(1, Members(0, ())) + it.state.roster(9, Members(0, ())))
    assert it.rosters[1].addresses


def test_a_task_goes_to_the_process_that_ran_its_like() -> None:
    it = Machine(3)
    it.do(it.state.assign([Order(token, Work(operator=f"{name}.run@1")) for token, name in enumerate("abc", 1)], 0.0))
    for token in (1, 2, 3):
        it.finish(token)
    it.do(it.state.assign([Order(4, Work(operator="c.run@1"))], 0.0))
    assert it.slot_of(4) == 2
    it.do(it.state.assign([Order(5, Work(operator="d.run@1")), Order(6, Work(operator="b.run@1"))], 0.0))
    assert (it.slot_of(5), it.slot_of(6)) == (0, 1)


class Fleet(RuleBasedStateMachine):
    """A worker beside an orchestrator that hears, forgets, loses its stream and acknowledges as it pleases, with slots
    that take their orders when they please, and die."""

    def __init__(self) -> None:
        super().__init__()
        self.it = Machine(2, eager=False, connected=False, max_unacked=2000)
        self.next = 1
        self.made: dict[int, list[int]] = {}  # steps that each attempt reported
        self.heard: dict[int, dict[int, list[int]]] = {}  # steps that came, by report
        self.ended: dict[int, int] = {}
        self.stopped: set[int] = set()
        self.released: set[int] = set()
        self.connected = False
        self.paused: set[int] = set()  # what is to be, as the orchestrator has it
        self.saved: dict[int, int] = {}  # how often each has saved

    @property
    def loud(self) -> list[int]:
        """What runs in a slot that is read."""
        return [token for number, token in self.it.runs.items() if token is not None and number not in self.it.held]

    def some(self, tokens: Any, choice: int) -> int:
        found: int = sorted(tokens)[choice % len(tokens)]
        return found

    @precondition(lambda self: self.connected)
    @rule(count=st.integers(1, 5))
    def assign(self, count: int) -> None:
        tokens = range(self.next, self.next + count)
        for token in tokens:
            self.made[token], self.heard[token] = [], {}
        self.next += count
        self.it.assign(*tokens)

    @rule(number=st.integers(0, 1))
    def take(self, number: int) -> None:
        self.it.take(number)

    @precondition(lambda self: self.loud)
    @rule(choice=st.integers(0, 9), size=st.integers(1, 40))
    def report(self, choice: int, size: int) -> None:
        token = self.some(self.loud, choice)
        steps = self.made[token]
        new = list(range(len(steps), len(steps) + size))
        if token not in self.stopped:
            steps.extend(new)
        self.it.report(token, [Point("s", step, 0.0) for step in new])

    @precondition(lambda self: self.loud)
    @rule(choice=st.integers(0, 9), fails=st.booleans(), goes_on=st.booleans())
    def end(self, choice: int, fails: bool, goes_on: bool) -> None:
        """A task ends; its slot may have taken the next before that is heard."""
        token = self.some(self.loud, choice)
        number = self.it.slot_of(token)
        outcome = Failed(Cause.EXCEPTION, "", "") if fails else Succeeded(0.5)
        self.it.runs[number] = None
        if goes_on and number not in self.it.killed:
            self.it.take(number)
        self.it.do(self.it.state.slot_said(number, [outcome], self.it.now))

    @rule(number=st.integers(0, 1))
    def die(self, number: int) -> None:
        self.it.die(number)

    @precondition(lambda self: self.connected and self.next > 1)
    @rule(tokens=st.lists(st.integers(0, 30), max_size=5))
    def recall(self, tokens: list[int]) -> None:
        self.it.recall(*(max(self.next - token, 1) for token in tokens))

    @precondition(lambda self: self.connected and self.next > 1)
    @rule(tokens=st.lists(st.integers(0, 30), max_size=3))
    def cancel(self, tokens: list[int]) -> None:
        self.it.cancel(*(max(self.next - token, 1) for token in tokens))

    @precondition(lambda self: self.connected and self.next > 1)
    @rule(tokens=st.lists(st.integers(1, 30), max_size=5))
    def pause(self, tokens: list[int]) -> None:
        wanted = {max(self.next - token, 1) for token in tokens}
        self.paused |= wanted
        self.it.pause(*wanted)

    @precondition(lambda self: self.connected and self.paused)
    @rule(choice=st.integers(0, 9))
    def resume(self, choice: int) -> None:
        token = self.some(self.paused, choice)
        self.paused.remove(token)
        self.it.resume(token)

    @precondition(lambda self: self.connected and self.next > 1)
    @rule(tokens=st.lists(st.integers(0, 30), max_size=3))
    def checkpoint(self, tokens: list[int]) -> None:
        self.it.checkpoint(*(max(self.next - token, 1) for token in tokens))

    @rule(seconds=st.sampled_from([1.0, HOLD]))
    def time_passes(self, seconds: float) -> None:
        self.it.pass_time(seconds)

    @precondition(lambda self: self.loud)
    @rule(choice=st.integers(0, 9), goes_on=st.booleans())
    def step(self, choice: int, goes_on: bool) -> None:
        """What runs reaches the end of a step, and does what is wanted of it."""
        token = self.some(self.loud, choice)
        number = self.it.slot_of(token)
        wish, saves = self.it.wanted(number)
        if saves != self.saved.get(token, 0):
            self.saved[token] = saves
            self.it.say(token, Saved(*SAVED))
            self.it.do(self.it.state.kept(token, KEPT))
        elif wish is Wish.HOLD:
            self.it.say(token, Holding())
        elif wish is Wish.PART:
            self.it.runs[number] = None
            if goes_on and number not in self.it.killed:
                self.it.take(number)
            self.it.do(self.it.state.slot_said(number, [GaveUp(None)], self.it.now))

    @precondition(lambda self: not self.connected)
    @rule(stop=st.booleans(), choice=st.integers(0, 9))
    def welcome(self, stop: bool, choice: int) -> None:
        held = {token for token, _ in self.it.state.holdings().held}
        stopped = {self.some(held, choice)} if held and stop else set()
        self.stopped |= stopped
        self.connected = True
        self.it.do(self.it.state.welcome(stopped, self.it.now, self.paused))

    @precondition(lambda self: self.connected)
    @rule()
    def lose(self) -> None:
        self.connected = False
        self.it.do(self.it.state.stream_lost())

    @precondition(lambda self: self.connected)
    @rule(arrives=st.booleans(), acked=st.booleans(), starts=st.booleans())
    def speak(self, arrives: bool, acked: bool, starts: bool) -> None:
        batch = self.it.state.collect(starts)
        self.released.update(batch.released)
        if not arrives:  # the stream broke while it was under way
            self.lose()
            return
        for token, _ in batch.started:
            assert token not in self.stopped | self.released
        for report in batch.reports:
            assert report.token not in self.stopped
            self.heard[report.token][report.number] = [point.step for point in report.points]
        assert not self.stopped & {*ends(batch)}, "an end is said of what was stopped before"
        for ended in batch.ended:
            assert set(self.heard[ended.token]) == set(range(1, ended.last_report + 1))
            self.ended[ended.token] = ended.last_report
        self.ended.update(dict.fromkeys(batch.succeeded, 0))
        if acked:
            reports = {report.token: report.number for report in batch.reports}
            self.it.do(self.it.state.ack(ends(batch), reports, self.it.now))

    @invariant()
    def nothing_is_taken_twice_nor_after_it_was_given_back(self) -> None:
        assert len(self.it.started) == len(set(self.it.started))
        assert not self.released & set(self.it.started)

    @invariant()
    def the_state_knows_what_is_in_the_pipes(self) -> None:
        for number, lane in self.it.state.lanes.by_slot.items():
            given = [attempt.order.token for attempt in lane.given]
            taken = len(given) - len(self.it.pipes[number])
            assert given[taken:] == list(self.it.pipes[number])
            assert given[:taken] == [token for token in (self.it.runs[number],) if token is not None]
            assert (number in self.it.killed) == lane.killed

    @invariant()
    def no_slot_has_nothing_to_do_while_another_has_more_than_it_can(self) -> None:
        lanes = self.it.state.lanes
        idle = [lane for lane in lanes.by_slot.values() if lane.open and not lane.given]
        assert not (idle and (lanes.ready or any(self.it.pipes[n] and self.it.runs[n] for n in self.it.pipes)))

    @invariant()
    def a_slot_knows_what_is_wanted_of_what_it_runs(self) -> None:
        for number, lane in self.it.state.lanes.by_slot.items():
            if lane.given and lane.given[0].order.token == self.it.runs[number] and not lane.killed:
                attempt = lane.given[0]
                assert self.it.wanted(number) == (attempt.wish, attempt.saves)
                if self.connected and not (attempt.dropped or attempt.stopping):
                    assert attempt.paused == (attempt.order.token in self.paused)

    @invariant()
    def nothing_that_is_paused_waits_for_a_slot(self) -> None:
        if self.connected:
            assert not any(attempt.order.token in self.paused for attempt in self.it.state.lanes.ready)

    @invariant()
    def what_ended_was_heard_whole_and_once(self) -> None:
        for token in self.ended:
            steps = [step for number in sorted(self.heard[token]) for step in self.heard[token][number]]
            assert steps == self.made[token]

    @invariant()
    def unacknowledged_bytes_are_bounded(self) -> None:
        for attempt in self.it.state.attempts.values():
            assert attempt.reports is None or attempt.reports.held <= 2000 + 40 * 25


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


@given(st.lists(st.sampled_from(["assign", "recall", "cancel", "finish", "die"]), max_size=30))
def test_no_attempt_is_lost_whatever_comes(events: list[str]) -> None:
    it, told = Machine(2), set()
    for token, event in enumerate(events, 1):
        if event == "assign":
            it.assign(token)
        elif event == "recall":
            it.recall(*it.state.attempts)
        elif event == "cancel":
            it.cancel(*[token for pipe in it.pipes.values() for token in pipe])
        elif event == "finish":
            for running in it.running():
                it.finish(running)
        else:
            it.die(0)
        batch = it.collect()
        told |= set(batch.released) | set(ends(batch))
        assigned = {number for number, name in enumerate(events[:token], 1) if name == "assign"}
        assert assigned == told | set(it.running()) | {waits for pipe in it.pipes.values() for waits in pipe}


def test_ends_wait_for_company_while_those_before_them_are_not_heard() -> None:
    it = Machine(2)
    it.assign(*range(1, 6))
    it.finish(1)
    assert it.state.pressing, "nothing was said before it"
    assert it.collect().succeeded == [1]
    it.finish(2)
    it.finish(3)
    assert not it.state.pressing
    it.ack(1)
    assert it.state.pressing
    assert it.collect().succeeded == [2, 3]


def test_ends_do_not_wait_where_no_slot_has_anything_to_do() -> None:
    it = Machine(2)
    it.assign(1, 2, 3)
    it.finish(1)
    it.collect()
    it.finish(2)
    assert not it.state.pressing
    it.finish(3)
    assert it.state.pressing
    assert it.collect().succeeded == [2, 3]


def test_what_was_not_heard_in_a_session_that_is_over_holds_up_nothing() -> None:
    it = Machine()
    it.assign(1)
    it.finish(1)
    it.collect()
    it.reconnect()
    assert ends(it.collect()) == [1]
    it.ack(1)
    it.assign(2, 3)
    it.finish(2)
    assert it.state.pressing


def test_a_start_is_told_once_its_process_is_known() -> None:
    state = State(1)
    state.welcome((), 0.0)
    state.slot_came(0, 0, 0.0)
    state.assign([order(1)], 0.0)
    assert list(state.collect().started) == []
    state.slot_has(0, 77)
    assert list(state.collect().started) == [(1, 77)]
    assert state.running() == [(77, 1)]
