"""What the shell is to do after the commit: speak to workers, answer callers, look things up."""

from typing import Any

from msgspec import Struct

from tensorfleet.errors import TensorFleetError
from tensorfleet.model import Ref, Task


class Command(Struct, frozen=True):
    pass


class ToWorker(Command, frozen=True):
    """Something to say in a session; dropped where the session is over by then."""

    worker: str
    session: int


class Welcome(ToWorker, frozen=True):
    protocol: int
    keep: tuple[int, ...]
    stop: tuple[int, ...]
    paused: tuple[int, ...] = ()


class Goodbye(ToWorker, frozen=True):
    reason: str
    reconnect: bool


class Assign(ToWorker, frozen=True):
    """Attempts at tasks of one stage. token: of the first; each next one has the next. saved: by index, what an earlier
    attempt saved."""

    token: int
    job: str
    stage: str
    indexes: tuple[int, ...]
    tasks: tuple[Task, ...]
    timeout: float
    gpus: int
    saved: dict[int, Ref] = {}


class Cancel(ToWorker, frozen=True):
    tokens: tuple[int, ...]
    reason: str


class Pause(ToWorker, frozen=True):
    tokens: tuple[int, ...]


class Resume(ToWorker, frozen=True):
    tokens: tuple[int, ...]


class Checkpoint(ToWorker, frozen=True):
    tokens: tuple[int, ...]


class EndEarly(ToWorker, frozen=True):
    tokens: tuple[int, ...]


class Recall(ToWorker, frozen=True):
    tokens: tuple[int, ...]


class Roster(ToWorker, frozen=True):
    """Where the members of a gang listen, for one of them, who is at `place`."""

    token: int
    place: int
    addresses: tuple[str, ...]


class Drain(ToWorker, frozen=True):
    reason: str


class AckFinished(ToWorker, frozen=True):
    tokens: tuple[int, ...]


class AckReport(ToWorker, frozen=True):
    token: int
    number: int


class LookUp(Command, frozen=True):
    """Find known results of these keys; the answer is a KnownResults event. let_go: also those whose outputs are gone
    since nothing needed them."""

    job: str
    stage: str
    upto: int
    keys: dict[int, str]
    let_go: bool = False


class Inspect(Command, frozen=True):
    """Read these blobs where they are kept, and delete the damaged ones; the answer is an Inspected event."""

    job: str
    refs: tuple[Ref, ...]


class Reply(Struct, frozen=True):
    """An answer for the caller that holds the ticket; a TensorFleetError is raised there."""

    ticket: int
    value: Any | TensorFleetError
