"""A worker as the orchestrator's messages make it, without processes: what it holds, what it has yet to say.

The rule: it says again, after each welcome, whatever was never acknowledged; and it keeps its slots to itself.
"""

from collections import deque
from dataclasses import dataclass, field

from orchestrator.core import commands as c
from orchestrator.core import events as e
from orchestrator.core.values import WorkerInfo
from tensorfleet.model import Cause, Point, Points, Ref, Task, TaskResult
from tests.simulation.plans import result_of

GAVE_UP = "gave up"


def saved_by(token: int, number: int) -> Ref:
    """What an attempt saves for the so-manieth time."""
    return Ref(f"{token:056x}{number:08x}", number)


@dataclass
class Held:
    """An attempt in the worker's hands. ending: set once it is over, until that is acknowledged. saves: how often it is
    to save yet. saved: how often it has. early: it is to end with what it has."""

    task: Task
    begun: bool = False
    number: int = 0
    unacked: list[int] = field(default_factory=list)
    ending: Cause | str = ""
    paused: bool = False
    saves: int = 0
    saved: int = 0
    early: bool = False

    @property
    def over(self) -> bool:
        return self.ending != ""


@dataclass
class Worker:
    info: WorkerInfo
    session: int = 0
    welcomed: bool = False
    draining: bool = False
    held: dict[int, Held] = field(default_factory=dict)
    inbox: deque[c.ToWorker] = field(default_factory=deque)
    outbox: list[e.Event] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    @property
    def name(self) -> str:
        return self.info.id

    def hello(self, session: int) -> e.OpenSession:
        self.session, self.welcomed = session, False
        self.inbox.clear()
        self.outbox.clear()
        ended = tuple(token for token, held in self.held.items() if held.over and not held.unacked)
        held = {token: held.begun for token, held in self.held.items() if token not in ended}
        return e.OpenSession(session, self.info, 1, 1, held, ended, ())

    def cut(self) -> list[e.Event]:
        """The stream is gone. Returns what was on its way."""
        late, self.outbox = self.outbox, []
        self.session, self.welcomed = 0, False
        self.inbox.clear()
        return late

    def crash(self, incarnation: str) -> list[e.Event]:
        late = self.cut()
        self.held.clear()
        self.draining = False
        self.info = WorkerInfo(
            id=self.info.id,
            incarnation=incarnation,
            slots=self.info.slots,
            credit=self.info.credit,
            resources=self.info.resources,
            fingerprint=self.info.fingerprint,
        )
        return late

    # --- what it is told

    def hear(self) -> None:
        """Takes in all that has arrived, in its order, then fills its slots."""
        while self.inbox:
            command = self.inbox.popleft()
            match command:
                case c.Welcome():
                    self._welcome(command)
                case c.Assign():
                    self._assign(command)
                case c.Cancel(tokens=tokens):
                    for token in tokens:
                        self.end(token, Cause.CANCELLED)
                case c.Recall(tokens=tokens):
                    for token in tokens:
                        self._recall(token)
                case c.Roster(token=token, place=place, addresses=addresses) if token in self.held:
                    assert addresses[place] == self._address(token), f"{token} is not where {addresses} say"
                    assert len(set(addresses)) == len(addresses), f"{addresses}: two have one slot"
                case c.Pause(tokens=tokens):
                    for token in tokens:
                        self._pause(token)
                case c.Resume(tokens=tokens):
                    for token in tokens:
                        if token in self.held:
                            self.held[token].paused = False
                case c.Checkpoint(tokens=tokens):
                    for token in tokens:
                        if token in self.held:
                            self.held[token].saves += 1
                case c.EndEarly(tokens=tokens):
                    for token in tokens:
                        if token in self.held:
                            self.held[token].early = True
                case c.Drain() if not self.draining:
                    self.draining = True
                    self._leave()
                case c.AckReport(token=token, number=number) if token in self.held:
                    unacked = self.held[token].unacked
                    self.held[token].unacked = [later for later in unacked if later > number]
                case c.AckFinished(tokens=tokens):
                    for token in tokens:
                        if token in self.held and self.held[token].over:
                            del self.held[token]
                case c.Goodbye():
                    self.cut()
        self._begin()

    def _welcome(self, command: c.Welcome) -> None:
        self.welcomed = True
        for token in command.stop:
            self.held.pop(token, None)
        if self.draining:
            self._leave()
        for token, held in list(self.held.items()):
            held.paused = False
            if token in command.paused:
                self._pause(token)
        for token, held in self.held.items():
            if held.begun:
                self.outbox.append(e.Began(self.name, self.session, token, 77))
            if held.saved and not held.over:
                self.outbox.append(e.Saved(self.name, self.session, token, saved_by(token, held.saved)))
            self.outbox.extend(self._report(token, number) for number in held.unacked)
            if held.over:
                self._say_end(token, held)

    def _leave(self) -> None:
        self.outbox.append(e.Leaving(self.name, self.session, "drained"))

    def _assign(self, command: c.Assign) -> None:
        for token, task in enumerate(command.tasks, command.token):
            assert token not in self.seen, f"{self.name} was given {token} twice"
            self.seen.add(token)
            if self.draining:
                self.outbox.append(e.Released(self.name, self.session, token))
            else:
                self.held[token] = Held(task)
        mine = sum(not held.over for held in self.held.values())
        assert mine <= self.info.credit, f"{self.name} was given {mine} attempts, and has room for {self.info.credit}"

    def _recall(self, token: int) -> None:
        held = self.held.get(token)
        if held is not None and not held.begun and not held.over:
            del self.held[token]
            self.outbox.append(e.Released(self.name, self.session, token))

    def _pause(self, token: int) -> None:
        self._recall(token)
        if token in self.held:
            self.held[token].paused = True

    # --- what it does

    def running(self) -> list[int]:
        return [token for token, held in self.held.items() if held.begun and not held.over]

    def _begin(self) -> None:
        for token, held in self.held.items():
            if len(self.running()) >= self.info.slots:
                return
            if not held.begun and not held.over and self.welcomed:
                held.begun = True
                self.outbox.append(e.Began(self.name, self.session, token, 77))

    def meet(self, token: int) -> None:
        """A task that may be a member of a gang waits for the others."""
        if self.welcomed:
            self.outbox.append(e.GangReady(self.name, self.session, token, self._address(token)))

    def _address(self, token: int) -> str:
        return f"{self.name}:{token}"

    def report(self, token: int) -> None:
        held = self.held[token]
        held.number += 1
        held.unacked.append(held.number)
        if self.welcomed:
            self.outbox.append(self._report(token, held.number))

    def _report(self, token: int, number: int) -> e.Report:
        return e.Report(self.name, self.session, token, number, Points.of([Point("loss", number, 1.0 / number)]), ())

    def step(self, token: int, gives_up: bool) -> None:
        """A running attempt reaches the end of a step, and does what is wanted of it."""
        held = self.held[token]
        if held.saves:
            held.saves -= 1
            held.saved += 1
            if self.welcomed:
                self.outbox.append(e.Saved(self.name, self.session, token, saved_by(token, held.saved)))
        elif held.paused and gives_up:
            held.saved += 1
            self.end(token, GAVE_UP)
        elif held.early and not held.task.pure:
            self.end(token)

    def end(self, token: int, ending: Cause | str = "done") -> None:
        held = self.held.get(token)
        if held is None or held.over:
            return
        held.ending = ending
        if self.welcomed:
            self._say_end(token, held)
        self._begin()

    def _say_end(self, token: int, held: Held) -> None:
        self.outbox.append(self.finished(token, held))

    def finished(self, token: int, held: Held) -> e.Finished:
        cause = held.ending if isinstance(held.ending, Cause) else None
        return e.Finished(
            worker=self.name,
            session=self.session,
            token=token,
            result=result_of(held.task) if cause is None and held.ending != GAVE_UP else TaskResult(),
            cause=cause,
            reason=str(cause or ""),
            message="it broke" if cause else "",
            log_tail=(),
            duration=0.1,
            last_report=held.number,
            started=held.begun,
            gave_up=held.ending == GAVE_UP,
            saved=saved_by(token, held.saved) if held.ending == GAVE_UP else None,
        )

    def beat(self) -> None:
        if self.welcomed:
            running = dict.fromkeys(self.running(), 77)
            self.outbox.append(e.Heartbeat(self.name, self.session, running, 0.5, 10, ()))
