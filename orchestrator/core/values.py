"""What records and events carry of the core's own, beside the domain's values."""

from msgspec import Struct

from tensorfleet.model import Resources, TaskResult


class WorkerInfo(Struct, frozen=True, kw_only=True):
    """What a worker said of itself when it joined."""

    id: str
    incarnation: str
    slots: int
    credit: int
    resources: Resources
    capabilities: tuple[str, ...] = ()
    fingerprint: str = ""
    pid: int = 0
    host: str = ""
    release: str = ""


class Released(Struct, frozen=True, array_like=True):
    """A stage whose outputs nothing needs any more. keys: of its tasks, empty for one that is impure."""

    stage: str
    keys: tuple[str, ...]


class KnownTask(Struct, frozen=True, array_like=True):
    """A task whose result was there already. let_go: of its outputs nobody knows whether they are."""

    index: int
    key: str
    result: TaskResult
    let_go: bool = False
