"""Scenarios of the scheduler as a person writes and reads them: a command a line, and below it what was decided.

The rule: a line says one thing, in words; what is not worth reading (heartbeats, welcomes of empty hands) is left out.
"""

from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.core import commands as c
from orchestrator.core import events as e
from orchestrator.core import records as r
from orchestrator.core.decision import Decision
from orchestrator.core.explaining import why_pending
from tensorfleet.errors import TensorFleetError
from tensorfleet.model import Cause, Ref, Resources, RetryPolicy, TaskResult
from tests.simulation.fleet import Fleet, info, spec
from tests.simulation.plans import result_of


class Script:
    """Runs commands on a core, and tells what it decided."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.lines: list[str] = []
        self.places: dict[int, str] = {}
        self.made: dict[int, TaskResult] = {}
        self.abouts: dict[str, Any] = {}
        self.fleet.watcher = self._tell

    def run(self, line: str) -> list[str]:
        """What a command led to, line by line."""
        self.lines.clear()
        name, *words = line.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        getattr(self, f"do_{name}")(*(word for word in words if "=" not in word), **options)
        return list(self.lines)

    # --- what a script may say

    def do_worker(self, name: str, life: str = "a", slots: str = "1", credit: str = "0", **has: str) -> None:
        numbers = {key: int(has.pop(key)) for key in ("memory", "gpus", "cpus") if key in has}
        fingerprint = has.pop("numerics", "cpu")
        self.abouts[name] = info(
            name,
            incarnation=life,
            slots=int(slots),
            credit=int(credit),
            fingerprint=fingerprint,
            **numbers,
            labels=has,
        )
        self.fleet.join(self.abouts[name])

    def do_back(self, name: str, *finished: str) -> None:
        """It is back, with all that it held; the tasks named have ended meanwhile."""
        ended = [self._token(name, place) for place in finished]
        held = {token: True for token in self.fleet.tokens(worker=name) if token not in ended}
        self.fleet.join(self.abouts[name], held=held, finished=tuple(ended))

    def do_submit(self, job: str, **options: str) -> None:
        rest: dict[str, Any] = {"recipe": options.pop("recipe", job)}
        rest["retry"] = RetryPolicy(max_attempts=int(options.pop("attempts", "3")))
        for key, kind in (
            ("priority", int),
            ("workers", int),
            ("deadline", float),
            ("submitter", str),
            ("impure", bool),
            ("rounds", bool),
        ):
            if key in options:
                rest[key] = kind(options.pop(key))
        numbers = {key: int(options.pop(key)) for key in ("memory", "gpus", "cpus") if key in options}
        labels = {key: options.pop(key) for key in list(options) if not options[key].isdigit()}
        rest["resources"] = Resources(**numbers, labels=labels)
        self.fleet.submit(job, spec(*((name, int(count)) for name, count in options.items()), **rest))

    def do_cancel(self, job: str) -> None:
        self.fleet.cancel(job)

    def do_pause(self, job: str) -> None:
        self.fleet.pause(job)

    def do_resume(self, job: str) -> None:
        self.fleet.resume(job)

    def do_checkpoint(self, job: str) -> None:
        self.fleet.checkpoint(job)

    def do_stop(self, job: str) -> None:
        self.fleet.stop(job)

    def do_save(self, worker: str, place: str, size: str) -> None:
        self.fleet.save(self._token(worker, place), Ref("5" * 64, int(size)))

    def do_part(self, worker: str, place: str, size: str) -> None:
        """A paused attempt has held its place for long: it saves, and gives it up."""
        self.fleet.give_up(self._token(worker, place), Ref("6" * 64, int(size)))

    def do_retry(self, job: str) -> None:
        self.fleet.retry(job, self.fleet.job(job).spec)

    def do_begin(self, worker: str, place: str) -> None:
        self.fleet.begin(self._token(worker, place))

    def do_finish(self, worker: str, place: str, how: str = "", took: str = "1") -> None:
        token = self._token(worker, place)
        made = self.made[token] if how != "differently" else TaskResult((Ref("f" * 64, 1),))
        self.fleet.tell(self.fleet.finished(worker, token, made, duration=float(took)))

    def do_fail(self, worker: str, place: str, cause: str = "exception") -> None:
        self.fleet.tell(self.fleet.finished(worker, self._token(worker, place), TaskResult(), cause=Cause(cause)))

    def do_release(self, worker: str, place: str) -> None:
        self.fleet.tell(e.Released(worker, self.fleet.session(worker), self._token(worker, place)))

    def do_break(self, worker: str) -> None:
        self.fleet.lose(worker)

    def do_leave(self, worker: str) -> None:
        self.fleet.tell(e.Leaving(worker, self.fleet.session(worker), "told to"))

    def do_drain(self, worker: str) -> None:
        self.fleet.ask(e.DrainWorker, worker)

    def do_wait(self, seconds: str, *beating: str) -> None:
        """Time goes by; those named are heard."""
        self.fleet.sleep(float(seconds.rstrip("s")), beating=beating)

    def do_stall(self, seconds: str) -> None:
        self.fleet.pass_time(float(seconds.rstrip("s")))
        self.fleet.tell(e.Tick())

    def do_restart(self, source: str = "journal") -> None:
        self.fleet.restart(snapshot=source == "snapshot")

    def do_why(self, job: str) -> None:
        self.lines.append(f"{job} waits: {why_pending(self.fleet.state, self.fleet.job(job))}")

    # --- what it leads to

    def _token(self, worker: str, place: str) -> int:
        """The attempt of a task that a worker holds, or held last."""
        return max(token for token, known in self.places.items() if known == f"{worker} {place}")

    def _tell(self, event: e.Event, decision: Decision) -> None:
        for record in decision.records:
            if isinstance(record, r.TasksAssigned):
                self._note(record)
            say = _RECORDS.get(type(record))
            self.lines.extend(line for line in (say(self, record) if say else ()) if line)
        for command in decision.commands:
            self.lines.extend(f"  {line}" for line in self._command(command))
        for answer in decision.replies:
            if isinstance(answer.value, TensorFleetError):
                self.lines.append(f"refused: {answer.value.message}")
        quiet = decision.records or decision.replies or isinstance(event, e.Advance)
        if decision.reason and not quiet:
            self.lines.append(f"nothing: {decision.reason}")

    def _note(self, record: r.TasksAssigned) -> None:
        for token, index in enumerate(record.indexes, record.token):
            self.places[token] = f"{record.worker} {record.job}/{record.stage}[{index}]"
            self.made[token] = result_of(self.fleet.stage(record.job).stage.task(index))

    def _place(self, token: int) -> str:
        return self.places.get(token, f"attempt {token}").partition(" ")[2]

    def _command(self, command: c.Command) -> Iterator[str]:
        match command:
            case c.Welcome(worker=worker, keep=keep, stop=stop):
                yield from (f"{worker}: keep {self._place(token)}" for token in keep)
                yield from (f"{worker}: stop {self._place(token)}" for token in stop)
                yield from (f"{worker}: pause {self._place(token)}" for token in command.paused)
            case c.Assign(worker=worker, saved=saved, stage=stage, job=job):
                yield from (f"{worker}: go on in {job}/{stage}[{i}] from {ref.size} bytes" for i, ref in saved.items())
            case c.Pause(worker=worker, tokens=tokens):
                yield from (f"{worker}: pause {self._place(token)}" for token in tokens)
            case c.Resume(worker=worker, tokens=tokens):
                yield from (f"{worker}: go on in {self._place(token)}" for token in tokens)
            case c.Checkpoint(worker=worker, tokens=tokens):
                yield from (f"{worker}: save {self._place(token)}" for token in tokens)
            case c.Cancel(worker=worker, tokens=tokens, reason=reason):
                yield from (f"{worker}: cancel {self._place(token)}, {reason}" for token in tokens)
            case c.Recall(worker=worker, tokens=tokens):
                yield from (f"{worker}: give {self._place(token)} back" for token in tokens)
            case c.Drain(worker=worker):
                yield f"{worker}: drain"
            case c.Goodbye(worker=worker, reason=reason, reconnect=reconnect):
                yield f"{worker}: goodbye, {reason}" + ("; come back" if reconnect else "")

    def twin(self, record: r.TasksAssigned) -> str:
        live = self.fleet.stage(record.job).live.get(record.indexes[0], [])
        return ", as a twin" if len(live) > 1 else ""


def _failed(script: Script, record: r.AttemptFailed) -> Iterator[str]:
    again = "no more attempts" if record.retry_after is None else f"again in {record.retry_after:g} s"
    charged = "" if record.charged else ", not charged"
    yield f"{record.job}/{record.stage}[{record.index}] failed on {record.worker}: {record.cause}{charged}; {again}"


def _checked(script: Script, record: r.StageChecked) -> Iterator[str]:
    if record.known:
        yield f"{record.job}/{record.stage} has {len(record.known)} of its tasks already"


def _joined(script: Script, record: r.WorkerJoined) -> Iterator[str]:
    yield f"{record.info.id} is {script.fleet.state.workers[record.info.id].state}, with {record.info.slots} slots"


_RECORDS: dict[type[r.Record], Callable[[Script, Any], Iterator[str]]] = {
    r.JobAccepted: lambda s, a: iter([f"{a.job} is {'queued again' if a.retried else 'accepted'}"]),
    r.NumericsChosen: lambda s, a: iter([f"{a.job} keeps to the numerics {a.fingerprint!r}"]),
    r.StageOpened: lambda s, a: iter([f"{a.job} opens {a.stage}, {a.tasks} tasks"]),
    r.StageChecked: _checked,
    r.TasksAssigned: lambda s, a: (f"{a.worker} gets {a.job}/{a.stage}[{i}]{s.twin(a)}" for i in a.indexes),
    r.TasksSucceeded: lambda s, a: (f"{a.job}/{a.stage}[{i}] succeeded on {a.worker}" for i in a.indexes),
    r.AttemptFailed: _failed,
    r.AttemptReleased: lambda s, a: iter([f"{a.worker} has {a.job}/{a.stage}[{a.index}] no more"]),
    r.AttemptSaved: lambda s, a: iter([f"{a.worker} saved {a.saved.size} bytes of {a.job}/{a.stage}[{a.index}]"]),
    r.JobPaused: lambda s, a: iter([f"{a.job} is paused"]),
    r.JobResumed: lambda s, a: iter([f"{a.job} goes on"]),
    r.JobStopped: lambda s, a: iter([f"{a.job} is to end early{f', without {a.dropped}' if a.dropped else ''}"]),
    r.JobEnded: lambda s, a: iter([f"{a.job} {a.state}: {a.reason}"]),
    r.WorkerJoined: _joined,
    r.WorkerDraining: lambda s, a: iter([f"{a.worker} takes no more work"]),
    r.WorkerGone: lambda s, a: iter([f"{a.worker} is {a.state}: {a.reason}"]),
    r.WorkerSuspected: lambda s, a: iter([f"{a.worker} is suspect: {a.reason}"]),
}


def replay(text: str) -> str:
    """A scenario with its decisions written anew: comments and commands stay, all else is the core's."""
    script, out = Script(), []
    for line in text.splitlines():
        if line.startswith("> "):
            out += [line, *(f"    {decided}" for decided in script.run(line[2:]))]
        elif line.startswith("#") or not line.strip():
            out.append(line)
    return "\n".join(out) + "\n"
