"""When something is due: workers' leases and graces, jobs' deadlines, the ends of backoffs; soonest first.

The rule: what stands on top is due at its time, unless a worker was heard since; entries that mean nothing any more lie
below it until they come up. So neither a heartbeat nor a task looks at every worker or job.
"""

import heapq
from collections.abc import Iterator

from orchestrator.core.state import Now, State, Timer, TimerKind, Worker


def tick_every(state: State) -> float:
    """The longest time between ticks while there are workers: a longer one means that we were stalled."""
    return state.settings.lease / 4


def next_tick(state: State) -> float | None:
    """The monotonic time at which the timer must fire; None where nothing waits for time."""
    times = [state.timers[0].time] if state.timers else []
    if state.ticked is not None and len(state.workers) > len(state.departed):
        times += [state.ticked + tick_every(state), *([] if state.look is None else [state.look])]
    return min(times, default=None)


def due(state: State, now: Now) -> list[Timer]:
    """What is due, in the order in which it became so."""
    return sorted({timer for timer in _up_to(state.timers, now.mono) if _stands(state, timer)})


def _up_to(heap: list[Timer], mono: float, at: int = 0) -> Iterator[Timer]:
    if at < len(heap) and heap[at].time <= mono:
        yield heap[at]
        yield from _up_to(heap, mono, 2 * at + 1)
        yield from _up_to(heap, mono, 2 * at + 2)


def set_timer(state: State, time: float, kind: TimerKind, name: str, task: int = 0) -> None:
    heapq.heappush(state.timers, Timer(time, kind, name, task))


def clear_up(state: State) -> None:
    """Drops what means nothing any more from the top."""
    while state.timers and not _stands(state, state.timers[0]):
        heapq.heappop(state.timers)


def watch(state: State, worker: Worker) -> None:
    """Sets a worker's timer anew, to the end of its grace or else of its lease; a worker that is gone has none."""
    worker.timer = _until(state, worker)
    if worker.timer is not None:
        set_timer(state, worker.timer, TimerKind.WORKER, worker.info.id)
    clear_up(state)


def catch_up(state: State, mono: float) -> None:
    """Sets the timers of workers that were heard since these were set, as far as they are due."""
    for timer in list(_up_to(state.timers, mono)):
        if timer.kind is TimerKind.WORKER and _stands(state, timer):
            worker = state.workers[timer.name]
            if _until(state, worker) != timer.time:
                watch(state, worker)
    clear_up(state)


def _until(state: State, worker: Worker) -> float | None:
    if worker.deadline is not None:
        return worker.deadline
    return worker.heard + state.settings.lease if worker.reachable else None


def _stands(state: State, timer: Timer) -> bool:
    if timer.kind is TimerKind.WORKER:
        worker = state.workers.get(timer.name)
        return worker is not None and worker.timer == timer.time
    if timer.name not in state.active:
        return False
    job = state.jobs[timer.name]
    if timer.kind is TimerKind.DEADLINE:
        return job.deadline == timer.time
    return job.open is not None and job.open.waiting.get(timer.task) == timer.time
