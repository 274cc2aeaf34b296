"""The core alone, under messages no network would bring it, with what must hold checked after each step.

Here hypothesis shrinks a failure to the fewest steps; `test_world.py` has the whole system.

`TENSORFLEET_SIMULATE_EXAMPLES=2000 pytest tests/simulation` looks harder, each time elsewhere.
"""

import os
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.core import events as e
from orchestrator.core import records as r
from orchestrator.core.commands import Assign, Command, Inspect, LookUp, Reply, ToWorker, Welcome
from orchestrator.core.entries import decode
from orchestrator.core.invariants import check
from orchestrator.core.snapshot import Image, capture
from orchestrator.core.state import Settings, State
from tensorfleet.keys import task_key
from tensorfleet.model import Cause, JobSpec, JobState, Resolved, RetryPolicy, TaskResult
from tests.simulation.fleet import Fleet, info, spec
from tests.simulation.ledger import Ledger
from tests.simulation.plans import counted, plant
from tests.simulation.worker import Worker

EXAMPLES = int(os.environ.get("TENSORFLEET_SIMULATE_EXAMPLES", "0"))
NAMES = ("w1", "w2", "w3")
JOBS = ("j1", "j2", "j3")
FINGERPRINTS = ("cpu", "cpu", "other")
STEERING = (e.PauseJob, e.PauseJob, e.ResumeJob, e.ResumeJob, e.CheckpointJob, e.StopJob)
SMALL = Settings(lookup_window=4, remember_ended=2, remember_gone=1, deaths=3, straggler_floor=1.0, gather=2.0)
"""Limits that a short run can reach."""

FAILURES = [
    Cause.EXCEPTION,
    Cause.SIGNAL,
    Cause.OUT_OF_MEMORY,
    Cause.TIMEOUT,
    Cause.BAD_INPUT,
    Cause.LOST_WORKER,
    Cause.LOST_INPUT,
]

specs = st.builds(
    lambda counts, recipe, **rest: spec(*((f"s{at}", count) for at, count in enumerate(counts)), recipe=recipe, **rest),
    st.lists(st.sampled_from([0, 1, 2, 5, 8, 9]), min_size=1, max_size=4),
    recipe=st.sampled_from(["a", "b"]),
    impure=st.sampled_from([False, False, True]),
    lets_go=st.booleans(),
    gangs=st.sampled_from([{}, {}, {"s0": 1}, {"s1": 2}, {"s0": 2, "s1": 1}]),
    pure_gangs=st.booleans(),
    rounds=st.sampled_from([True, True, False]),
    workers=st.sampled_from([0, 0, 1, 2]),
    priority=st.integers(0, 1),
    submitter=st.sampled_from(["ann", "bob"]),
    deadline=st.sampled_from([None, None, None, None, 30.0]),
    retry=st.builds(RetryPolicy, max_attempts=st.integers(1, 4), backoff=st.sampled_from([0.0, 1.0, 4.0])),
    model_name=st.sampled_from(["", "m"]),
    allow_mixed_numerics=st.booleans(),
    ignore_known_results=st.booleans(),
)


def lasting(state: State) -> Any:
    """A snapshot's content, without what every start forgets: which backoffs have ended."""
    image = msgspec.to_builtins(msgspec.msgpack.decode(capture(state), type=Image), str_keys=True)
    for job in image["jobs"]:
        if job["open"]:
            del job["open"]["waiting"]
    return image


def whole(state: State) -> list[str]:
    """All that a message can change, as text."""
    workers = [(w.info, w.state, w.session, w.deadline, w.heard, w.held, w.draining) for w in state.workers.values()]
    return [str(lasting(state)), *map(str, workers), *map(str, state.attempts.values())]


