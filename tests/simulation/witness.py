"""What must hold, looked at while it happens: of each step, each durable entry and each word.

The rule: it knows what is durable from the database alone, and believes nothing that the system says of itself.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.core.apply import apply
from orchestrator.core.entries import decode
from orchestrator.core.invariants import check
from orchestrator.core.snapshot import Image, capture
from orchestrator.core.state import State
from orchestrator.drawing import Drawing, draw
from tensorfleet.model import JobSpec
from tensorfleet.stores.contract import Entry
from tensorfleet.testing.simulated.calls import Call
from tensorfleet.testing.simulated.processes import Process
from tests.simulation import drills
from tests.simulation.ledger import Ledger

if TYPE_CHECKING:
    from tests.simulation.world import World


class Witness:
    """entries: the whole journal, also what a snapshot has let go of."""

    def __init__(self, world: "World") -> None:
        self.entries: list[Entry] = []
        self.ledger = Ledger(_stages)
        self._world = world

    # --- while it happens

    def durable(self, entry: Entry) -> None:
        self._world.mark("durable", entry.number, entry.term, entry.records)
        if entry.number != len(self.entries) + 1:
            self._world.fail(f"entry {entry.number} came after {len(self.entries)}")
        self.entries.append(entry)
        for record in decode(entry.records):
            self._world.tell(f"durable {entry.number}: {record}")
            try:
                self.ledger.keep(record)
            except AssertionError as error:
                self._world.fail(f"entry {entry.number}: {error!r}")

    def step(self, process: Process, real: Any, state: State, batch: Any, now: Any, seen: Any, applied: Any) -> Any:
        """A step of the core in that process, and the core's invariants after it."""
        world = self._world

        def told(event: Any, decision: Any) -> None:
            seen(event, decision)
            if world.telling and (decision.records or decision.commands or decision.replies or decision.reason):
                world.tell(f"{process.name} decides on {event}: {decision}")

        done = real(state, batch, now, told, applied)
        try:
            check(state)
        except AssertionError as error:
            world.fail(f"the core of {process.name} is unsound: {error}")
        return done

    def heard(self, call: Call, direction: str, message: Any) -> None:
        """Each message as it leaves its process."""
        world = self._world
        kind = type(message).__name__
        if kind in ("OrchestratorMessage", "WorkerMessage"):
            kind = message.WhichOneof("message") or "ack"
        world.mark(direction, call.client.name, kind, len(message) if kind == "bytes" else message.ByteSize())
        if world.telling:
            world.tell(f"{call.client.name} {direction} {call.server.name}: {kind} {_short(message)}")
        if direction == "down":
            self._check_leads(call.server)
            if kind in _WITH_ACKS and message.HasField("ack"):
                self._ack(call, message)
            if check_word := _WORDS.get(kind):
                check_word(self, call, message)

    def _check_leads(self, process: Process) -> None:
        """Who speaks leads: no term began after its own."""
        engine = process.belongings.get("engine")
        if engine is not None and self.entries and engine.state.term < self.entries[-1].term:
            newest = self.entries[-1].term
            self._world.fail(f"{process.name} speaks in term {engine.state.term}, and term {newest} has begun")

    def _assign(self, call: Call, message: Any) -> None:
        for token in [token for assignment in message.assign.assignments for token in assignment.tokens]:
            if token not in self.ledger.tokens:
                self._world.fail(f"{token} was assigned to {call.client.name} before that was durable")

    def _ack(self, call: Call, message: Any) -> None:
        for token in message.ack.finished:
            if token in self.ledger.open:
                self._world.fail(f"the end of {token} was acknowledged to {call.client.name}, and is not durable")
        for ack in message.ack.reports:
            if ack.token in self.ledger.open and self.ledger.reports.get(ack.token, 0) < ack.number:
                self._world.fail(f"report {ack.number} of {ack.token} was acknowledged, and is not durable")

    def _welcome(self, call: Call, message: Any) -> None:
        for token in message.welcome.keep:
            if token not in self.ledger.tokens:
                self._world.fail(f"{call.client.name} is to keep {token}, which nobody assigned")
        for token in message.welcome.stop:
            if self.ledger.holders.get(token) == call.client.name and token in self.ledger.open:
                self._world.fail(f"{call.client.name} is to stop {token}, which is its own")

    def _submitted(self, call: Call, message: Any) -> None:
        if message.job_id not in self.ledger.lives:
            self._world.fail(f"{message.job_id} was said to be accepted before that was durable")

    def _happened(self, call: Call, message: Any) -> None:
        for event in message.events:
            entry = int(event.cursor.partition(".")[0])
            if entry > len(self.entries):
                self._world.fail(f"an event of entry {entry} was shown before that was durable")

    def _over(self, call: Call, message: Any) -> None:
        for job in message.jobs:
            if job.id not in self.ledger.ended:
                self._world.fail(f"{job.id} was said to be over before that was durable")

    # --- looked at afterwards

    def replayed(self) -> tuple[State, Drawing, list[Drawing]]:
        """The state that the whole journal gives, and what it draws, entry by entry."""
        state, drawings = State(settings=self._world.scenario.settings), []
        for entry in self.entries:
            drawing = Drawing()
            for record in decode(entry.records):
                apply(state, record, 0.0)
                draw(drawing, state, [record])
            drawing.finish(state)
            drawings.append(drawing)
        return state, Drawing(), drawings

    def recovered(self, name: str, state: State) -> None:
        """What an orchestrator read back is what the whole journal gives."""
        whole, _, _ = self.replayed()
        ours, theirs = lasting(whole), lasting(state)
        if ours != theirs:
            self._world.fail(f"{name} recovered another state than the journal has: {differences(ours, theirs)}")


_WITH_ACKS = ("welcome", "assign", "cancel", "recall", "drain", "ack", "goodbye")
"""The orchestrator's words, with which acknowledgements may come."""

_WORDS = {
    "assign": Witness._assign,
    "welcome": Witness._welcome,
    "SubmitJobResponse": Witness._submitted,
    "RunJobResponse": Witness._happened,
    "WaitForJobsResponse": Witness._over,
    "WatchJobResponse": Witness._happened,
}


def lasting(state: State) -> Any:
    """A snapshot's content, without what every start forgets: which backoffs have ended."""
    image = msgspec.to_builtins(msgspec.msgpack.decode(capture(state), type=Image), str_keys=True)
    for job in image["jobs"]:
        if job["open"]:
            del job["open"]["waiting"]
    return image


def differences(one: Any, other: Any, at: str = "") -> str:
    """Where two plain values differ, for people."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = [
            differences(one.get(key), other.get(key), f"{at}.{key}")
            for key in sorted({*one, *other}, key=str)
            if one.get(key) != other.get(key)
        ]
        return "; ".join(found)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        found = [differences(a, b, f"{at}[{n}]") for n, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
        return "; ".join(found)
    return f"{at}: {one!r} is not {other!r}"


def _stages(spec: JobSpec) -> list[tuple[str, int]]:
    return list(drills.needed(spec).items())


def _short(message: Any) -> str:
    text = " ".join(str(message).split())
    return text if len(text) < 300 else f"{text[:300]}…"
