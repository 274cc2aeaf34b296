"""Points on their way out of a slot: each at once while they are few, else those of a moment together.

The rule: no point waits for the next one, nor for its task's end: where some are kept back, a thread says them a moment
later, whatever the task does meanwhile. What else is said of the task comes after them.
"""

import threading
import time
from collections.abc import Callable

from tensorfleet.model import Points
from worker.messages import Measured, frame

APART = 0.005
"""Seconds from one message of points to the next."""
MOST = 4096
"""Points that are kept back; the next says them all."""


class PointsOut:
    """Takes one point after another. send: sends bytes, and waits while they are not read; called under `lock`."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self.lock = threading.Lock()
        self._send = send
        self._sent = 0.0
        self._kept = threading.Event()
        self._thread: threading.Thread | None = None
        self._begin()

    def add(self, series: str, step: int, value: float) -> None:
        """Raises what `send` does."""
        with self.lock:
            self._series.append(self._names.setdefault(series, len(self._names)))
            self._steps.append(step)
            self._values.append(value)
            if len(self._steps) >= MOST or time.monotonic() - self._sent >= APART:
                self.say()
            elif len(self._steps) == 1:
                self._keep()

    def say(self) -> None:
        """Says what is kept; under the lock."""
        if not self._steps:
            return
        series = tuple(self._series) if len(self._names) > 1 else ()
        points = Points(tuple(self._names), series, tuple(self._steps), tuple(self._values))
        self._begin()
        self._send(frame(Measured(points)))
        self._sent = time.monotonic()

    def _begin(self) -> None:
        self._names: dict[str, int] = {}
        self._series: list[int] = []
        self._steps: list[int] = []
        self._values: list[float] = []

    def _keep(self) -> None:
        if self._thread is None:  # most tasks never need it
            self._thread = threading.Thread(target=self._say_later, name="points", daemon=True)
            self._thread.start()
        self._kept.set()

    def _say_later(self) -> None:
        while True:
            self._kept.wait()
            self._kept.clear()
            time.sleep(APART)
            with self.lock:
                try:
                    self.say()
                except OSError:
                    return  # the agent is gone, as the task's own next word will find
