"""What is known of a job that is watched: its events folded into what a view shows.

The rule: pure; the same events give the same picture, on a terminal or in lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from clients.cli import output
from tensorfleet.model import JobSpec, JobState
from tensorfleet.sdk.events import (
    AttemptFailed,
    Ended,
    Event,
    StageOpened,
    StateChanged,
    TaskReported,
    TasksAssigned,
    TaskSaved,
    TasksSucceeded,
)

SHOWN_FIRST = ("loss", "accuracy", "val_loss", "val_accuracy")
SPEED = "samples_per_second"
BARS = "▁▂▃▄▅▆▇█"


@dataclass
class Stage:
    tasks: int
    done: int = 0


@dataclass
class Progress:
    """A job so far. running: which worker has which task. series: by name and step, the sum of what was told and how
    often: tasks that go through the same steps, such as a round's replicas, are averaged. speeds: samples a second, by
    task. epochs: how many there are to be, where each is told of when it is over. began: when the first point was told,
    and the tasks that were done by then; ended: when the last task was. Together they say how long the rest takes.
    paused: since when it is, wall time. news: of its steering, in words. events: how many there were; waits: why
    nothing of it runs, where somebody asked since the last.
    """

    state: JobState = JobState.QUEUED
    reason: str = ""
    total: int = 0
    done: int = 0
    reused: int = 0
    stage: str = ""
    stages: dict[str, Stage] = field(default_factory=dict)
    running: dict[tuple[str, int], str] = field(default_factory=dict)
    series: dict[str, dict[int, tuple[float, int]]] = field(default_factory=dict)
    speeds: dict[tuple[str, int], float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    epochs: int = 0
    began: tuple[float, int] | None = None
    ended: float = 0.0
    paused: float | None = None
    news: list[str] = field(default_factory=list)
    events: int = 0
    waits: str = ""

    def learn(self, event: Event) -> None:
        self.events, self.waits = self.events + 1, ""
        match event:
            case StateChanged():
                self._changed(event)
            case StageOpened():
                if event.stage in self.stages:  # the job begins again
                    self.done, self.reused, self.stages, self.running = 0, 0, {}, {}
                self.stage, self.stages[event.stage] = event.stage, Stage(event.tasks)
                self.total = max(event.total_tasks, self.done + event.tasks)
            case TasksAssigned():
                self.running.update(((event.stage, index), event.worker) for index in event.indexes)
            case TasksSucceeded():
                self._succeeded(event)
            case AttemptFailed():
                self._failed(event)
            case TaskSaved():
                self.news.append(f"{event.stage}/{event.index} on {event.worker} saved {output.size(event.saved.size)}")
            case TaskReported():
                self._reported(event)
            case Ended():
                self._ended(event)

    @property
    def idle(self) -> bool:
        """Whether nothing of it runs, and nobody has paused it."""
        return not (self.running or self.state.ended or self.paused is not None)

    @property
    def epoch(self) -> int:
        """How many epochs are over."""
        return max((max(steps) + 1 for name, steps in self.series.items() if name.startswith("val_")), default=0)

    @property
    def speed(self) -> float:
        """Samples a second, of all tasks that run."""
        return sum(self.speeds.values())

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes from the end of the last task on, if it goes on as since the first points."""
        if self.began is None or self.done <= self.began[1] or self.done >= self.total:
            return None
        return (self.ended - self.began[0]) / (self.done - self.began[1]) * (self.total - self.done)

    def _changed(self, event: StateChanged) -> None:
        if event.state is JobState.PAUSED:
            self.paused, self.speeds = event.time, {}
            self.news.append(f"paused: {event.reason}")
        elif self.paused is not None:
            self.news.append(f"resumed after {output.span(event.time - self.paused)}")
            if self.began is not None:  # the time for which it was paused is none that it took
                self.began = (self.began[0] + event.time - self.paused, self.began[1])
            self.paused = None
        elif event.state is self.state is JobState.RUNNING:
            self.news.append(event.reason)
        self.state, self.reason = event.state, event.reason

    def _reported(self, event: TaskReported) -> None:
        if self.began is None and len(event.points):
            self.began = (event.time, self.done)
        for point in event.points:
            if point.series == SPEED:
                self.speeds = {task: speed for task, speed in self.speeds.items() if task[0] == event.stage}
                self.speeds[event.stage, event.index] = point.value
                continue
            steps = self.series.setdefault(point.series, {})
            told, times = steps.get(point.step, (0.0, 0))
            steps[point.step] = (told + point.value, times + 1)

    def _succeeded(self, event: TasksSucceeded) -> None:
        for index in event.indexes:
            self.running.pop((event.stage, index), None)
        count = len(event.indexes)
        self.ended = event.time
        self.done += count
        self.reused += count if event.reused else 0
        if event.stage in self.stages:
            self.stages[event.stage].done += count

    def _failed(self, event: AttemptFailed) -> None:
        self.running.pop((event.stage, event.index), None)
        cause, follows = event.attempt.cause or "failed", "; tried again" if event.retried else ""
        said = event.attempt.message.partition("\n")[0]
        self.failures.append(f"{event.stage}/{event.index} on {event.attempt.worker}: {cause}, {said}{follows}")

    def _ended(self, event: Ended) -> None:
        self.state, self.running = event.job.state, {}
        self.total = event.job.tasks.total or self.total

    def latest(self) -> list[tuple[str, list[float]]]:
        """Each series in the order of its steps, loss and accuracy first."""
        names = [name for name in SHOWN_FIRST if name in self.series]
        names += sorted(self.series.keys() - set(names))
        return [(name, [told / times for _, (told, times) in sorted(self.series[name].items())]) for name in names]


def epochs_of(spec: JobSpec) -> int:
    """Epochs that a job tells of, each with how good it is on the rows to validate on; 0 for one that tells of none."""
    epochs = spec.hyperparameters.get("epochs")
    validates = spec.validation_split > 0 or spec.validation_dataset
    return epochs if validates and isinstance(epochs, int) else 0


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """The course of some numbers in one line; more than `width` are thinned out, the last one kept."""
    finite = [value for value in values if value == value and abs(value) != float("inf")]
    if not finite:
        return ""
    if len(finite) > width:
        finite = [finite[(index + 1) * len(finite) // width - 1] for index in range(width)]
    low, high = min(finite), max(finite)
    if high == low:
        return BARS[3] * len(finite)
    return "".join(BARS[min(7, int((value - low) / (high - low) * 8))] for value in finite)
