"""What becomes of an attempt once its slot, or the machine, is through with it.

The rule: an attempt ends once, and not before what it made is put away. Why it was stopped outweighs how it died. One
that its process could not run has not ended: it waits for the slot's next.
"""

from tensorfleet.model import Cause
from worker import disk
from worker.actions import Action, Forget, LookAtDisk, PutAway
from worker.lanes import Attempt, Lane, Phase
from worker.messages import Died, End, Ending, Failed, GaveUp, Succeeded, Unfit
from worker.outbox import Outbox

MOST_UNFIT = 2
"""Processes that cannot run an attempt and leave it to another; one more, and the attempt fails."""


class Outcomes:
    """Ends attempts, and has the outbox tell it."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._unfit: dict[int, Attempt] = {}  # by slot, what waits for another process of it

    def heard(self, lane: Lane, message: End, actions: list[Action]) -> None:
        """What was first in a slot's pipe has ended there."""
        attempt = lane.end_first(actions)
        match message:
            case Failed():
                self.failed(attempt, message, message.seconds, actions)
            case GaveUp():
                self._gave_up(attempt, message, actions)
            case Unfit():
                lane.killed = True  # it ends by itself
                self._found_unfit(lane, attempt, message, actions)
            case Succeeded():
                self._succeeded(attempt, message, actions)

    def failed(self, attempt: Attempt, outcome: Failed | Died, seconds: float, actions: list[Action]) -> None:
        cause, reason, message = outcome.cause, outcome.reason, outcome.message
        ending = Ending(cause=cause, reason=reason, message=message, duration=seconds, ended_at=outcome.ended_at)
        self.end(attempt, ending)
        actions.append(Forget(attempt.order.token))
        if reason == disk.REASON:
            actions.append(LookAtDisk())

    def stopped(self, attempt: Attempt) -> Action:
        """Ends an attempt that was stopped and runs in no slot."""
        self.end(attempt, Ending(cause=Cause.CANCELLED))  # why it was stopped outweighs this
        return Forget(attempt.order.token)

    def end(self, attempt: Attempt, ending: Ending) -> None:
        attempt.phase = Phase.ENDED
        if not attempt.dropped:
            attempt.ending = ending if ending.cause is None else _failure(attempt, ending)
            self._outbox.end(attempt)

    def left(self, slot: int) -> Attempt | None:
        """Takes what the last process of a slot could not run and left to its next."""
        attempt = self._unfit.pop(slot, None)
        return attempt if attempt is not None and attempt.phase is Phase.WAITING else None

    def _succeeded(self, attempt: Attempt, outcome: Succeeded, actions: list[Action]) -> None:
        if outcome.outputs and not attempt.dropped:
            attempt.phase = Phase.STORING
            actions.append(PutAway(attempt.order.token, outcome))
            return
        ending = Ending(summary=outcome.summary, duration=outcome.seconds, ended_at=outcome.ended_at)
        self.end(attempt, ending)
        if attempt.order.work.brought or outcome.outputs or attempt.saves:
            actions.append(Forget(attempt.order.token))

    def _gave_up(self, attempt: Attempt, outcome: GaveUp, actions: list[Action]) -> None:
        if outcome.saved is not None and not attempt.dropped:
            attempt.phase = Phase.STORING
            actions.append(PutAway(attempt.order.token, outcome))
            return
        self.end(attempt, Ending(gave_up=True, duration=outcome.seconds, ended_at=outcome.ended_at))
        actions.append(Forget(attempt.order.token))

    def _found_unfit(self, lane: Lane, attempt: Attempt, outcome: Unfit, actions: list[Action]) -> None:
        """The slot's next process runs it, and nobody is charged; unless it is to be stopped, or fresh ones cannot
        either."""
        attempt.unfit += 1
        if attempt.stopping is None and not attempt.dropped and attempt.unfit <= MOST_UNFIT:
            attempt.phase, attempt.begun, attempt.told_start = Phase.WAITING, False, False
            self._unfit[lane.number] = attempt
            return
        message = f"{attempt.unfit} processes in a row could not run the task: {outcome.message}"
        failed = Failed(Cause.EXCEPTION, "UNSUITED", message, outcome.seconds, None, outcome.ended_at)
        self.failed(attempt, failed, outcome.seconds, actions)


def _failure(attempt: Attempt, ending: Ending) -> Ending:
    """How an attempt failed, with the last it logged."""
    cause, reason, message = ending.cause, ending.reason, ending.message
    if attempt.stopping is not None:
        cause, message = attempt.stopping
        if cause is None:
            return Ending(gave_up=True, duration=ending.duration, ended_at=ending.ended_at)
        reason = cause.name
    return Ending(
        cause=cause,
        reason=reason,
        message=message,
        log_tail=tuple(attempt.reports.tail) if attempt.reports is not None else (),
        duration=ending.duration,
        ended_at=ending.ended_at,
    )
