"""What the agent, its zygote and its slots say to one another, and the values the agent works with.

The rule: everything here is plain and frozen, and crosses a socket of this machine as MessagePack; nothing of it ever
leaves the machine (`session.py` translates to and from the protos).
"""

from typing import TypeAlias

import msgspec
from msgspec import Struct, field

from tensorfleet.model import Cause, LogLine, Points, Ref, Value


class OrderInput(Struct, frozen=True):
    """An input of an order; `inline` holds its bytes where they came along."""

    ref: Ref
    inline: bytes = b""


class Work(Struct, frozen=True, kw_only=True):
    """What to run, which many orders may have in common."""

    operator: str
    params: dict[str, Value] = field(default_factory=dict)
    inputs: tuple[OrderInput, ...] = ()
    threads: int = 1
    timeout: float = 0.0
    saved: OrderInput | None = None
    """What an earlier attempt saved, to go on from."""

    @property
    def family(self) -> str:
        """The operator's."""
        return self.operator.partition(".")[0]

    @property
    def brought(self) -> bool:
        """Whether something must be brought here before it can run."""
        return bool(self.inputs) or self.saved is not None


class Order(Struct, frozen=True):
    """One attempt to run, as the orchestrator assigned it."""

    token: int
    work: Work


class Blob(Struct, frozen=True):
    """Bytes that an attempt made; `inline` holds those that are small enough to ride along."""

    ref: Ref
    inline: bytes = b""


class Ending(Struct, frozen=True, kw_only=True):
    """How an attempt ended; `cause` is None where it succeeded, or gave up its place, with what it saved."""

    outputs: tuple[Blob, ...] = ()
    summary: dict[str, Value] = field(default_factory=dict)
    cause: Cause | None = None
    reason: str = ""
    message: str = ""
    log_tail: tuple[str, ...] = ()
    duration: float = 0.0
    ended_at: float = 0.0
    gave_up: bool = False
    saved: Blob | None = None


# --- agent and zygote -------------------------------------------------------------------------------------------------


class Fork(Struct, frozen=True, tag="fork"):
    """Fork a slot's process. Its descriptors, as `slot.Ends` has them, travel with the message.

    number: of the fork. warm: with the numerics, once they are loaded.
    """

    number: int
    gpus: str | None
    memory_limit: int
    max_tasks: int
    warm: bool = False


class Preload(Struct, frozen=True, tag="preload"):
    """Load the numerics, if nothing else is to be done."""


class Signal(Struct, frozen=True, tag="signal"):
    """Send a signal to a slot and all it started. The zygote alone may: only a parent knows that an id is still its."""

    pid: int
    signal: int


class Preloaded(Struct, frozen=True, tag="preloaded"):
    """The numerics are loaded: a slot that has them now takes milliseconds."""

    seconds: float


class Forked(Struct, frozen=True, tag="forked"):
    """The process of the fork of this number is there."""

    number: int
    pid: int


class Exited(Struct, frozen=True, tag="exited"):
    """A slot's process ended; `status` is its exit code, or minus the signal it died of."""

    pid: int
    status: int


ToZygote: TypeAlias = Fork | Preload | Signal
FromZygote: TypeAlias = Preloaded | Forked | Exited

# --- agent and slot ---------------------------------------------------------------------------------------------------


class Run(Struct, frozen=True, tag=1, array_like=True):
    """Run one task. What it makes goes into a folder of `scratch` named by its token, which may not be there yet."""

    operator: str
    params: dict[str, Value]
    inputs: tuple[str, ...]
    threads: int
    scratch: str
    saved: str = ""
    """The file with what an earlier attempt saved; empty where there is none."""


class Stored(Struct, frozen=True, tag=2, array_like=True):
    """A run that is too long for a packet: it is in this file, which is the slot's to remove."""

    path: str


class Measured(Struct, frozen=True, tag=1, array_like=True):
    """Points that the task reported."""

    points: Points


class Lines(Struct, frozen=True, tag=2, array_like=True):
    """Warnings and log records; what is printed comes by the slot's standard output and error instead."""

    lines: tuple[LogLine, ...]


