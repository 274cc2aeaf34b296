"""Which of a worker's slots has which of its orders, and which it is to get next.

The rule: an order that was put into a slot's pipe has begun once it cannot be taken back; results come in the order of
the pipe. So of what a slot was given and did not end, the first runs or is about to, and what is behind it waits.
"""

import heapq
import math
import sys
from collections import deque
from collections.abc import Iterable
from enum import IntEnum

from msgspec import Struct

from tensorfleet.model import Cause
from worker.actions import Action, Give, Kill, Resume, Steer, TakeBack
from worker.messages import Blob, Ending, Order
from worker.reports import Reports
from worker.words import Wish

DEPTH = 64
"""Orders in a slot's pipe, at most, with the one that runs."""

UNSTEERED = (0, Wish.GO_ON, 0)
"""Nothing is wanted of any attempt."""


class Phase(IntEnum):
    WAITING = 0  # for its inputs, or for a place in a slot's pipe
    GIVEN = 1
    STORING = 2  # its outputs are on their way
    ENDED = 3


class Attempt(Struct, eq=False):
    """One attempt that the worker holds. dropped: nobody is told of it any more.

    stopping: why it is to end before its time, and what that is called; no cause where it only gives up its place.
    paused: it is to hold its place, and `parting` to give it up. holding: since when it does. early: it is to end with
    what it has. saves: how often it is to have saved. saved: what it saved last. address: where it listens for its
    gang, until it has the roster. follows: whether another is first in it, whose time is that of all. unfit: how many
    processes could not run it.
    """

    order: Order
    phase: Phase = Phase.WAITING
    begun: bool = False
    lane: "Lane | None" = None
    recalled: bool = False
    dropped: bool = False
    stopping: tuple[Cause | None, str] | None = None
    ending: Ending | None = None
    reports: Reports | None = None
    told_start: bool = False
    told_end: bool = False
    paused: bool = False
    parting: bool = False
    early: bool = False
    follows: bool = False
    holding: float | None = None
    saves: int = 0
    saved: Blob | None = None
    address: str = ""
    unfit: int = 0

    @property
    def wish(self) -> Wish:
        return Wish.PART if self.parting else Wish.HOLD if self.paused else Wish.END if self.early else Wish.GO_ON


class Lane:
    """A slot's pipe. waiting: whether something may be in it. killed: its process will end, whatever it does. family:
    that of the operator that its process ran last. steered: what its process was told last is wanted of which attempt.
    """

    __slots__ = (
        "counted",
        "family",
        "full",
        "given",
        "killed",
        "number",
        "paused",
        "pid",
        "since",
        "steered",
        "waiting",
    )

    def __init__(self, number: int, pid: int) -> None:
        self.number = number
        self.pid = pid
        self.given: deque[Attempt] = deque()
        self.since = 0.0  # when the first of the given began
        self.counted = 0.0  # since when its time counts
        self.waiting = False
        self.full = False
        self.paused = False
        self.killed = False
        self.family = ""
        self.steered = UNSTEERED

    def end_first(self, actions: list[Action]) -> Attempt:
        """What ran is over, and what it said too much of."""
        attempt = self.given.popleft()
        attempt.lane, attempt.begun, attempt.holding = None, True, None
        self.family = attempt.order.work.family
        self.full = False
        if self.paused:
            self.paused = False
            actions.append(Resume(self.number))
        return attempt

    @property
    def open(self) -> bool:
        """Whether it should be given more."""
        return not (self.full or self.paused or self.killed or (self.given and self.given[0].stopping is not None))


