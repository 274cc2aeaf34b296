"""Gangs: stages whose tasks run at the same time or not at all, and know one another's addresses.

The rule: a formation is whole. Its members are assigned together, each to a slot of its own; where one of them fails,
is lost or is given back, all others are stopped, uncharged, and the gang forms anew with new tokens. What a gang makes
is what its first member makes: that one's result ends the stage, and another member that is done waits for it.
"""

from collections.abc import Iterable

from orchestrator.core import records as r
from orchestrator.core.commands import AckFinished, Cancel, Command, Roster
from orchestrator.core.decision import Decision, join, nothing
from orchestrator.core.events import Advance, GangReady
from orchestrator.core.state import Attempt, Job, Now, OpenStage, State, Status

FIRST = 0
"""The member whose result is the gang's."""


def waits_for_first(attempt: Attempt) -> bool:
    """Whether it is a member whose own result is of no interest."""
    return attempt.gang and attempt.index != FIRST


def dismissed(state: State, tokens: Iterable[int], reason: str) -> tuple[Command, ...]:
    """Tells the workers that have these attempts that they are of no more interest: those that run are to stop, and of
    those that are done it is known."""
    stop: dict[str, list[int]] = {}
    done: dict[str, list[int]] = {}
    for token in tokens:
        attempt = state.attempts[token]
        (stop if attempt.done is None else done).setdefault(attempt.worker, []).append(token)
    said: list[Command] = []
    for listed, kind in ((stop, Cancel), (done, AckFinished)):
        for name, own in listed.items():
            worker = state.workers.get(name)
            if worker is not None and worker.reachable:
                more = (reason,) if kind is Cancel else ()
                said.append(kind(name, worker.session, tuple(own), *more))
    return tuple(said)


def keep_whole(state: State, job: Job, now: Now) -> Decision | None:
    """Ends what is left of a formation that is not whole, or whose first member has made the result; None where there
    is nothing to do."""
    stage = job.open
    if stage is None or not stage.stage.gang or not stage.live:
        return None
    if stage.status[FIRST] == Status.SUCCEEDED:
        return _end_with_first(state, job, stage, now)
    if sorted(stage.live) == list(range(stage.formed)):
        return None
    tokens = [token for own in stage.live.values() for token in own]
    attempts = [state.attempts[token] for token in tokens]
    records = tuple(
        r.AttemptReleased(job.id, attempt.stage, attempt.index, attempt.token, attempt.worker, now.wall)
        for attempt in attempts
    )
    said = dismissed(state, tokens, "another member of its gang has ended")
    return Decision(records, said, then=(Advance(job.id),), reason=f"a member of the gang of job {job.id} is missing")


def _end_with_first(state: State, job: Job, stage: OpenStage, now: Now) -> Decision:
    attempts = [state.attempts[token] for own in stage.live.values() for token in own]
    records = tuple(
        r.TasksSucceeded(
            job.id,
            attempt.stage,
            attempt.worker,
            (attempt.token,),
            (attempt.index,),
            (attempt.done if attempt.done is not None else now.mono - attempt.since,),
            now.wall,
            last_reports=(attempt.last_report,) if attempt.last_report else (),
        )
        for attempt in attempts
    )
    said = dismissed(state, [attempt.token for attempt in attempts], "the first member of its gang has the result")
    return Decision(records, said, then=(Advance(job.id),))


def member_done(attempt: Attempt, seconds: float) -> Decision:
    """A member other than the first did its part. It is not acknowledged until the first has ended: should this be
    forgotten, its worker says it again."""
    if attempt.done is not None:
        return nothing("that it is done is known")
    return Decision((r.MemberDone(attempt.token, seconds),))


def ready(state: State, event: GangReady, now: Now) -> Decision:
    """A member waits for the others. Once all of a formation do, each is told where all of them listen."""
    worker, attempt = state.workers.get(event.worker), state.attempts.get(event.token)
    if worker is None or worker.session != event.session:
        return nothing("a superseded session")
    if attempt is None or attempt.worker != event.worker or not attempt.gang:
        return nothing("an attempt that is over, or of no gang")
    stage = state.jobs[attempt.job].open
    assert stage is not None, "an attempt's job has an open stage"
    if attempt.address and attempt.address != event.address:
        return _moved(state, attempt, now)
    known = r.MemberReady(attempt.job, attempt.stage, attempt.index, event.token, event.address)
    told = Decision(() if attempt.address else (known,))
    members = [state.attempts[stage.live[index][0]] for index in range(stage.formed) if index in stage.live]
    addresses = tuple(event.address if member is attempt else member.address for member in members)
    if len(members) < stage.formed or not all(addresses):
        return told
    # It says so again in each session until it knows the others, who may know them already.
    asking = [attempt] if attempt.address else members
    return join([told, Decision(commands=tuple(_rosters(state, asking, addresses)))])


def _rosters(state: State, members: Iterable[Attempt], addresses: tuple[str, ...]) -> Iterable[Command]:
    for member in members:
        worker = state.workers.get(member.worker)
        if worker is not None and worker.reachable:
            yield Roster(member.worker, worker.session, member.token, member.index, addresses)


def _moved(state: State, attempt: Attempt, now: Now) -> Decision:
    """The others may have been told where it was: they meet anew, as another formation."""
    released = r.AttemptReleased(attempt.job, attempt.stage, attempt.index, attempt.token, attempt.worker, now.wall)
    said = dismissed(state, [attempt.token], "it listens elsewhere than it said")
    return Decision((released,), said, then=(Advance(attempt.job),))
