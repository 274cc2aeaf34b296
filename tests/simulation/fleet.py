"""The core with a journal and clocks that a test holds in its hands: no event loop, no sockets, no time of its own.

The rule: each step is checked against the core's invariants, and told in `story`, which a failing test prints.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from orchestrator.core import events as e
from orchestrator.core import records as r
from orchestrator.core.apply import apply
from orchestrator.core.commands import Assign, Command, LookUp
from orchestrator.core.decide import Step, step
from orchestrator.core.decision import Decision
from orchestrator.core.entries import decode, encode
from orchestrator.core.invariants import check
from orchestrator.core.snapshot import capture, restore
from orchestrator.core.state import Attempt, Job, Now, OpenStage, Settings, State
from orchestrator.core.values import WorkerInfo
from tensorfleet.errors import TensorFleetError
from tensorfleet.keys import task_key
from tensorfleet.model import Cause, JobKind, JobSpec, Ref, Resolved, Resources, Task, TaskResult
from tests.simulation.plans import result_of

C = TypeVar("C", bound=Command)
WALL = 1_700_000_000.0


def spec(*stages: tuple[str, int], **rest: Any) -> JobSpec:
    """A job of these stages; `recipe` and other odd names are hyperparameters of the fake plan."""
    own = {
        name: rest.pop(name)
        for name in ("impure", "broken", "recipe", "lets_go", "gangs", "pure_gangs", "rounds")
        if name in rest
    }
    listed = [[name, count] for name, count in stages or (("fit", 1),)]
    return JobSpec(kind=JobKind.TRAIN, algorithm="random_forest", hyperparameters={"stages": listed, **own}, **rest)


def info(name: str, *, incarnation: str = "a", slots: int = 1, credit: int = 0, **has: Any) -> WorkerInfo:
    """A worker; what is not named here it has of resources."""
    fingerprint, capabilities = has.pop("fingerprint", "cpu"), has.pop("capabilities", ())
    room = Resources(**{"cpus": 8, "memory": 64, **has})
    return WorkerInfo(
        id=name,
        incarnation=incarnation,
        slots=slots,
        credit=max(credit, slots),
        resources=room,
        capabilities=capabilities,
        fingerprint=fingerprint,
    )


class Fleet:
    """One orchestrator's core. `known`: results by key, which look-ups are answered from; None leaves them open."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.state = State(settings=self.settings)
        self.mono = 1000.0
        self.wall = WALL
        self.journal: list[bytes] = []
        self.story: deque[object] = deque(maxlen=3000)
        self.careful = True
        self.watcher: Callable[[e.Event, Decision], None] = lambda event, decision: None
        self.known: dict[str, TaskResult] | None = {}
        self.sessions = 0
        self.tickets = 0
        self.replies: dict[int, Any] = {}
        self.begin_term()

    @property
    def now(self) -> Now:
        return Now(self.mono, self.wall)

    def begin_term(self) -> Step:
        began = r.TermBegan(self.state.term + 1, "test", self.wall)
        self.journal.append(encode([began]))
        apply(self.state, began, self.mono)
        self.story.append(f"-- term {began.term}")
        return self.tell(e.Tick(), *(e.Advance(job) for job in self.state.active))

    def tell(self, *events: e.Event) -> Step:
        """Decides a batch, journals it, checks the state and answers look-ups. Returns what was said, answers last."""
        done = step(self.state, events, self.now, self._seen)
        if self.careful:
            check(self.state)
        durable = [record for record in done.records if record.durable]
        if durable:
            self.journal.append(encode(durable))
        for answer in done.replies:
            self.replies[answer.ticket] = answer.value
        answers = [answer for command in done.commands if (answer := self._answer(command)) is not None]
        if answers:
            more = self.tell(*answers)
            return Step(done.records + more.records, done.commands + more.commands, done.replies + more.replies)
        return done

    def _seen(self, event: e.Event, decision: Decision) -> None:
        if decision.records or decision.commands or decision.replies or not isinstance(event, e.Place):
            self.story.append((self.mono, event, decision))
        self.watcher(event, decision)

    def tale(self) -> str:
        """The story so far, for whoever must find out what went wrong."""
        return "\n".join(line for chapter in self.story for line in _lines(chapter))

    def _answer(self, command: Command) -> e.KnownResults | None:
        if not isinstance(command, LookUp) or self.known is None:
            return None
        found = {index: self.known[key] for index, key in command.keys.items() if key in self.known}
        return e.KnownResults(command.job, command.stage, command.upto, found, command.keys)

    # --- callers

    def ask(self, make: Any, *args: Any) -> Any:
        """A caller's request; its answer, or the error it was refused with."""
        self.tickets += 1
        self.tell(make(self.tickets, *args))
        return self.replies.pop(self.tickets)

    def submit(self, job: str, what: JobSpec, request_id: str = "", requires: tuple[str, ...] = ()) -> Any:
        resolved = Resolved(requires=requires)
        return self.ask(e.SubmitJobs, (e.Submission(job, request_id, what, resolved),))[0]

    def retry(self, job: str, what: JobSpec) -> Any:
        return self.ask(e.RetryJob, e.Submission(job, "", what, Resolved()))

    def cancel(self, job: str, reason: str = "") -> Any:
        return self.ask(e.CancelJob, job, reason)

    def pause(self, job: str) -> Any:
        return self.ask(e.PauseJob, job)

    def resume(self, job: str) -> Any:
        return self.ask(e.ResumeJob, job)

    def checkpoint(self, job: str) -> Any:
        return self.ask(e.CheckpointJob, job)

    def stop(self, job: str) -> Any:
        return self.ask(e.StopJob, job)

    def submit_unanswered(self, job: str, what: JobSpec) -> LookUp:
        """Submits, with the look-up that follows left open."""
        known, self.known = self.known, None
        done = self.tell(e.SubmitJobs(0, (e.Submission(job, "", what, Resolved()),)))
        self.known = known
        (asked,) = said(done, LookUp)
        return asked

    # --- workers

    def join(self, about: WorkerInfo, *, cached: tuple[str, ...] = (), **told: Any) -> Step:
        """A hello. told: `held` (token -> has begun) and `finished`."""
        self.sessions += 1
        held, finished = told.get("held", {}), told.get("finished", ())
        return self.tell(e.OpenSession(self.sessions, about, 1, 1, held, finished, cached))

    def session(self, worker: str) -> int:
        return self.state.workers[worker].session

    def begin(self, token: int) -> Step:
        worker = self.state.attempts[token].worker
        return self.tell(e.Began(worker, self.session(worker), token, 77))

    def finish(self, token: int, *, salt: str = "", last_report: int = 0, duration: float = 1.0) -> Step:
        """The attempt succeeds."""
        attempt = self.state.attempts[token]
        made = result_of(self.task(attempt), salt)
        return self.tell(self.finished(attempt.worker, token, made, last_report=last_report, duration=duration))

    def save(self, token: int, ref: Ref) -> Step:
        """The attempt saves, and goes on."""
        worker = self.state.attempts[token].worker
        return self.tell(e.Saved(worker, self.session(worker), token, ref))

    def give_up(self, token: int, ref: Ref | None = None) -> Step:
        """The attempt, which is paused, gives up its place."""
        worker = self.state.attempts[token].worker
        return self.tell(self.finished(worker, token, TaskResult(), gave_up=True, saved=ref))

    def fail(self, token: int, cause: Cause = Cause.EXCEPTION, *, started: bool = True) -> Step:
        worker = self.state.attempts[token].worker
        return self.tell(self.finished(worker, token, TaskResult(), cause=cause, started=started))

    def finished(self, worker: str, token: int, result: TaskResult, **rest: Any) -> e.Finished:
        return e.Finished(
            worker=worker,
            session=rest.get("session", self.session(worker)),
            token=token,
            result=result,
            cause=rest.get("cause"),
            reason=str(rest.get("cause") or ""),
            message="it broke" if rest.get("cause") else "",
            log_tail=(),
            duration=rest.get("duration", 1.0),
            last_report=rest.get("last_report", 0),
            started=rest.get("started", True),
            gave_up=rest.get("gave_up", False),
            saved=rest.get("saved"),
        )

    def meet(self, token: int, address: str = "") -> Step:
        """A member of a gang waits for the others."""
        worker = self.state.attempts[token].worker
        return self.tell(e.GangReady(worker, self.session(worker), token, address or f"{worker}:{token % 1000}"))

    def beat(
        self,
        worker: str,
        running: Mapping[int, int] | None = None,
        cached: tuple[str, ...] = (),
        unfit: str = "",
    ) -> Step:
        return self.tell(e.Heartbeat(worker, self.session(worker), running or {}, 0.5, 10, cached, unfit))

    def lose(self, worker: str) -> Step:
        return self.tell(e.SessionLost(worker, self.session(worker)))

    # --- time

    def sleep(self, seconds: float, *, beating: tuple[str, ...] = ()) -> list[Command]:
        """Time goes by as it does for an orchestrator that is awake: ticks when due, heartbeats of those named."""
        said: list[Command] = []
        end = self.mono + seconds
        while self.mono < end:
            self.pass_time(min(1.0, end - self.mono))
            for worker in beating:
                said.extend(self.beat(worker).commands)
            said.extend(self.tell(e.Tick()).commands)
        return said

    def pass_time(self, seconds: float) -> None:
        """Both clocks go on, and nobody looks."""
        self.mono += seconds
        self.wall += seconds

    # --- the orchestrator's own life

    def restart(self, *, snapshot: bool = False, away: float = 0.0) -> None:
        """It dies, and another reads the journal, or a snapshot of its state, and begins a term."""
        self.recover((len(self.journal), capture(self.state)) if snapshot else None, away)

    def recover(self, snapshot: tuple[int, bytes] | None, away: float = 0.0) -> Step:
        """Another process reads back what is durable; its monotonic clock is another one."""
        self.pass_time(away)
        self.mono += 5000.0
        self.state = self.replayed(snapshot)
        return self.begin_term()

    def replayed(self, snapshot: tuple[int, bytes] | None = None) -> State:
        """The state as the journal has it, or a snapshot and the entries after it."""
        state, entries = State(settings=self.settings), self.journal
        if snapshot is not None:
            state, entries = restore(snapshot[1], self.settings, self.mono), self.journal[snapshot[0] :]
        for entry in entries:
            for record in decode(entry):
                apply(state, record, self.mono)
        return state

    # --- what there is

    def job(self, job: str) -> Job:
        return self.state.jobs[job]

    def stage(self, job: str) -> OpenStage:
        opened = self.state.jobs[job].open
        assert opened is not None, f"{job} has no open stage"
        return opened

    def task(self, attempt: Attempt) -> Task:
        return self.stage(attempt.job).stage.task(attempt.index)

    def tokens(self, job: str = "", *, worker: str = "") -> list[int]:
        """Live attempts, in the order they were assigned."""
        return [
            token
            for token, attempt in sorted(self.state.attempts.items())
            if job in ("", attempt.job) and worker in ("", attempt.worker)
        ]

    def where(self, job: str) -> dict[int, str]:
        """Which worker has which task of a job."""
        return {a.index: a.worker for a in map(self.state.attempts.__getitem__, self.tokens(job))}

    def run_all(self, *, limit: int = 10_000) -> None:
        """Finishes whatever is assigned, until nothing is."""
        for _ in range(limit):
            tokens = self.tokens()
            if not tokens:
                return
            self.finish(tokens[0])
        raise AssertionError("it does not end")

    def remember(self, job: str, upto: int | None = None) -> None:
        """The results of the open stage of a job are known from here on."""
        stage, fingerprint = self.stage(job).stage, self.job(job).fingerprint or ""
        assert self.known is not None
        for index in range(stage.count if upto is None else upto):
            self.known[task_key(stage.task(index), fingerprint)] = result_of(stage.task(index))


def _lines(chapter: object) -> Iterator[str]:
    if not isinstance(chapter, tuple):
        yield str(chapter)
        return
    mono, event, decision = chapter
    yield f"{mono:.1f} {event}"
    yield from (f"        {record}" for record in decision.records)
    yield from (f"        -> {command}" for command in decision.commands)
    yield from (f"        = {answer}" for answer in decision.replies)
    yield from ([f"        because {decision.reason}"] if decision.reason else [])


def said(done: Step, kind: type[C]) -> list[C]:
    return [command for command in done.commands if isinstance(command, kind)]


def assigned(done: Step) -> list[tuple[str, str, int]]:
    """(worker, job, index) of each assignment."""
    return [(command.worker, command.job, index) for command in said(done, Assign) for index in command.indexes]


def refused(answer: Any) -> TensorFleetError:
    assert isinstance(answer, TensorFleetError), answer
    return answer
