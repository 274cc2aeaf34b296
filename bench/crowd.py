"""`python -m bench.crowd ADDRESS COUNT NUMBER`: workers that join, heartbeat and never get work; for `bench.load`.

The rule: each has a connection and a stream of its own, and says what a real worker would; like one, it tries again
where there is no connection or its hello is not answered. It prints a line once all are in.
"""

import asyncio
import sys
from typing import Any

import grpc

from tensorfleet.api.v1 import worker_pb2 as pb
from tensorfleet.api.v1 import worker_pb2_grpc
from tensorfleet.rpc.channels import open_channel
from tensorfleet.wire import duration_seconds

AT_ONCE = 20
"""Hellos on their way, at most."""
WELCOME_WITHIN = 10.0
"""Seconds until a hello is said again, as by a real worker."""


async def crowd(address: str, count: int, number: int) -> None:
    gate, inside = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(0)
    workers = [asyncio.create_task(worker(address, f"sim-{number}-{each}", gate, inside)) for each in range(count)]
    for _ in range(count):
        await inside.acquire()
    print("in", flush=True)
    await asyncio.gather(*workers)


async def worker(address: str, name: str, gate: asyncio.Semaphore, inside: asyncio.Semaphore) -> None:
    while True:
        async with open_channel(address) as channel:
            try:
                async with gate, asyncio.timeout(WELCOME_WITHIN):
                    call = worker_pb2_grpc.WorkerServiceStub(channel).Session()  # type: ignore[call-arg]
                    await call.write(pb.WorkerMessage(hello=hello(name)))
                    answer = await call.read()
            except (TimeoutError, asyncio.InvalidStateError, grpc.aio.AioRpcError):
                continue
            assert isinstance(answer, pb.OrchestratorMessage)
            inside.release()
            await heartbeats(call, answer)


async def heartbeats(call: Any, answer: pb.OrchestratorMessage) -> None:
    beat = pb.Heartbeat(load=0.5, memory_bytes=1 << 30, slots=[pb.SlotStatus(pid=1) for _ in range(4)])
    while True:
        await asyncio.sleep(duration_seconds(answer.welcome.heartbeat))
        await call.write(pb.WorkerMessage(session=answer.welcome.session, heartbeat=beat))


def hello(name: str) -> pb.Hello:
    return pb.Hello(
        worker_id=name,
        incarnation=name,
        protocol_min=1,
        protocol_max=1,
        slots=4,
        credit=8,
        resources=pb.WorkerResources(cpus=4, memory_bytes=1 << 34),
        labels={"bench": "simulated"},
        fingerprint="simulated",
        host=name,
    )


if __name__ == "__main__":
    asyncio.run(crowd(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
