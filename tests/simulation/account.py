"""The final account of a world that has come to rest: results, events, documents, and that nothing is left.

The rule: everything is held against the journal, or against what the drill computes by itself.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.documents import JobDocument
from orchestrator.drawing import Drawing
from tensorfleet.model import JobState
from tensorfleet.sdk.events import Ended
from tests.simulation import drills
from tests.simulation.scenario import ends
from tests.simulation.users import Account, Seen
from tests.simulation.witness import differences, lasting

if TYPE_CHECKING:
    from tests.simulation.world import World


def settle(world: "World") -> None:
    """Tells the world what is wrong with its end."""
    world.database.sync()
    state, _, drawings = world.witness.replayed()
    documents = _drawn(drawings)
    _compare(world, documents)
    engine = world.leader()
    ours, theirs = lasting(state), lasting(engine.state)
    if ours != theirs:
        world.fail(f"the engine has another state than the journal: {differences(ours, theirs)}")
    for user in world.users:
        _check_end(world, user.account)
        for seen in user.account.seen:
            _check_seen(world, seen, documents["events"])


def _drawn(drawings: list[Drawing]) -> dict[str, dict[str, Any]]:
    """The documents of a fresh projection."""
    drawn: dict[str, dict[str, Any]] = {}
    for number, drawing in enumerate(drawings, 1):
        for write in drawing.writes(number):
            documents = drawn.setdefault(write.collection, {})
            documents.pop(write.id, None)
            if write.document is not None:
                documents[write.id] = write.document
    return drawn


def _compare(world: "World", drawn: dict[str, dict[str, Any]]) -> None:
    for collection in ("jobs", "tasks", "events", "metrics", "models", "results", "workers"):
        there = {kept.id: msgspec.json.decode(kept.text) for kept in world.database.all(collection)}
        fresh = msgspec.json.decode(msgspec.json.encode(drawn.get(collection, {})))
        if there != fresh:
            world.fail(f"{collection} are not what the journal draws: {differences(fresh, there)}")
    if world.database.projected != len(world.witness.entries):
        world.fail(f"projected up to {world.database.projected} of {len(world.witness.entries)} entries")


def _check_end(world: "World", account: Account) -> None:
    kept = world.database.get("jobs", account.job)
    if kept is None:
        return world.fail(f"{account.job} has no document")
    job = msgspec.json.decode(kept.text, type=JobDocument)
    spec = account.errand.spec
    end = (job.state, job.failure.cause if job.failure else None)
    if end not in ends(account.errand, world.scenario.settings):
        return world.fail(f"{job.id} ended as {end}: {job.failure}")
    if job.state is not JobState.SUCCEEDED:
        return None
    ledger = world.witness.ledger
    right = drills.expected(job.spec, len(ledger.opened[job.id]))
    if job.result is None or job.result.model != right.model or job.result.metrics != right.metrics:
        return world.fail(f"{job.id} made {job.result}, and should have made {right}")
    life = ledger.lives[job.id]
    done = sum(1 for name, at, _, _ in ledger.results if (name, at) == (job.id, life))
    ran = job.run + job.reused
    if done > ran or (done < ran and not drills.gangs(spec)):  # of a gang, those that were not needed are done
        world.fail(f"{job.id}: {job.run} were run and {job.reused} reused; {done} were counted")
    if account.errand.stop_after is None and ran != sum(drills.sizes(spec).values()):
        world.fail(f"{job.id}: {ran} of its tasks have results")
    return None


def _check_seen(world: "World", seen: Seen, events: dict[str, Any]) -> None:
    """A watcher saw each event of its job once, and in order, up to an end."""
    there = sorted(
        (document["number"], document["events"]) for document in events.values() if document["job_id"] == seen.job
    )
    all_of_them = [(f"{number}.{index}", event) for number, listed in there for index, event in enumerate(listed)]
    cursors = [event.cursor for event in seen.events]
    if cursors != [cursor for cursor, _ in all_of_them[: len(cursors)]]:
        wanted = [cursor for cursor, _ in all_of_them]
        return world.fail(f"a watcher of {seen.job} saw {cursors}; there were {wanted}")
    if not isinstance(seen.events[-1], Ended):
        return world.fail(f"a watcher of {seen.job} ended with {seen.events[-1]}")
    for event, (cursor, written) in zip(seen.events, all_of_them, strict=False):
        for name in ("stage", "worker", "index", "token", "number", "indexes", "tokens", "seconds", "last_reports"):
            if written.get(name) and hasattr(event, name) and _plain(getattr(event, name)) != _plain(written[name]):
                world.fail(f"event {cursor} of {seen.job} was shown as {event}, and is {written}")
    return None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
