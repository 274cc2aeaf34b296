"""What is known of a job that is watched: its events folded into what a view shows.

The rule: pure; the same events give the same picture, on a terminal or in lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tensorfleet.model import JobState
from tensorfleet.sdk.events import (
    AttemptFailed,
    Ended,
    Event,
    StageOpened,
    StateChanged,
    TaskReported,
    TasksAssigned,
    TasksSucceeded,
)

SHOWN_FIRST = ("loss", "accuracy")
BARS = "▁▂▃▄▅▆▇█"


@dataclass
class Stage:
    tasks: int
    done: int = 0


@dataclass
class Progress:
    """A job so far. running: which worker has which task. series: points by name, then by step."""

    state: JobState = JobState.QUEUED
    reason: str = ""
    total: int = 0
    done: int = 0
    reused: int = 0
    stage: str = ""
    stages: dict[str, Stage] = field(default_factory=dict)
    running: dict[tuple[str, int], str] = field(default_factory=dict)
    series: dict[str, dict[int, float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def learn(self, event: Event) -> None:
        match event:
            case StateChanged():
                self.state, self.reason = event.state, event.reason
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
            case TaskReported():
                for point in event.points:
                    self.series.setdefault(point.series, {})[point.step] = point.value
            case Ended():
                self._ended(event)

    def _succeeded(self, event: TasksSucceeded) -> None:
        for index in event.indexes:
            self.running.pop((event.stage, index), None)
        count = len(event.indexes)
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
        return [(name, [value for _, value in sorted(self.series[name].items())]) for name in names]


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
