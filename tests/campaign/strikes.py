"""How each fault is done to a cluster.

The rule: a strike ends with everything allowed to go on, and tells what it did. One that finds nothing to hit does
nothing.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tensorfleet.testing.faults import Fault, Strike
from tests.campaign.cluster import LEASE, Cluster
from tests.campaign.machines import Small
from tests.campaign.programs import Kept, Program, Worker
from tests.campaign.stored import damage

T = TypeVar("T")
Hit = Callable[[Cluster, Strike], Awaitable[str]]

NOTHING = "nothing to hit"


async def strike(cluster: Cluster, one: Strike) -> str:
    """Does it; in words, what was done."""
    return await HITS[one.fault](cluster, one)


def _chosen(one: Strike, those: Sequence[T]) -> T | None:
    return those[one.choose(len(those))] if those else None


def _worker(cluster: Cluster, one: Strike) -> Worker | None:
    return _chosen(one, [worker for worker in cluster.workers if worker.pid is not None])


async def kill_worker(cluster: Cluster, one: Strike) -> str:
    worker = _worker(cluster, one)
    if worker is None:
        return NOTHING
    worker.signal(signal.SIGKILL)
    return f"killed {worker.name}"


async def kill_slot(cluster: Cluster, one: Strike) -> str:
    slot = _chosen(one, [(worker.name, pid) for worker in cluster.workers for pid in worker.slots()])
    if slot is None:
        return NOTHING
    _send([slot[1]], signal.SIGKILL)
    return f"killed a slot of {slot[0]}"


async def kill_orchestrator(cluster: Cluster, one: Strike) -> str:
    """It stays away for a while, so that another may take over."""
    orchestrator = _chosen(one, [each for each in cluster.orchestrators if each.pid is not None])
    if orchestrator is None:
        return NOTHING
    orchestrator.hold()
    orchestrator.signal(signal.SIGKILL)
    await asyncio.sleep(one.lasts * LEASE)
    orchestrator.go_on()
    return f"killed {orchestrator.name} for {one.lasts:.2f} leases"


async def stop_orchestrator(cluster: Cluster, one: Strike) -> str:
    orchestrator = _chosen(one, [each for each in cluster.orchestrators if each.pid is not None])
    if orchestrator is None or orchestrator.pid is None:
        return NOTHING
    return await _stopped(orchestrator, [orchestrator.pid], one)


async def kill_documents(cluster: Cluster, one: Strike) -> str:
    assert cluster.documents is not None
    return await _killed(cluster.documents, one)


async def kill_objects(cluster: Cluster, one: Strike) -> str:
    assert cluster.objects is not None
    return await _killed(cluster.objects, one)


async def _killed(server: Kept, one: Strike) -> str:
    async with server.in_hand:
        await asyncio.to_thread(server.program.kill)
        await asyncio.sleep(one.lasts * LEASE)
        await asyncio.to_thread(server.program.start)
    return f"killed {server.program.name} for {one.lasts:.2f} leases"


async def stop_agent(cluster: Cluster, one: Strike) -> str:
    worker = _worker(cluster, one)
    return NOTHING if worker is None else await _stopped(worker, worker.family()[:1], one)


async def stop_worker(cluster: Cluster, one: Strike) -> str:
    worker = _worker(cluster, one)
    return NOTHING if worker is None else await _stopped(worker, worker.family(), one)


async def _stopped(program: Program, pids: list[int], one: Strike) -> str:
    _send(pids, signal.SIGSTOP)
    try:
        await asyncio.sleep(one.lasts * LEASE)
    finally:
        _send(pids, signal.SIGCONT)
    return f"stopped {len(pids)} processes of {program.name} for {one.lasts:.2f} leases"


async def cut_stream(cluster: Cluster, one: Strike) -> str:
    number = one.choose(len(cluster.lines))
    cluster.lines[number].cut()
    await asyncio.sleep(one.lasts * LEASE / 5)
    cluster.lines[number].mend()
    return f"cut line {number + 1} for {one.lasts / 5:.2f} leases"


async def hang_stream(cluster: Cluster, one: Strike) -> str:
    number = one.choose(len(cluster.lines))
    cluster.lines[number].hang()
    await asyncio.sleep(one.lasts * LEASE)
    cluster.lines[number].flow()
    return f"let nothing through line {number + 1} for {one.lasts:.2f} leases"


async def fill_disk(cluster: Cluster, one: Strike) -> str:
    worker = _chosen(one, [worker for worker in cluster.workers if isinstance(worker.machine, Small)])
    if worker is None:
        return NOTHING
    assert isinstance(worker.machine, Small)
    ballast = worker.machine.fill()
    try:
        await asyncio.sleep(one.lasts * LEASE)
    finally:
        ballast.unlink()
    return f"filled the disk of {worker.name} for {one.lasts:.2f} leases"


async def delete_cached(cluster: Cluster, one: Strike) -> str:
    cached = _chosen(one, _cached(cluster))
    if cached is None:
        return NOTHING
    cached.unlink(missing_ok=True)
    return f"deleted {cached.name[:8]} of a cache"


async def corrupt_cached(cluster: Cluster, one: Strike) -> str:
    cached = _chosen(one, _cached(cluster))
    return NOTHING if cached is None or damage(cached) is None else f"damaged {cached.name[:8]} in a cache"


async def corrupt_blob(cluster: Cluster, one: Strike) -> str:
    blob = _chosen(one, await asyncio.to_thread(cluster.stored.since, cluster.began))
    if blob is None or not await asyncio.to_thread(cluster.stored.damage, blob):
        return NOTHING
    return f"damaged the blob {blob[:8]}"


async def cut_power(cluster: Cluster, one: Strike) -> str:
    assert cluster.head is not None
    cluster.head.cut_power()
    return "cut the power of the orchestrator's machine"


def _cached(cluster: Cluster) -> list[Path]:
    return sorted(path for worker in cluster.workers for path in (worker.home / "cache").glob("??/*"))


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


HITS: dict[Fault, Hit] = {
    Fault.KILL_WORKER: kill_worker,
    Fault.KILL_SLOT: kill_slot,
    Fault.KILL_ORCHESTRATOR: kill_orchestrator,
    Fault.KILL_DOCUMENTS: kill_documents,
    Fault.KILL_OBJECTS: kill_objects,
    Fault.STOP_ORCHESTRATOR: stop_orchestrator,
    Fault.STOP_AGENT: stop_agent,
    Fault.STOP_WORKER: stop_worker,
    Fault.CUT_STREAM: cut_stream,
    Fault.HANG_STREAM: hang_stream,
    Fault.FILL_DISK: fill_disk,
    Fault.DELETE_CACHED: delete_cached,
    Fault.CORRUPT_CACHED: corrupt_cached,
    Fault.CORRUPT_BLOB: corrupt_blob,
    Fault.CUT_POWER: cut_power,
}
