"""The worker's state under whatever comes, in any order: no attempt is lost, taken twice, or told wrongly."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tensorfleet.model import Cause, Point
from tests.unit.worker_slots import KEPT, SAVED, Machine, ends
from worker.messages import Failed, GaveUp, Holding, Saved, Succeeded
from worker.state import HOLD
from worker.words import Wish


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

    @precondition(lambda self: self.connected and self.next > 1)
    @rule(tokens=st.lists(st.integers(0, 30), max_size=3))
    def end_early(self, tokens: list[int]) -> None:
        self.it.end_early(*(max(self.next - token, 1) for token in tokens))

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
