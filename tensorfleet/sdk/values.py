"""What the client hands out: frozen values without protobuf.

The rule: these describe a moment and never change; a handle (`Job`, `Model`) fetches a newer one. Times are seconds
since 1970 in UTC, durations seconds, sizes bytes.
"""

from typing import Any

from msgspec import Struct, field

from tensorfleet.model import (
    AttemptRecord,
    Failure,
    JobSpec,
    JobState,
    Ref,
    Resources,
    TaskState,
    Trained,
    Value,
    WorkerState,
)


class TaskCounts(Struct, frozen=True, kw_only=True):
    """total: as far as the plan can tell. run: by workers. reused: already known. running: now."""

    total: int = 0
    run: int = 0
    reused: int = 0
    running: int = 0


class ModelSummary(Struct, frozen=True, kw_only=True):
    """A model's place in the registry."""

    name: str
    version: str
    display_name: str
    algorithm: str
    sha256: str

    @property
    def reference(self) -> str:
        """`NAME@VERSION`."""
        return f"{self.name}@{self.version}"


class JobInfo(Struct, frozen=True, kw_only=True):
    """A job as it stood when it was asked for. trained: the ledger of a training by rounds."""

    id: str
    state: JobState
    spec: JobSpec
    tasks: TaskCounts
    metrics: dict[str, float] = field(default_factory=dict)
    missing_metrics: dict[str, str] = field(default_factory=dict)
    model: ModelSummary | None = None
    dataset: str = ""
    failure: Failure | None = None
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    paused_at: float | None = None
    stage: str = ""
    pending_reason: str = ""
    fingerprint: str = ""
    outputs: tuple[Ref, ...] = ()
    trained: tuple[Trained, ...] = ()

    @property
    def seconds(self) -> float | None:
        """From acceptance to the end; None while it goes on."""
        return None if self.ended_at is None else self.ended_at - self.created_at


class TaskInfo(Struct, frozen=True, kw_only=True):
    stage: str
    index: int
    operator: str
    key: str
    state: TaskState
    reused: bool = False
    outputs: tuple[Ref, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    duration: float | None = None


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a job is where it is. workers: what each lacks for its next task. plan: how it is spread. done: of a job that
    has ended, in the plan's place: what was done in each stage, and by which workers."""

    summary: str
    reasons: tuple[str, ...] = ()
    workers: dict[str, str] = field(default_factory=dict)
    plan: tuple[str, ...] = ()
    done: tuple[str, ...] = ()


class Log(Struct, frozen=True, kw_only=True):
    """One line that a task logged, with the task it belongs to."""

    time: float
    stage: str
    index: int
    stream: str
    text: str


class Column(Struct, frozen=True, kw_only=True):
    """A column's profile. values: the most frequent ones with their counts. shape: of images, (height, width,
    channels)."""

    name: str
    type: str
    missing: int = 0
    distinct: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    values: dict[str, int] = field(default_factory=dict)
    shape: tuple[int, ...] = ()


class DatasetInfo(Struct, frozen=True, kw_only=True):
    name: str
    digest: str
    rows: int
    columns: tuple[Column, ...] = ()
    blocks: int = 0
    size: int = 0
    source: str = ""
    target: str = ""
    created_at: float | None = None
    builtin: bool = False


class Finding(Struct, frozen=True, kw_only=True):
    """severity: `error`, where training would be refused, or `warning`."""

    severity: str
    reason: str
    message: str
    column: str = ""


class Validation(Struct, frozen=True, kw_only=True):
    valid: bool
    target: str
    findings: tuple[Finding, ...] = ()


class ModelInfo(Struct, frozen=True, kw_only=True):
    """A registered model version. seconds: how long its job took. parts: the manifest, then the blobs that it names.
    formats: what it can be downloaded as, the default first. image_shape: height, width and channels of the images that
    it takes; empty where it takes rows of columns.
    """

    name: str
    version: str
    display_name: str
    algorithm: str
    sha256: str
    hyperparameters: dict[str, Value] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    missing_metrics: dict[str, str] = field(default_factory=dict)
    metrics_on_training_rows: bool = False
    features: tuple[str, ...] = ()
    target: str = ""
    classes: tuple[str, ...] = ()
    dataset: str = ""
    dataset_digest: str = ""
    job_id: str = ""
    submitter: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    created_at: float | None = None
    seconds: float = 0.0
    size: int = 0
    how_to_load: str = ""
    parts: tuple[Ref, ...] = ()
    formats: tuple[str, ...] = ()
    image_shape: tuple[int, ...] = ()

    @property
    def reference(self) -> str:
        """`NAME@VERSION`."""
        return f"{self.name}@{self.version}"


class ModelStatistics(Struct, frozen=True, kw_only=True):
    models: int
    names: int
    by_algorithm: dict[str, int]
    mean_accuracy: float | None = None
    best: ModelInfo | None = None
    size: int = 0


class Predictions(Struct, frozen=True, kw_only=True):
    """predictions: one a row. probabilities: one list a row, in the order of `classes`; None where not asked for."""

    predictions: list[Any]
    probabilities: list[list[float]] | None
    classes: list[Any]
    version: str


class RunningAttempt(Struct, frozen=True, kw_only=True):
    """pid: the slot's; 0 while the attempt has not begun. age: seconds since it was assigned."""

    job: str
    task: str
    token: int
    pid: int = 0
    age: float = 0.0


class WorkerInfo(Struct, frozen=True, kw_only=True):
    id: str
    state: WorkerState
    pid: int
    host: str
    slots: int
    labels: dict[str, str] = field(default_factory=dict)
    running: tuple[RunningAttempt, ...] = ()
    resources: Resources = field(default_factory=Resources)
    capabilities: tuple[str, ...] = ()
    fingerprint: str = ""
    joined_at: float | None = None
    heard_at: float | None = None
    load: float = 0.0
    memory: int = 0
    release: str = ""


class FleetStatus(Struct, frozen=True, kw_only=True):
    release: str
    term: int
    started_at: float | None
    jobs: dict[str, int]
    workers: dict[str, int]
    slots: int
    busy_slots: int
    document_store: str
    object_store: str
    journal_entry: int
    models: int
    datasets: int