class Scheduler(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        plant(self.patch)
        self.fleet = Fleet(SMALL)
        self.fleet.known = None
        self.ledger = Ledger(counted)
        self.workers: dict[str, Worker] = {}
        self.asked: list[LookUp] = []
        self.suspected: list[Inspect] = []
        self.known: dict[str, TaskResult] = {}
        self.let_go: set[str] = set()
        self.late: list[e.Event] = []
        self.lives = 0
        self.snapshot: tuple[int, bytes] | None = None
        self.wrecked = False

    # --- between the core and the world

    def tell(self, *events: e.Event) -> None:
        """Events become decisions, decisions durable, and only then is anything said."""
        self.wrecked = True
        entries = len(self.fleet.journal)
        try:
            done = self.fleet.tell(*events)
            for entry in self.fleet.journal[entries:]:
                for record in decode(entry):
                    self.ledger.keep(record)
                    self._remember(record)
            self._dispatch(done.commands)
        except Exception as error:
            raise AssertionError(f"{error!r}\n{self.fleet.tale()}") from error
        self.wrecked = False
        self.late.extend(event for event in events if isinstance(event, e.SessionEvent | e.KnownResults))

    def _remember(self, record: r.Record) -> None:
        if isinstance(record, r.TasksSucceeded):
            results = record.results or [TaskResult()] * len(record.tokens)
            self.known.update(zip(record.keys, results, strict=False))
            self.let_go.difference_update(record.keys)
        elif isinstance(record, r.StageOpened):
            self.let_go.update(key for released in record.released for key in released.keys if key in self.known)

    def _dispatch(self, commands: Iterable[Command | Reply]) -> None:
        for command in commands:
            if isinstance(command, LookUp):
                self.asked.append(command)
            elif isinstance(command, Inspect):
                self.suspected.append(command)
            elif isinstance(command, ToWorker):
                if isinstance(command, Welcome):
                    assert set(command.keep) <= self.ledger.tokens, "it keeps what nobody gave it"
                    assert not set(command.keep) - set(self.ledger.open), "it keeps what is over"
                if isinstance(command, Assign):
                    self._check_saved(command)
                worker = self.workers.get(command.worker)
                if worker is not None and worker.session == command.session:
                    worker.inbox.append(command)

    def _check_saved(self, assign: Assign) -> None:
        """Each task goes on from what was saved of it last; what a gang saves, its first member saves."""
        gangs: Any = self.ledger.specs[assign.job].hyperparameters.get("gangs", {})
        for index in assign.indexes:
            saver = 0 if assign.stage in gangs else index
            assert assign.saved.get(index) == self.ledger.saved_of(assign.job, assign.stage, saver)

    def _flush(self, worker: Worker) -> None:
        said, worker.outbox = worker.outbox, []
        if said:
            self.tell(*said)

    def _chosen(self, name: str) -> Worker | None:
        return self.workers.get(name)

    # --- jobs

    @initialize(what=specs, slots=st.integers(1, 3))
    def begin(self, what: JobSpec, slots: int) -> None:
        self.join_anew("w1", slots, 1)
        self.join_anew("w2", 2, 0)
        self.submit("j1", what)

    @rule(job=st.sampled_from(JOBS), what=specs)
    def submit(self, job: str, what: JobSpec) -> None:
        if job not in self.fleet.state.active:
            kind = e.RetryJob if job in self.ledger.lives else None
            submission = e.Submission(job, "", what, Resolved())
            self.tell(kind(0, submission) if kind else e.SubmitJobs(0, (submission,)))

    @rule(job=st.sampled_from(JOBS))
    def cancel(self, job: str) -> None:
        self.tell(e.CancelJob(0, job, ""))

    @precondition(lambda self: self.fleet.state.active)
    @rule(at=st.integers(0, 2), what=st.sampled_from(STEERING), before=st.booleans(), after=st.booleans())
    def steer(self, at: int, what: type[e.PauseJob], before: bool, after: bool) -> None:
        """A job is steered. before, after: whether all is heard that was said by then, and steps are taken."""
        if before:
            self._take_steps()
        active = list(self.fleet.state.active)
        if active:
            self.tell(what(0, active[at % len(active)]))
        if after:
            self._take_steps()

    @precondition(lambda self: any(job.state == JobState.PAUSED for job in self.fleet.state.jobs.values()))
    @rule(name=st.sampled_from(NAMES), restarts=st.booleans())
    def come_back_while_paused(self, name: str, restarts: bool) -> None:
        if restarts:
            self.restart(from_snapshot=False, fresh=False, away=0.0)
        self.connect(name)
        self._take_steps()

    def _take_steps(self) -> None:
        while self.asked:
            self.answer(0)
        for name in list(self.workers):
            self.hear(name)
            self.step(name, gives_up=False)

    @precondition(lambda self: self.asked)
    @rule(at=st.integers(0, 9))
    def answer(self, at: int) -> None:
        asked = self.asked.pop(at % len(self.asked))
        there = self.known.keys() if asked.let_go else self.known.keys() - self.let_go
        found = {index: self.known[key] for index, key in asked.keys.items() if key in there}
        gone = frozenset(index for index in found if asked.keys[index] in self.let_go)
        self.tell(e.KnownResults(asked.job, asked.stage, asked.upto, found, asked.keys, gone))

    @precondition(lambda self: self.suspected)
    @rule(at=st.integers(0, 9), lost=st.integers(0, 9))
    def look_at_inputs(self, at: int, lost: int) -> None:
        """One of them is lost, or all are whole."""
        suspected = self.suspected.pop(at % len(self.suspected))
        digests = [ref.digest for ref in suspected.refs][lost : lost + 1]
        self._lose(digests)
        self.tell(e.Inspected(suspected.job, tuple(digests)))

    @precondition(lambda self: self.known)
    @rule(at=st.integers(0, 50))
    def forget_results(self, at: int) -> None:
        """A collection lets go of some."""
        keys = tuple(self.known)[at % len(self.known) :]
        self.tell(e.ForgetResults(0, keys))
        for key in keys:
            del self.known[key]
        self.let_go.intersection_update(self.known)

    def _lose(self, digests: list[str]) -> None:
        """What consists of lost blobs is not known, unless they were let go of."""
        for key, result in list(self.known.items()):
            if key not in self.let_go and any(ref.digest in digests for ref in result.outputs):
                del self.known[key]

    # --- workers

    @rule(name=st.sampled_from(NAMES), slots=st.integers(1, 3), ahead=st.integers(0, 3))
    def join_anew(self, name: str, slots: int, ahead: int) -> None:
        """A machine is there for the first time, or its agent has crashed and is started again."""
        self.lives += 1
        worker = self.workers.get(name)
        if worker is None:
            about = info(name, slots=slots, credit=slots + ahead, fingerprint=FINGERPRINTS[NAMES.index(name)])
            worker = self.workers[name] = Worker(about)
        self.late.extend(worker.crash(f"life {self.lives}"))
        self.connect(name)

    @rule(name=st.sampled_from(NAMES))
    def connect(self, name: str) -> None:
        """A stream, its first or another; a former one may not be known to be gone."""
        if worker := self._chosen(name):
            self.late.extend(worker.cut())
            self.fleet.sessions += 1
            self.tell(worker.hello(self.fleet.sessions))

    @rule(name=st.sampled_from(NAMES), noticed=st.booleans())
    def break_stream(self, name: str, noticed: bool) -> None:
        if worker := self._chosen(name):
            session = worker.session
            self.late.extend(worker.cut())
            if noticed and session:
                self.tell(e.SessionLost(name, session))

    @rule(name=st.sampled_from(NAMES))
    def hear(self, name: str) -> None:
        if worker := self._chosen(name):
            try:
                worker.hear()
            except AssertionError as error:
                raise AssertionError(f"{error!r}\n{self.fleet.tale()}") from error

    @rule(name=st.sampled_from(NAMES))
    def speak(self, name: str) -> None:
        if worker := self._chosen(name):
            self._flush(worker)

    @rule(most=st.integers(0, 2), seconds=st.sampled_from([0.0, 0.5]))
    def a_good_moment(self, most: int, seconds: float) -> None:
        """All goes as it should for once."""
        self._go_on(most, seconds, "")

    @rule(slow=st.sampled_from(NAMES))
    def a_slow_machine(self, slow: str) -> None:
        """All goes as it should, but for what one machine has begun."""
        for _ in range(4):
            self._go_on(3, 1.0, slow)

    def _go_on(self, most: int, seconds: float, slow: str) -> None:
        while self.asked:
            self.answer(0)
        for name in list(self.workers):
            self.report(name)
            self.succeed(name, 0 if name == slow else most)
        self.time_passes(seconds, beating=True)

    @rule(name=st.sampled_from(NAMES), most=st.integers(1, 5))
    def succeed(self, name: str, most: int) -> None:
        """It hears, ends some of what runs, and says so."""
        self.hear(name)
        if worker := self._chosen(name):
            for token in worker.running()[:most]:
                worker.end(token)
            self._flush(worker)

    @rule(name=st.sampled_from(NAMES), gives_up=st.booleans())
    def step(self, name: str, gives_up: bool) -> None:
        """It hears, and what runs reaches the end of a step."""
        self.hear(name)
        if worker := self._chosen(name):
            for token in worker.running():
                worker.step(token, gives_up)
            self._flush(worker)

    @rule(name=st.sampled_from(NAMES), cause=st.sampled_from(FAILURES))
    def fail(self, name: str, cause: Cause) -> None:
        self.hear(name)
        if (worker := self._chosen(name)) and worker.running():
            worker.end(worker.running()[0], cause)
            self._flush(worker)

    @rule(name=st.sampled_from(NAMES))
    def meet(self, name: str) -> None:
        self.hear(name)
        if worker := self._chosen(name):
            for token in worker.running():
                worker.meet(token)
            self._flush(worker)

    @rule(name=st.sampled_from(NAMES))
    def report(self, name: str) -> None:
        self.hear(name)
        if worker := self._chosen(name):
            for token in worker.running():
                worker.report(token)

    @rule(name=st.sampled_from(NAMES))
    def drain(self, name: str) -> None:
        self.tell(e.DrainWorker(0, name))

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        """A worker that drains and is done closes its stream."""
        worker = self._chosen(name)
        if worker and worker.draining and not worker.held and worker.session:
            self._flush(worker)
            self.break_stream(name, True)

    @precondition(lambda self: self.late)
    @rule(at=st.integers(0, 200))
    def say_again(self, at: int) -> None:
        """A message comes late, or once more: of an earlier session, or one that was heard already."""
        event = self.late[-1 - at % len(self.late)]
        if self._is_refused(event):
            self.tell(e.Tick())  # whatever was due is done
            before = whole(self.fleet.state)
            self.tell(event)
            assert whole(self.fleet.state) == before, f"{event}\n{self.fleet.tale()}"
        elif not isinstance(event, e.SessionLost):
            self.tell(event)

    def _is_refused(self, event: e.Event) -> bool:
        if not isinstance(event, e.SessionEvent):
            return False
        worker = self.fleet.state.workers.get(event.worker)
        if worker is None or worker.session != event.session:
            return True
        token = getattr(event, "token", None)
        return token is not None and token not in worker.held

    # --- time

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 2.0]), beating=st.booleans())
    def time_passes(self, seconds: float, beating: bool) -> None:
        self.fleet.pass_time(seconds)
        if beating:
            for worker in self.workers.values():
                worker.beat()
                self._flush(worker)
        self.tell(e.Tick())

    @rule(seconds=st.sampled_from([6.0, 60.0, 7200.0]))
    def stall(self, seconds: float) -> None:
        """Nothing of ours ran, so nobody may be given up for it."""
        before = {name: worker.state for name, worker in self.fleet.state.workers.items()}
        self.tell(e.Tick())
        before = {name: worker.state for name, worker in self.fleet.state.workers.items()}
        self.fleet.pass_time(seconds)
        self.tell(e.Tick())
        assert {name: worker.state for name, worker in self.fleet.state.workers.items()} == before, self.fleet.tale()

    @rule(seconds=st.sampled_from([-86400.0, -1.0, 3600.0]))
    def set_wall_clock(self, seconds: float) -> None:
        self.fleet.wall += seconds

    # --- the orchestrator's own life

    @rule()
    def take_snapshot(self) -> None:
        self.snapshot = (len(self.fleet.journal), capture(self.fleet.state))

    @rule(from_snapshot=st.booleans(), fresh=st.booleans(), away=st.sampled_from([0.0, 5.0]))
    def restart(self, from_snapshot: bool, fresh: bool, away: float) -> None:
        self._compare()
        if fresh:
            self.take_snapshot()
        self._begin_again(from_snapshot, away)

    @rule(name=st.sampled_from(NAMES), from_snapshot=st.booleans())
    def die_before_the_commit(self, name: str, from_snapshot: bool) -> None:
        """What was decided of a worker's last words was never durable, and nothing of it was said."""
        worker = self._chosen(name)
        if worker is None:
            return
        self.hear(name)
        for token in worker.running():
            worker.end(token)
        durable = len(self.fleet.journal)
        said, worker.outbox = worker.outbox, []
        self.wrecked = True
        self.fleet.tell(*said)
        self.wrecked = False
        del self.fleet.journal[durable:]
        self._begin_again(from_snapshot, 0.0)

    def _begin_again(self, from_snapshot: bool, away: float) -> None:
        self.asked.clear()
        self.suspected.clear()
        for worker in self.workers.values():
            self.late.extend(worker.cut())
        entries = len(self.fleet.journal)
        self.wrecked = True
        done = self.fleet.recover(self.snapshot if from_snapshot else None, away)
        for entry in self.fleet.journal[entries:]:
            for record in decode(entry):
                self.ledger.keep(record)
        self._dispatch(done.commands)
        self.wrecked = False

    def _compare(self) -> None:
        """The journal holds all that lasts, whether it is read from the start or after a snapshot."""
        now = lasting(self.fleet.state)
        here = (len(self.fleet.journal), capture(self.fleet.state))
        restored = self.fleet.replayed(here)
        check(restored)
        assert lasting(restored) == now, self.fleet.tale()
        assert lasting(self.fleet.replayed()) == now, self.fleet.tale()
        if self.snapshot is not None:
            assert lasting(self.fleet.replayed(self.snapshot)) == now, self.fleet.tale()

    # --- what must hold

    @invariant()
    def the_core_is_sound(self) -> None:
        check(self.fleet.state)
        assert set(self.fleet.state.active) == self.ledger.live

    @invariant()
    def who_has_heard_all_has_paused_what_is(self) -> None:
        jobs, attempts = self.fleet.state.jobs, self.fleet.state.attempts
        for name, worker in self.workers.items():
            known = self.fleet.state.workers.get(name)
            if worker.welcomed and not worker.inbox and known is not None and known.session == worker.session:
                for token, held in worker.held.items():
                    if token in attempts and not held.over:
                        assert held.paused == (jobs[attempts[token].job].state == JobState.PAUSED), token

    def teardown(self) -> None:
        try:
            if not self.wrecked:
                self._compare()
                self._all_ends_well()
        finally:
            self.patch.undo()

    def _all_ends_well(self) -> None:
        """From here on nothing goes wrong, and some machines never come back: every job that is not paused ends."""
        for job in list(self.fleet.state.active):
            self.tell(e.ResumeJob(0, job))
        for kind in set(FINGERPRINTS):
            name = f"healthy {kind}"
            self.workers[name] = Worker(info(name, slots=2, credit=3, fingerprint=kind))
            self.connect(name)
        for _ in range(400):
            if not self.fleet.state.active and not self.asked:
                break
            while self.asked:
                self.answer(0)
            self.fleet.pass_time(0.5)
            for name, worker in list(self.workers.items()):
                self.succeed(name, 9)
                worker.beat()
                self._flush(worker)
            self.tell(e.Tick())
        assert not self.fleet.state.active, f"never ended: {list(self.fleet.state.active)}\n{self.fleet.tale()}"
        assert self.fleet.tokens() == []
        self._compare()


Scheduler.TestCase.settings = settings(
    max_examples=EXAMPLES or 600,
    stateful_step_count=50,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
TestScheduler = Scheduler.TestCase


def test_a_known_result_has_the_key_that_is_looked_up() -> None:
    """The simulation's look-ups are true only if a task's key is the same wherever it is made."""
    from tests.simulation.plans import FakePlan

    what = spec(("fit", 2), recipe="x")
    first, second = (FakePlan().next_stage(what, Resolved(), []) for _ in range(2))
    assert task_key(first.task(1), "cpu") == task_key(second.task(1), "cpu")  # type: ignore[union-attr]
