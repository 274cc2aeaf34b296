"""The domain's values: frozen, typed, without protobuf and without behaviour that does I/O.

Every room speaks in these; `wire.py` alone translates them to and from the protos. Times are seconds: wall times since
1970 in UTC, durations as they are. Digests are SHA-256 in 64 hexadecimal digits.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import chain
from typing import Any, TypeAlias

from msgspec import Struct, field

Value: TypeAlias = None | bool | int | float | str | list[Any] | dict[str, Any]
"""A hyperparameter's or a summary's value. The integer 1 and the real 1.0 stay apart."""


class JobKind(StrEnum):
    TRAIN = "train"
    TUNE = "tune"
    CROSS_VALIDATE = "cross_validate"
    PREDICT = "predict"
    PROCESS = "process"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"

    @property
    def ended(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class TaskState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class WorkerState(StrEnum):
    READY = "ready"
    SUSPECT = "suspect"
    DRAINING = "draining"
    LOST = "lost"
    LEFT = "left"


class Cause(StrEnum):
    """Why an attempt or a job failed."""

    EXCEPTION = "exception"
    OUT_OF_MEMORY = "out_of_memory"
    SIGNAL = "signal"
    TIMEOUT = "timeout"
    LOST_WORKER = "lost_worker"
    BAD_INPUT = "bad_input"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    MISMATCH = "mismatch"
    LOST_INPUT = "lost_input"


class Ref(Struct, frozen=True):
    """Bytes by their SHA-256."""

    digest: str
    size: int


class Resources(Struct, frozen=True, kw_only=True):
    """What a task needs of a worker, or what a worker's machine has."""

    cpus: int = 1
    memory: int = 0
    gpus: int = 0
    labels: dict[str, str] = field(default_factory=dict)


class RetryPolicy(Struct, frozen=True, kw_only=True):
    max_attempts: int = 3
    backoff: float = 1.0
    max_backoff: float = 60.0


class JobSpec(Struct, frozen=True, kw_only=True):
    """One submission, as the protos comment it field by field."""

    kind: JobKind = JobKind.TRAIN
    algorithm: str = ""
    dataset: str = ""
    target: str = ""
    exclude_features: tuple[str, ...] = ()
    hyperparameters: dict[str, Value] = field(default_factory=dict)
    workers: int = 0
    validation_split: float = 0.2
    validation_dataset: str = ""
    seed: int = 42
    model_name: str = ""
    resources: Resources = field(default_factory=Resources)
    priority: int = 0
    submitter: str = ""
    deadline: float | None = None
    task_timeout: float = 3600.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    model: str = ""
    dataset_name: str = ""
    ignore_known_results: bool = False
    allow_mixed_numerics: bool = False
    replace_dataset: bool = False


class Resolved(Struct, frozen=True, kw_only=True):
    """What the names in a spec stood for when it was submitted; journaled with it, so that they never change under it.

    dataset, validation: an added dataset's manifest, then its blocks; empty where the job reads the source itself.
    upload: bytes that came with the request (a process job's file, a predict job's rows).
    model: the model's manifest, then its parts. requires: capabilities that a worker must have for any of its tasks.
    images: whether the rows to train on are images; None where that is not known before they are read.
    """

    dataset: tuple[Ref, ...] = ()
    validation: tuple[Ref, ...] = ()
    upload: Ref | None = None
    model: tuple[Ref, ...] = ()
    requires: tuple[str, ...] = ()
    images: bool | None = None


class Task(Struct, frozen=True, kw_only=True):
    """An operator applied to parameters and to content-addressed inputs: a pure function, unless it says otherwise.

    operator: `family.name@version`. params: plain values. inputs: in the operator's order. threads: what it computes
    with, part of its key. pure: False where it reads something outside its inputs; it is then never reused or twinned.
    """

    operator: str
    params: dict[str, Value] = field(default_factory=dict)
    inputs: tuple[Ref, ...] = ()
    threads: int = 1
    pure: bool = True


class TaskResult(Struct, frozen=True):
    """What a task made: blobs in the operator's order, and a small summary that the plan and people read."""

    outputs: tuple[Ref, ...] = ()
    summary: dict[str, Value] = field(default_factory=dict)


class Point(Struct, frozen=True, array_like=True):
    """One point of a series; `step` is its place (member, boosting stage, round), never a time."""

    series: str
    step: int
    value: float


