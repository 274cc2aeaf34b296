"""Stragglers: when a stage is nearly done and an attempt is far past its cohort's times, a twin starts elsewhere.

The first to commit wins. Tasks are pure, so whichever it is, the result is the same.
"""

from collections.abc import Iterator

from orchestrator.core import records as r
from orchestrator.core.decision import Decision, join
from orchestrator.core.events import HelpStragglers
from orchestrator.core.placement import assignment
from orchestrator.core.room import Round
from orchestrator.core.state import Attempt, Job, Now, OpenStage, State
from orchestrator.core.timers import tick_every
from tensorfleet.model import JobState

COHORT = 4
"""Tasks that must have run before their mean says anything."""

APART = 0.1
"""Seconds between two looks, at least: each is at all attempts of the stages that are nearly done."""


def _watched(state: State) -> Iterator[tuple[Job, OpenStage, float]]:
    """Stages in which only attempts that run are left, with the time past which one is a straggler."""
    for job_id in dict.fromkeys(attempt.job for attempt in state.attempts.values()):
        job = state.jobs[job_id]
        stage = job.open
        if stage is None or stage.timed < COHORT or stage.waiting or stage.has_pending():
            continue
        if job.state == JobState.PAUSED:
            continue
        if stage.live and stage.checked == stage.stage.count and stage.done * 4 >= stage.stage.count * 3:
            mean = stage.mean_seconds or 0.0
            if stage.stage.gang:
                continue
            yield job, stage, max(state.settings.straggler_floor, state.settings.straggler_factor * mean)


def _alone(state: State, stage: OpenStage) -> Iterator[Attempt]:
    for index, tokens in stage.live.items():
        attempt = state.attempts[tokens[0]]
        if len(tokens) == 1 and attempt.started and stage.stage.task(index).pure:
            yield attempt


def help_out(state: State, event: HelpStragglers, now: Now) -> Decision:
    """A twin for each straggler, as far as free slots go."""
    turn = Round(state)
    decisions: list[Decision] = []
    until = now.mono + tick_every(state)
    for job, stage, limit in _watched(state):
        for attempt in _alone(state, stage):
            if attempt.since + limit > now.mono:
                until = min(until, attempt.since + limit)
                continue
            helper = turn.choose(job, (), apart=attempt.worker)
            if helper is None:
                continue
            turn.give(job, helper)
            task = stage.stage.task(attempt.index)
            record, command = assignment(
                state.token(len(decisions)), helper, job, stage, (attempt.index,), (task,), now
            )
            decisions.append(Decision((record,), (command,)))
    return join([*decisions, Decision((r.Looked(max(until, now.mono + APART)),))])
