"""Bare gRPC's part: what `grpc.aio` alone does between two processes, in Python, with nothing done and nothing kept.

A message holds some tasks of 100 bytes each; the server sends it back as it is. That is the limit of anything that
sends a task there and a result back by it. Both run on uvloop.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from bench.peers.sampling import Samples, arguments
from tensorfleet.loops import run

TASK = b"x" * 100
BATCHES = (1, 8, 64)
STREAM, UNARY = "/bench.Echo/Stream", "/bench.Echo/Unary"
OUTSTANDING = 512
"""Messages that are on their way at most."""


async def serve() -> None:
    async def stream(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message

    async def unary(message: bytes, context: Any) -> bytes:
        return message

    methods = {
        "Stream": grpc.stream_stream_rpc_method_handler(stream),
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", methods),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


async def echo(channel: Any, message: bytes, count: int) -> None:
    """Sends a message so often by one stream, and has it back as often."""
    room = asyncio.Semaphore(OUTSTANDING)

    async def messages() -> AsyncIterator[bytes]:
        for _ in range(count):
            await room.acquire()
            yield message

    received = 0
    async for _ in channel.stream_stream(STREAM)(messages()):
        room.release()
        received += 1
    assert received == count, "each message comes back"


async def measure(samples: Samples, options: Any, port: int) -> None:
    connection: Any = grpc.aio.insecure_channel(f"127.0.0.1:{port}")  # bytes need no serializers
    async with connection as channel:
        await echo(channel, TASK, 500)
        for batch in BATCHES:
            count = max(options.tasks, 100 * batch) // batch
            with samples.counted("tasks", f"gRPC alone, {batch} a message", count * batch):
                await echo(channel, TASK * batch, count)
        call = channel.unary_unary(UNARY)
        for _ in range(options.runs):
            with samples.timed("round_trip", "gRPC alone, unary"):
                await call(TASK)
        stream = channel.stream_stream(STREAM)()
        for _ in range(options.runs):
            with samples.timed("round_trip", "gRPC alone, stream"):
                await stream.write(TASK)
                await stream.read()
        await stream.done_writing()


def main() -> None:
    if sys.argv[1:] == ["serve"]:
        run(serve())
        return
    options, samples = arguments(), Samples()
    with subprocess.Popen([sys.executable, "-m", "bench.peers.with_grpc", "serve"], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            run(measure(samples, options, int(server.stdout.readline())))
        finally:
            server.kill()
    samples.tell(version=f"grpcio {grpc.__version__}")


if __name__ == "__main__":
    main()
