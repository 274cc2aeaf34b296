"""A worker's slots as its state sees them, with no event loop: they do what the state wants done, and tell it of it."""

from collections import deque
from typing import Any

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
from worker.messages import (
    Blob,
    Died,
    End,
    Failed,
    FromSlot,
    GaveUp,
    Lines,
    Measured,
    Members,
    Order,
    OrderInput,
    Saved,
    Succeeded,
    Work,
)
from worker.outbox import Batch
from worker.state import State
from worker.words import Wish

POINT = Point("loss", 0, 1.0)
LINE = LogLine(0.0, "stdout", "hello")
DEATH = Died(Cause.SIGNAL, "SIGKILL", "killed")
SAVED = ("/x/1/saved-0", Ref("cd", 9))
KEPT = Blob(Ref("cd", 9), b"123456789")


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

    def tick(self, now: float) -> None:
        """So much time has gone by, and the deadline has come."""
        self.now = now
        self.do(self.state.tick(now))

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

    def end_early(self, *tokens: int) -> None:
        self.do(self.state.end_early(tokens))

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
