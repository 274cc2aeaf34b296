"""`python -m bench.crowd ADDRESS COUNT NUMBER [work]`: workers that join and heartbeat; for `bench.load`, `bench.flat`.

The rule: each has a connection and a stream of its own, and says what a real worker would; like one, it tries again
where there is no connection or its hello is not answered. With `work` it says of each task at once that it succeeded;
without, it never gets any. It prints a line once all are in.
"""

import asyncio
import sys
from typing import Any

import grpc

from tensorfleet.api.v1 import worker_pb2 as pb
from tensorfleet.api.v1 import worker_pb2_grpc
from tensorfleet.loops import run
from tensorfleet.rpc.channels import open_channel
from tensorfleet.wire import duration_seconds

AT_ONCE = 20
"""Hellos on their way, at most."""
WELCOME_WITHIN = 10.0
"""Seconds until a hello is said again, as by a real worker."""
SLOTS, CREDIT = 4, 1024
"""Of each worker, and tasks that it holds for each slot, where it works: as many as a real one."""


async def crowd(address: str, count: int, number: int, works: bool) -> None:
    gate, inside = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(0)
    names = [f"sim-{number}-{each}" for each in range(count)]
    workers = [asyncio.create_task(worker(address, name, works, gate, inside)) for name in names]
    for _ in range(count):
        await inside.acquire()
    print("in", flush=True)
    await asyncio.gather(*workers)


async def worker(address: str, name: str, works: bool, gate: asyncio.Semaphore, inside: asyncio.Semaphore) -> None:
    while True:
        async with open_channel(address) as channel:
            try:
                async with gate, asyncio.timeout(WELCOME_WITHIN):
                    call = worker_pb2_grpc.WorkerServiceStub(channel).Session()  # type: ignore[call-arg]
                    await call.write(pb.WorkerMessage(hello=hello(name, works)))
                    answer = await call.read()
            except (TimeoutError, asyncio.InvalidStateError, grpc.aio.AioRpcError):
                continue
            assert isinstance(answer, pb.OrchestratorMessage)
            inside.release()
            saying = asyncio.Lock()
            if works:
                await asyncio.gather(heartbeats(call, answer.welcome, saying), work(call, answer.welcome, saying))
            else:
                await heartbeats(call, answer.welcome, saying)


async def heartbeats(call: Any, welcome: pb.Welcome, saying: asyncio.Lock) -> None:
    beat = pb.Heartbeat(load=0.5, memory_bytes=1 << 30, slots=[pb.SlotStatus(pid=1) for _ in range(SLOTS)])
    while True:
        await asyncio.sleep(duration_seconds(welcome.heartbeat))
        async with saying:
            await call.write(pb.WorkerMessage(session=welcome.session, heartbeat=beat))


async def work(call: Any, welcome: pb.Welcome, saying: asyncio.Lock) -> None:
    """Everything that is assigned has succeeded as soon as it comes."""
    while isinstance(message := await call.read(), pb.OrchestratorMessage):
        tokens = [token for assigned in message.assign.assignments for token in assigned.tokens]
        if tokens:
            done = pb.Finished(succeeded=tokens, seconds=[0.0] * len(tokens))
            async with saying:
                await call.write(pb.WorkerMessage(session=welcome.session, finished=done))


def hello(name: str, works: bool) -> pb.Hello:
    return pb.Hello(
        worker_id=name,
        incarnation=name,
        protocol_min=1,
        protocol_max=1,
        slots=SLOTS,
        credit=CREDIT * SLOTS if works else 2 * SLOTS,
        resources=pb.WorkerResources(cpus=4, memory_bytes=1 << 34),
        labels={"bench": "simulated"},
        fingerprint="simulated",
        host=name,
    )


if __name__ == "__main__":
    run(crowd(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), "work" in sys.argv[4:]))
