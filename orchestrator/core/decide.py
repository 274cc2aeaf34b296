"""`decide`: an event in, a decision out; and `step`, which applies a batch of events one by one.

The rule: `decide` reads the state and its arguments, changes nothing, and looks nothing up elsewhere.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from orchestrator.core import (
    attempts,
    damage,
    events,
    gangs,
    jobs,
    leases,
    placement,
    registry,
    steering,
    stragglers,
    workers,
)
from orchestrator.core.apply import apply
from orchestrator.core.commands import Command, Reply
from orchestrator.core.decision import Decision
from orchestrator.core.records import Record, WorkerHeard
from orchestrator.core.state import Now, State

_DECIDE: dict[type[events.Event], Callable[[State, Any, Now], Decision]] = {
    events.SubmitJobs: jobs.submit,
    events.CancelJob: jobs.cancel,
    events.RetryJob: jobs.retry,
    events.PauseJob: steering.pause,
    events.ResumeJob: steering.resume,
    events.CheckpointJob: steering.checkpoint,
    events.StopJob: steering.stop,
    events.KnownResults: jobs.known_results,
    events.Inspected: damage.inspected,
    events.Advance: jobs.advance,
    events.FailJob: attempts.fail_job,
    events.OpenSession: workers.open_session,
    events.SessionLost: workers.lost,
    events.Leaving: workers.leaving,
    events.Heartbeat: workers.heartbeat,
    events.DrainWorker: workers.drain,
    events.Began: attempts.began,
    events.Released: attempts.released,
    events.Report: attempts.reported,
    events.GangReady: gangs.ready,
    events.Saved: attempts.saved,
    events.Finished: attempts.finished,
    events.Succeeded: attempts.succeeded,
    events.SetAlias: registry.set_alias,
    events.DeleteModel: registry.delete_model,
    events.DeleteDataset: registry.delete_dataset,
    events.ForgetResults: registry.forget_results,
    events.Tick: leases.tick,
    events.GiveUp: leases.give_up_due,
    events.PastDeadline: jobs.past_deadline,
    events.HelpStragglers: stragglers.help_out,
    events.Place: placement.place,
}


def decide(state: State, event: events.Event, now: Now) -> Decision:
    """What should happen now that this has happened."""
    return _DECIDE[type(event)](state, event, now)


class Step(Struct, frozen=True):
    """What a batch of events came to. Commands and replies wait until the durable records are."""

    records: list[Record]
    commands: list[Command]
    replies: list[Reply]


def step(
    state: State,
    batch: Iterable[events.Event],
    now: Now,
    seen: Callable[[events.Event, Decision], None] | None = None,
    applied: Callable[[Record], None] | None = None,
) -> Step:
    """Decides and applies each event, then what follows from it, and hands out work once something has changed.

    seen: is shown each event with its decision, after it was applied; for tests and traces. applied: is given each
    record while it is the last that was applied.
    """
    done = Step([], [], [])
    queue = deque(batch)
    placed = True
    while queue or not placed:
        if not queue:
            queue.append(events.Place())
            placed = True
        event = queue.popleft()
        decision = decide(state, event, now)
        for record in decision.records:
            apply(state, record, now.mono)
            if applied is not None:
                applied(record)
            placed = placed and isinstance(record, WorkerHeard)
        done.records.extend(decision.records)
        done.commands.extend(decision.commands)
        done.replies.extend(decision.replies)
        queue.extendleft(reversed(decision.then))
        if isinstance(event, events.Place):
            placed = not decision.then  # what follows may have made more to hand out
        if seen is not None:
            seen(event, decision)
    return done
