"""What a worker holds and what it still has to say: pure, driven by events, with no clock and no sockets.

The rule: an event changes the state and returns actions; what is to be said is collected when the stream can take it,
and kept until the orchestrator says that it is durable. After a lost stream everything unacknowledged is said again,
in order, and an attempt's end is never said before its reports.
"""

from collections.abc import Iterable, Mapping

from tensorfleet.model import Cause, Points
from worker import disk
from worker.actions import Action, Forget, Keep, Leave, LookAtDisk, Tell
from worker.fetches import Fetches
from worker.lanes import UNSTEERED, Attempt, Lane, Lanes, Phase
from worker.messages import ENDS, Blob, Died, Ending, FromSlot, Holding, Lines, Measured, Members, Order, Ready, Saved
from worker.outbox import MAX_UNACKED, Batch, Holdings, Outbox
from worker.outcomes import Outcomes

HOLD = 30.0
"""Seconds for which an attempt that is paused holds its slot, before it saves and gives it up."""


class State:
    """A worker's attempts. Methods are events; each returns the actions that follow.

    now: seconds of a clock that only goes forward, where an attempt may begin by the event.
    """

    def __init__(self, slots: int, max_unacked: int = MAX_UNACKED, hold: float = HOLD) -> None:
        self.attempts: dict[int, Attempt] = {}
        self.lanes = Lanes(hold)
        self.connected = False
        self.draining = False
        self.left = False
        self.unfit = ""
        """What keeps the machine from taking work for now."""
        self.fitness_told = True
        self._fetches = Fetches(slots)
        self._outbox = Outbox(max_unacked)
        self._outcomes = Outcomes(self._outbox)

    # --- the orchestrator speaks

    def welcome(self, stop: Iterable[int], now: float, paused: Iterable[int] = ()) -> list[Action]:
        """A session is up. What it says to stop is dropped without a word; all that is unacknowledged is said again.

        paused: of what is held, what is to be; the rest is to go on.
        """
        self.connected = True
        actions = self._stop(stop, Cause.CANCELLED, "no longer wanted", drop=True)
        self._outbox.begin_session(self.attempts.values())
        to_pause = set(paused)
        actions += self.resume([token for token, held in self.attempts.items() if token not in to_pause], now)
        return actions + self.pause(to_pause, now)

    def stream_lost(self) -> list[Action]:
        """The session is over; nothing can be said until the next welcome."""
        self.connected = False
        self._outbox.lose_session()
        return []

    def assign(self, orders: Iterable[Order], now: float) -> list[Action]:
        """Work comes. One that is held already is not taken twice; one that comes while draining or unfit is given
        back."""
        refused = self.draining or bool(self.unfit)
        attempts, ready, lacking = self.attempts, self.lanes.ready, self._fetches.lacking
        for order in orders:
            if order.token in attempts:
                continue
            if refused:
                self._outbox.release(order.token)
                continue
            attempts[order.token] = attempt = Attempt(order)
            (lacking if order.work.brought else ready).append(attempt)
        return self._advance(now)

    def cancel(self, tokens: Iterable[int], reason: str, now: float) -> list[Action]:
        """Stops attempts; each still says that it ended, so that the orchestrator knows the slot is free."""
        return self._stop(tokens, Cause.CANCELLED, reason) + self._advance(now)

    def recall(self, tokens: Iterable[int], now: float) -> list[Action]:
        """Gives back what has not begun. What has begun goes on, and its start has been or will be said."""
        actions: list[Action] = []
        lanes: dict[int, Lane] = {}
        for token in tokens:
            attempt = self.attempts.get(token)
            if attempt is None or attempt.stopping is not None:
                continue
            if attempt.phase is Phase.WAITING:
                actions += self._give_back(attempt)
            elif attempt.lane is not None:
                attempt.recalled = True
                lanes[attempt.lane.number] = attempt.lane
        self._purge()
        return actions + self.lanes.take_back(lanes.values()) + self._advance(now)

    def pause(self, tokens: Iterable[int], now: float) -> list[Action]:
        """Gives back what has not begun, and has pause what runs."""
        wanted = list(tokens)
        for token in wanted:
            attempt = self.attempts.get(token)
            if attempt is not None and attempt.lane is not None:
                attempt.paused = True
        return self.recall(wanted, now)

    def resume(self, tokens: Iterable[int], now: float) -> list[Action]:
        """Has go on what was paused; one that has given up its place meanwhile says so, and is of no more use."""
        actions: list[Action] = []
        for token in tokens:
            attempt = self.attempts.get(token)
            if attempt is None or not attempt.paused:
                continue
            attempt.paused = attempt.parting = attempt.recalled = False
            if attempt.lane is not None and attempt.lane.given[0] is attempt:
                self.lanes.go_on(attempt.lane, now)
                actions += self.lanes.steer(attempt.lane)
        return actions + self._advance(now)

    def checkpoint(self, tokens: Iterable[int]) -> list[Action]:
        """Has save, at their next steps, those that run."""
        actions: list[Action] = []
        for token in tokens:
            attempt = self.attempts.get(token)
            if attempt is not None and attempt.lane is not None and attempt.lane.given[0] is attempt:
                attempt.saves += 1
                actions += self.lanes.steer(attempt.lane)
        return actions

    def end_early(self, tokens: Iterable[int]) -> list[Action]:
        """Has end, at their next steps, those of them whose task can."""
        actions: list[Action] = []
        for token in tokens:
            attempt = self.attempts.get(token)
            if attempt is None:
                continue
            attempt.early = True
            if attempt.lane is not None and attempt.lane.given[0] is attempt:
                actions += self.lanes.steer(attempt.lane)
        return actions

    def roster(self, token: int, members: Members) -> list[Action]:
        """The members of a gang, for one that waits for them."""
        attempt = self.attempts.get(token)
        if attempt is None or attempt.lane is None or not attempt.address:
            return []
        attempt.address, attempt.follows = "", members.place > 0
        return [Tell(attempt.lane.number, members)]

    def drain(self, reason: str) -> list[Action]:
        """Takes no more work; leaves when what is held has ended and is acknowledged."""
        self.draining = True
        self._outbox.leave(reason or "drained")
        return self._leave()

    def ack(self, finished: Iterable[int], reports: Mapping[int, int], now: float) -> list[Action]:
        """Forgets what is durable."""
        actions: list[Action] = []
        attempts, durable = self.attempts, []
        for token, number in reports.items():
            attempt = attempts.get(token)
            if attempt is not None:
                self._outbox.ack(attempt, number, actions)
        for token in finished:
            attempt = attempts.get(token)
            if attempt is not None and attempt.phase is Phase.ENDED:
                durable.append(attempt)
                del attempts[token]
        self._outbox.durable(durable)
        return actions + self._advance(now) if actions or self.draining else actions

    # --- the machine speaks

    def fit(self, unfit: str, now: float) -> list[Action]:
        """Why no work can be taken for now; empty where it can. What has not begun is given back."""
        if bool(unfit) != bool(self.unfit):
            self.fitness_told = False
            self._outbox.hurry()
        self.unfit = unfit
        return self.recall(list(self.attempts), now) if unfit else []

    def slot_came(self, number: int, pid: int, now: float) -> list[Action]:
        """There is a slot, with an empty pipe."""
        self.lanes.by_slot[number] = Lane(number, pid)
        attempt = self._outcomes.left(number)
        if attempt is not None:
            self.lanes.ready.appendleft(attempt)
            return self.lanes.give_first(number, now) + self._advance(now)
        return self._advance(now)

    def slot_has(self, number: int, pid: int) -> list[Action]:
        """A slot has another process, or for now none: 0."""
        lane = self.lanes.by_slot[number]
        lane.pid = pid
        if not pid:
            lane.family, lane.steered = "", UNSTEERED
        return []

    def slot_said(self, number: int, messages: Iterable[FromSlot], now: float) -> list[Action]:
        """What a slot's process said, in order: each is about what was first in its pipe by then."""
        lane = self.lanes.by_slot[number]
        actions: list[Action] = []
        ended = False
        for message in messages:
            if not lane.given:
                break
            if isinstance(message, Measured):
                self._outbox.report(lane, message.points, (), actions)
            elif isinstance(message, Lines):
                self._outbox.report(lane, Points(), message.lines, actions)
            elif isinstance(message, ENDS):
                ended = True
                self._outcomes.heard(lane, message, actions)
            else:
                self._heard(lane, message, actions, now)
        if ended:
            self.lanes.begin(lane, now)
        elif not actions:
            return []
        return actions + self.lanes.press(lane) + self.lanes.steer(lane) + self._advance(now)

    def kept(self, token: int, blob: Blob) -> list[Action]:
        """What a running attempt saved is where it belongs."""
        attempt = self.attempts.get(token)
        if attempt is not None and attempt.phase is Phase.GIVEN:
            attempt.saved = blob
            self._outbox.save(attempt)
        return []

    def slot_full(self, number: int, count: int, now: float) -> list[Action]:
        """The last orders that a slot was given found no room in its pipe."""
        lane = self.lanes.by_slot[number]
        self.lanes.ready.extendleft(self.lanes.unplace(lane, count))
        lane.full = True
        return self._advance(now)

    def came_back(self, number: int, count: int, now: float) -> list[Action]:
        """So many orders were still in a slot's pipe: its last, which have not begun. What was not among them has."""
        lane = self.lanes.by_slot[number]
        actions = self._came_back(lane, count)
        return actions + self.lanes.press(lane) + self.lanes.steer(lane) + self._advance(now)

    def slot_gone(self, number: int, waiting: int, died: Died, now: float) -> list[Action]:
        """A slot's process ended, and with it what it had begun and not ended. waiting: how many were still in its
        pipe; these go to others."""
        lane = self.lanes.by_slot.pop(number)
        actions = self._came_back(lane, waiting)
        while lane.given:
            seconds = now - lane.since
            self._outcomes.failed(lane.end_first(actions), died, seconds, actions)
        return actions + self._advance(now)

    def fetched(self, token: int, now: float) -> list[Action]:
        """An attempt's inputs are here."""
        self._fetches.asked.discard(token)
        attempt = self.attempts.get(token)
        if attempt is not None and attempt.phase is Phase.WAITING:
            self.lanes.ready.append(attempt)
        return self._advance(now)

    def ended(self, token: int, ending: Ending, now: float) -> list[Action]:
        """An attempt's outputs are where they belong; or else they, or its inputs, could not be moved."""
        self._fetches.asked.discard(token)
        attempt = self.attempts.get(token)
        if attempt is None or attempt.phase is Phase.ENDED:
            return self._advance(now)
        self._outcomes.end(attempt, ending)
        looks: list[Action] = [LookAtDisk()] if ending.reason == disk.REASON else []
        return [Forget(token), *looks, *self._advance(now)]

    def tick(self, now: float) -> list[Action]:
        """The lanes' deadline has come: stops what has run longer than it may, and takes the slot of what held it for
        long."""
        actions: list[Action] = []
        for attempt in self.lanes.late(now):
            order = attempt.order
            if attempt.holding is not None and attempt.lane is not None:
                attempt.parting = True
                actions += self.lanes.steer(attempt.lane)
                continue
            message = f"the task ran longer than its {order.work.timeout:g} seconds since it began or last saved"
            actions += self._stop([order.token], Cause.TIMEOUT, message)
        return actions + self._advance(now)

    def leave_now(self, reason: str, now: float) -> list[Action]:
        """The worker was told to go: what has not begun is given back, what runs ends, and its tasks go elsewhere."""
        self.draining = True
        self._outbox.leave(reason)
        actions = self.recall(list(self.attempts), now)
        return actions + self._stop(list(self.attempts), None, reason) + self._advance(now)

    # --- what is to be said

    @property
    def pressing(self) -> bool:
        """Whether what is to be said should not wait for company."""
        return self._outbox.pressing(self.lanes)

    def holdings(self) -> Holdings:
        """What a hello tells."""
        return self._outbox.holdings(self.attempts.values())

    def collect(self, starts: bool = True) -> Batch:
        """Takes what waits to be said. Empty while not connected. starts: whether to tell what has begun, too."""
        return self._outbox.collect(self.lanes, starts) if self.connected else Batch()

    def running(self) -> list[tuple[int, int]]:
        """Process and token of each slot; 0 where it is idle."""
        return [(lane.pid, lane.given[0].order.token if lane.given else 0) for lane in self.lanes.by_slot.values()]

    # --- within

    def _advance(self, now: float) -> list[Action]:
        """Gives slots what is ready, and has inputs brought; leaves when a drained worker holds nothing."""
        actions = self.lanes.spread(now)
        if self._fetches.lacking:
            self._fetches.ask(len(self.lanes.ready), actions)
        return actions + self._leave() if self.draining else actions

    def _leave(self) -> list[Action]:
        if self.left or self.attempts or any(lane.given for lane in self.lanes.by_slot.values()):
            return []
        self.left = True
        return [Leave(0)]

    def _heard(self, lane: Lane, message: Holding | Saved | Ready, actions: list[Action], now: float) -> None:
        """Something of what a slot runs, which goes on."""
        attempt = lane.given[0]
        match message:
            case Holding() if attempt.paused and attempt.holding is None:
                self.lanes.hold_place(lane, now)
            case Saved() if not attempt.dropped:
                self.lanes.saved(lane, now)
                actions.append(Keep(attempt.order.token, message))
            case Ready(address) if not attempt.dropped:
                attempt.address = address
                self._outbox.ready(attempt)

    def _stop(self, tokens: Iterable[int], cause: Cause | None, message: str, drop: bool = False) -> list[Action]:
        """Ends attempts before their time. cause: none where that is no fault of theirs. drop: nobody wants to hear of
        them any more."""
        actions: list[Action] = []
        lanes: dict[int, Lane] = {}
        for token in tokens:
            attempt = self.attempts.get(token)
            if attempt is None or not (drop or (attempt.stopping is None and attempt.phase is not Phase.ENDED)):
                continue
            attempt.stopping = attempt.stopping or (cause, message)
            if drop:
                attempt.dropped = True
                del self.attempts[token]
            if attempt.lane is not None:
                lanes[attempt.lane.number] = attempt.lane
            else:
                self._fetches.asked.discard(token)
                actions.append(self._outcomes.stopped(attempt))
        self._purge()
        return actions + self.lanes.take_back(lanes.values())

    def _came_back(self, lane: Lane, count: int) -> list[Action]:
        actions: list[Action] = []
        for attempt in self.lanes.came_back(lane, count):
            if attempt.recalled:
                actions += self._give_back(attempt)
            elif attempt.stopping is not None:
                actions.append(self._outcomes.stopped(attempt))
            else:
                self.lanes.ready.appendleft(attempt)
        return actions

    def _give_back(self, attempt: Attempt) -> list[Action]:
        """Gives an attempt back that has not begun."""
        token = attempt.order.token
        del self.attempts[token]
        self._fetches.asked.discard(token)
        attempt.phase = Phase.ENDED
        self._outbox.release(token)
        return [Forget(token)] if attempt.order.work.brought else []

    def _purge(self) -> None:
        """Lets go of what is waited for no more."""
        for queue in (self._fetches.lacking, self.lanes.ready):
            if any(attempt.phase is not Phase.WAITING for attempt in queue):
                kept = [attempt for attempt in queue if attempt.phase is Phase.WAITING]
                queue.clear()
                queue.extend(kept)