class Lanes:
    """All of a worker's slots that are there, and the attempts that may go to any of them. hold: seconds for which one
    that is paused holds its slot."""

    def __init__(self, hold: float) -> None:
        self.hold = hold
        self.ready: deque[Attempt] = deque()
        self.by_slot: dict[int, Lane] = {}
        self.deadline = math.inf
        """When something that runs may have run, or held its slot, too long, at the earliest."""
        self._asked: set[int] = set()  # slots whose orders are on their way back

    @property
    def dry(self) -> bool:
        """Whether no slot has anything to do."""
        return not self.ready and not any(lane.given for lane in self.by_slot.values())

    def begin(self, lane: Lane, now: float) -> None:
        """What is first in a pipe begins."""
        lane.since = lane.counted = now
        self._look_at(lane)

    def saved(self, lane: Lane, now: float) -> None:
        """What a slot runs has something to show for its time, which begins anew."""
        lane.counted = now

    def hold_place(self, lane: Lane, now: float) -> None:
        """What a slot runs has paused: from here on its time stands still."""
        lane.given[0].holding = now
        self._look_at(lane)

    def go_on(self, lane: Lane, now: float) -> None:
        """What a slot runs goes on, if it had paused."""
        first = lane.given[0]
        if first.holding is not None:
            lane.since += now - first.holding
            lane.counted += now - first.holding
            first.holding = None
        self._look_at(lane)

    def late(self, now: float) -> list[Attempt]:
        """What has run, or held its slot, longer than it may; from here on `deadline` is that of the rest."""
        late, self.deadline = [], math.inf
        for lane in self.by_slot.values():
            due = _due(lane, self.hold)
            if due <= now:
                late.append(lane.given[0])
            else:
                self.deadline = min(self.deadline, due)
        return late

    def _look_at(self, lane: Lane) -> None:
        self.deadline = min(self.deadline, _due(lane, self.hold))

    def steer(self, lane: Lane) -> list[Action]:
        """Has a slot know what is wanted of what it runs, where that has changed."""
        first = lane.given[0] if lane.given else None
        if first is None or lane.killed or lane.number in self._asked:
            return []  # what is still in the pipe is not what runs; once it is known what is, there is another look
        wanted = (first.order.token, first.wish, first.saves)
        if wanted == lane.steered or (lane.steered[0] != wanted[0] and not (first.wish or first.saves)):
            return []
        lane.steered = wanted
        return [Steer(lane.number, *wanted)]

    def take_back(self, lanes: Iterable[Lane]) -> list[Action]:
        """Asks for what is in these pipes, where something may be and it was not asked for already."""
        actions: list[Action] = []
        for lane in lanes:
            if lane.number not in self._asked:
                self._asked.add(lane.number)
                actions.append(TakeBack(lane.number))
        return actions

    def came_back(self, lane: Lane, count: int) -> list[Attempt]:
        """The last orders of a pipe were taken out of it and have not begun, the last first; it is empty now."""
        self._asked.discard(lane.number)
        lane.waiting = lane.full = False
        return self.unplace(lane, count)

    def unplace(self, lane: Lane, count: int) -> list[Attempt]:
        """The last of what a slot was given is not in its pipe; the last comes first."""
        back = [lane.given.pop() for _ in range(count)]
        for attempt in back:
            attempt.phase, attempt.lane, attempt.told_start = Phase.WAITING, None, False
        return back

    def spread(self, now: float) -> list[Action]:
        """Gives what is ready to whoever has least; where one has nothing, takes back what waits behind another."""
        lanes = [lane for lane in self.by_slot.values() if lane.number not in self._asked and lane.open]
        actions: list[Action] = []
        if self.ready:
            actions += self._give([lane for lane in lanes if len(lane.given) <= DEPTH // 2], now)
        if not self.ready and not all(lane.given for lane in lanes):
            others = [lane for lane in self.by_slot.values() if lane.waiting and len(lane.given) > 1]
            actions += self.take_back([max(others, key=lambda lane: len(lane.given))] if others else [])
        return actions

    def give_first(self, number: int, now: float) -> list[Action]:
        """Gives a slot that has nothing what is first of the ready."""
        return self._give([self.by_slot[number]], now, 1)

    def press(self, lane: Lane) -> list[Action]:
        """Ends the process of a slot whose attempt is to be stopped, once it can have begun no other."""
        if lane.killed or not lane.given or lane.given[0].stopping is None:
            return []
        if lane.waiting:
            return self.take_back([lane])
        if len(lane.given) > 1:  # what was to be stopped has ended already, or it would be alone
            return []
        lane.killed = True
        return [Kill(lane.number)]

    def _give(self, lanes: list[Lane], now: float, most: int = sys.maxsize) -> list[Action]:
        shares: dict[int, list[Order]] = {}
        wanted: list[Lane] = []
        least = [(len(lane.given), lane.number) for lane in lanes]
        heapq.heapify(least)
        for _ in range(min(most, len(self.ready))):
            if not least or least[0][0] >= DEPTH:
                break
            size, number = least[0]
            attempt = self.ready.popleft()
            if size == 0 and len(least) > 1:
                self._prefer(least, attempt.order.work.family)
                number = least[0][1]
            lane = self.by_slot[number]
            attempt.phase, attempt.lane = Phase.GIVEN, lane
            lane.given.append(attempt)
            lane.waiting = True
            if size == 0:
                self.begin(lane, now)
                if attempt.wish or attempt.saves:  # it was asked of it before another slot gave it back
                    wanted.append(lane)
            shares.setdefault(number, []).append(attempt.order)
            heapq.heapreplace(least, (size + 1, number))
        actions: list[Action] = [Give(number, orders) for number, orders in shares.items()]
        for lane in wanted:
            actions += self.steer(lane)
        return actions

    def _prefer(self, least: list[tuple[int, int]], family: str) -> None:
        """Of slots that have nothing, puts one first that ran such a task last: its process has what that loads."""
        alike = (at for at, (size, number) in enumerate(least) if size == 0 and self.by_slot[number].family == family)
        at = next(alike, 0)
        least[0], least[at] = least[at], least[0]  # all that have nothing are equals in the heap


def _due(lane: Lane, hold: float) -> float:
    """When what a slot runs has run, or held the slot, for too long."""
    first = lane.given[0] if lane.given else None
    if first is None or first.stopping is not None or first.parting:
        return math.inf
    if first.holding is not None:
        return first.holding + hold
    if first.follows:
        return math.inf
    return lane.counted + first.order.work.timeout if first.order.work.timeout else math.inf