class Points(Struct, frozen=True, array_like=True):
    """Points as columns, which many of them are told and kept by; iterating gives each as a `Point`.

    names: of the series, each once. series: the place in `names` of each point's, or none where there is but one.
    """

    names: tuple[str, ...] = ()
    series: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    values: tuple[float, ...] = ()

    @classmethod
    def of(cls, points: Iterable[Point]) -> "Points":
        listed = list(points)
        names = {name: place for place, name in enumerate(dict.fromkeys([point.series for point in listed]))}
        return cls(
            tuple(names),
            tuple([names[point.series] for point in listed]) if len(names) > 1 else (),
            tuple([point.step for point in listed]),
            tuple([point.value for point in listed]),
        )

    @classmethod
    def joined(cls, parts: Sequence["Points"]) -> "Points":
        """The points of all, in order."""
        if len(parts) < 2:
            return parts[0] if parts else cls()
        if any(part.names != parts[0].names for part in parts):
            return cls.of(chain.from_iterable(parts))
        columns = ((part.series, part.steps, part.values) for part in parts)
        series, steps, values = (tuple(chain.from_iterable(column)) for column in zip(*columns, strict=True))
        return cls(parts[0].names, series, steps, values)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Point]:
        names = [self.names[place] for place in self.series] if self.series else self.names[:1] * len(self.steps)
        return map(Point, names, self.steps, self.values)

    def last_steps(self) -> dict[str, int]:
        """The highest step of each series."""
        if not self.series:
            return {self.names[0]: max(self.steps)} if self.steps else {}
        highest: dict[int, int] = {}
        for place, step in zip(self.series, self.steps, strict=True):
            if step > highest.get(place, step - 1):
                highest[place] = step
        return {self.names[place]: step for place, step in highest.items()}

    def beyond(self, told: Mapping[str, int]) -> "Points":
        """Without those of a step that is not past what was told of their series."""
        if not self.steps or not any(name in told for name in self.names):
            return self
        if not self.series and min(self.steps) > told[self.names[0]]:
            return self
        return Points.of(point for point in self if point.step > told.get(point.series, point.step - 1))

    def columns(self) -> dict[str, list[Any]]:
        """Plain, by the columns' names."""
        return {name: list(getattr(self, name)) for name in self.__struct_fields__}


class LogLine(Struct, frozen=True, array_like=True):
    time: float
    stream: str
    text: str


class AttemptRecord(Struct, frozen=True, kw_only=True):
    """One execution of a task, as its history keeps it."""

    token: int
    worker: str
    assigned_at: float
    duration: float | None = None
    cause: Cause | None = None
    message: str = ""
    log_tail: tuple[str, ...] = ()


class Failure(Struct, frozen=True, kw_only=True):
    """Why a job failed. `code` is the gRPC status that fits; `reason` a stable name for programs."""

    cause: Cause
    reason: str
    message: str
    code: int
    stage: str = ""
    index: int = 0
    attempts: tuple[AttemptRecord, ...] = ()


class ModelContent(Struct, frozen=True, kw_only=True):
    """What a train job's plan says of the model it made; the registry adds the version and the rest.

    parts: the manifest first, then the blobs it names. sha256: of the manifest, which covers everything. framework:
    what it is made of; see `models/frameworks.py`. image_shape: height, width and channels of the images that it takes;
    empty where it takes rows of columns.
    """

    sha256: str
    parts: tuple[Ref, ...]
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...] = ()
    dataset_digest: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    metrics_on_training_rows: bool = False
    framework: str = "sklearn"
    image_shape: tuple[int, ...] = ()


class DatasetContent(Struct, frozen=True, kw_only=True):
    """What a process job's plan says of the dataset it made: its manifest, then its blocks, and the
    manifest's figures as plain data."""

    refs: tuple[Ref, ...]
    rows: int
    target: str
    columns: list[dict[str, Value]]

    @property
    def digest(self) -> str:
        """The dataset's: that of its manifest."""
        return self.refs[0].digest


class KeptFor(StrEnum):
    """Why a blob is no garbage: the first of these that holds."""

    MODEL = "model"
    DATASET = "dataset"
    JOB = "job"
    OUTPUT = "output"
    RESULT = "result"
    AGE = "age"


class Amount(Struct, frozen=True):
    """How many, and their bytes."""

    count: int = 0
    size: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.count + other.count, self.size + other.size)


class Garbage(Struct, frozen=True, kw_only=True):
    """What a collection freed, or would free.

    blobs: that nothing needs. unfinished: what puts that died left behind. results: known results that were forgotten.
    kept: the blobs that stay, by why.
    """

    blobs: Amount
    unfinished: Amount
    results: int
    kept: dict[KeptFor, Amount]


class BlockRows(Struct, frozen=True):
    """Rows of one block of a dataset: how many, and their digest, which is the sum of the rows' hashes in 16
    hexadecimal digits, the same in any order; see `tensorfleet.algorithms.rounds.ledger`."""

    block: int
    rows: int
    digest: str


class Trained(Struct, frozen=True):
    """Which rows some epochs trained on: the same in each from `first` to `last`, both counted in."""

    first: int
    last: int
    blocks: tuple[BlockRows, ...]


class JobResult(Struct, frozen=True, kw_only=True):
    """What a job has made. trained: its ledger, where it trained by rounds."""

    metrics: dict[str, float] = field(default_factory=dict)
    missing_metrics: dict[str, str] = field(default_factory=dict)
    model: ModelContent | None = None
    dataset: DatasetContent | None = None
    outputs: tuple[Ref, ...] = ()
    trained: tuple[Trained, ...] = ()


class FieldViolation(Struct, frozen=True):
    """One bad field of a request: which (`spec.hyperparameters.n_estimators`), and what was expected."""

    field: str
    description: str