class Succeeded(Struct, frozen=True, tag=3, array_like=True):
    """The task is done. Each output is a file below the run's folder, already digested.

    seconds: how long it ran. printed: bytes in all that its slot printed by then, to standard output and to standard
    error; None where that is as it was.
    """

    seconds: float = 0.0
    printed: tuple[int, int] | None = None
    outputs: tuple[tuple[str, Ref], ...] = ()
    summary: dict[str, Value] = field(default_factory=dict)
    ended_at: float = 0.0


class Failed(Struct, frozen=True, tag=4, array_like=True):
    """The task failed, and the slot lives. seconds, printed: as of what succeeded."""

    cause: Cause
    reason: str
    message: str
    seconds: float = 0.0
    printed: tuple[int, int] | None = None
    ended_at: float = 0.0


class Holding(Struct, frozen=True, tag=5, array_like=True):
    """The task has paused, and holds its place; it says so again whenever it was woken and still does."""


class Saved(Struct, frozen=True, tag=6, array_like=True):
    """The task has saved into a file below the run's folder, already digested, and goes on."""

    path: str
    ref: Ref


class GaveUp(Struct, frozen=True, tag=7, array_like=True):
    """The task was paused and has given up its place. saved: as of what saved; none where there was no room for it.
    seconds, printed: as of what succeeded."""

    saved: tuple[str, Ref] | None
    seconds: float = 0.0
    printed: tuple[int, int] | None = None
    ended_at: float = 0.0


class Unfit(Struct, frozen=True, tag=8, array_like=True):
    """This process cannot run the task, and a fresh one can; it ends now. printed: as of what succeeded."""

    message: str
    seconds: float = 0.0
    printed: tuple[int, int] | None = None
    ended_at: float = 0.0


class Ready(Struct, frozen=True, tag=9, array_like=True):
    """The task is a member of a gang, listens at this address, and waits for the roster."""

    address: str


class Members(Struct, frozen=True, tag=1, array_like=True):
    """To the slot: where the members of the task's gang listen, of whom it is at `place`."""

    place: int
    addresses: tuple[str, ...]


class Died(Struct, frozen=True):
    """The slot's process ended, with the task that it ran. Never sent: the agent concludes it."""

    cause: Cause
    reason: str
    message: str
    ended_at: float = 0.0


End: TypeAlias = Succeeded | Failed | GaveUp | Unfit
"""How a task ends in a slot that lives."""
ENDS = (Succeeded, Failed, GaveUp, Unfit)
FromSlot: TypeAlias = Measured | Lines | Holding | Saved | Ready | End

encode = msgspec.msgpack.Encoder().encode
to_zygote = msgspec.msgpack.Decoder(ToZygote)
from_zygote = msgspec.msgpack.Decoder(FromZygote)
to_slot = msgspec.msgpack.Decoder(Run | Stored)
from_slot = msgspec.msgpack.Decoder(FromSlot)
to_task = msgspec.msgpack.Decoder(Members)

MAX_MESSAGE = 64 * 1024
"""Bytes of a message between agent and zygote, at most, and of an order's packet."""
TOKEN_BYTES = 8
"""Of a token, at the beginning of an order's packet; what follows is the same for all that run the same."""


def packet(token: int, run: bytes) -> bytes:
    """An order as it goes through a slot's pipe. run: a Run or Stored, encoded."""
    return token.to_bytes(TOKEN_BYTES, "big") + run


def frame(message: FromSlot | Members) -> bytes:
    """A message with its length before it, as it goes over a slot's socket."""
    payload = encode(message)
    return len(payload).to_bytes(4, "big") + payload


EMPTY = bytes(4)
"""A frame with nothing in it."""


class Framer:
    """Cuts a stream of bytes into the payloads of its frames."""

    def __init__(self) -> None:
        self._waiting = b""

    def feed(self, data: bytes) -> list[bytes]:
        data = self._waiting + data if self._waiting else data
        payloads, start, size = [], 0, len(data)
        while size - start >= 4:
            end = start + 4 + int.from_bytes(data[start : start + 4], "big")
            if end > size:
                break
            payloads.append(data[start + 4 : end])
            start = end
        self._waiting = data[start:]
        return payloads
