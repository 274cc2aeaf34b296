"""Bytes to a worker: how fast a dataset's blocks come into its cache, verified, and that they come but once.

Through the object store the peer is boto3's `download_file` of the same objects to the same disk; through the
orchestrator, for a worker that has no way to the store, it is a bare gRPC stream of 1 MiB chunks from one process to
another's file, as it comes, and once more with the one setting of malloc that a worker has (`keep_buffers`). Ours has
each digest checked, theirs has none. All take turns in one run. The S3 server is versitygw, as the tests use it: `make
servers` builds it, and without it its part is left out.
"""

import argparse
import asyncio
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from unittest.mock import patch

import grpc

from bench.figures import Spread, finish, show
from tensorfleet import loops
from tensorfleet.config import STORE_VARIABLES
from tensorfleet.model import Ref
from tensorfleet.rpc.channels import open_channel
from tensorfleet.rpc.chunks import keep_buffers
from tensorfleet.sdk.processes import Child
from tensorfleet.sdk.seat import reserved, serves
from tensorfleet.stores import open_objects
from tensorfleet.stores.contract import Grant, ObjectStore
from tests.servers import builds, programs
from worker.cache import Cache
from worker.messages import OrderInput
from worker.remote import RemoteArtifacts

MIB = 1 << 20
BUCKET = "bytes"
STREAM = "/bench.Bytes/Stream"
POLL = 0.01

Turn = Callable[[Path], Awaitable[float]]
"""Brings all bytes into a folder; seconds that it took."""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.bytes", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="of the dataset")
    parser.add_argument("--block-mib", type=int, default=28, help="of a block: 65,536 rows of 54 columns and a target")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--take", nargs=3, metavar=("ADDRESS", "FILE", "BUFFERS"), help=argparse.SUPPRESS)
    return parser.parse_args(given)


class Counted(RemoteArtifacts):
    """The orchestrator's ArtifactService, as one worker sees it. far: that worker has no way to the object store."""

    def __init__(self, channel: grpc.aio.Channel, far: bool) -> None:
        super().__init__(channel)
        self.asked = 0
        """How often it was asked for a blob's bytes, or for leave to read them."""
        self._far = far

    def get(self, digest: str, check: bool) -> AsyncIterator[bytes | memoryview]:
        self.asked += self._far
        return super().get(digest, check)

    async def grant_get(self, digest: str) -> Grant | None:
        if self._far:
            return None
        self.asked += 1
        return await super().grant_get(digest)


class Worker:
    """A worker that is new in each turn. again: seconds of the same inputs for its second job."""

    def __init__(self, address: str, blocks: Sequence[Ref], *, far: bool) -> None:
        self._address, self._blocks, self._far = address, blocks, far
        self.again: list[float] = []

    async def fetch(self, folder: Path) -> float:
        async with open_channel(self._address) as channel:
            await channel.channel_ready()
            remote, cache = Counted(channel, self._far), Cache(folder / "cache")
            await cache.connect(remote, "", 0)
            seconds = await self._job(cache, folder / "first")
            asked = remote.asked
            self.again.append(await self._job(cache, folder / "second"))
            assert asked == remote.asked == len(self._blocks), "each block comes once"
        return seconds

    async def _job(self, cache: Cache, place: Path) -> float:
        place.mkdir()
        begun = time.perf_counter()
        await cache.fetch_all([OrderInput(ref) for ref in self._blocks], place)
        return time.perf_counter() - begun


def with_boto3(endpoint: str, blocks: Sequence[Ref]) -> Turn:
    """boto3 alone, as it comes, of the same objects."""
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint)

    def fetch(folder: Path) -> None:
        for ref in blocks:
            client.download_file(BUCKET, f"cas/sha256/{ref.digest[:2]}/{ref.digest}", str(folder / ref.digest))

    async def turn(folder: Path) -> float:
        begun = time.perf_counter()
        await asyncio.to_thread(fetch, folder)
        return time.perf_counter() - begun

    return turn


def with_grpc(mib: int, buffers: str) -> Turn:
    """gRPC alone: chunks from one process to another, which writes them to a file."""

    async def turn(folder: Path) -> float:
        with other_end() as address:
            take = ["-m", "bench.bytes", "--mib", str(mib), "--take", address, str(folder / "stream"), buffers]
            client = await asyncio.create_subprocess_exec(sys.executable, *take, stdout=subprocess.PIPE)
            told, _ = await client.communicate()
            return float(told)

    return turn


async def take(mib: int, address: str, buffers: str, file: BinaryIO) -> float:
    """gRPC alone, the end that takes: seconds that it took."""
    if buffers == "kept":
        keep_buffers()
    channel: Any = grpc.aio.insecure_channel(address)
    async with channel:
        await channel.channel_ready()
        begun = time.perf_counter()
        async for chunk in channel.unary_stream(STREAM)(str(mib).encode()):
            file.write(chunk)
        return time.perf_counter() - begun


@contextmanager
def other_end() -> Iterator[str]:
    """A process that runs `serve`: its address."""
    with subprocess.Popen([sys.executable, "-m", "bench.bytes", "--serve"], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            yield f"127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


async def serve() -> None:
    """The other end of gRPC alone: as many chunks as it is asked for."""
    chunk = random.Random(0).randbytes(MIB)

    async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(int(request)):
            yield chunk

    server = grpc.aio.server()
    method = {"Stream": grpc.unary_stream_rpc_method_handler(stream)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Bytes", method),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


async def fill(store: ObjectStore, options: argparse.Namespace) -> list[Ref]:
    """Puts a dataset's blocks into a store: bytes of no meaning."""
    source, blocks = random.Random(0), []
    for start in range(0, options.mib, options.block_mib):
        chunks = [source.randbytes(MIB) for _ in range(min(options.block_mib, options.mib - start))]
        digest = hashlib.sha256(b"".join(chunks)).hexdigest()
        blocks.append(await store.put(_each(chunks), digest))
    await store.close()
    return blocks


async def _each(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@contextmanager
def s3(folder: Path) -> Iterator[dict[str, str]]:
    """An S3 server with an empty bucket, and the environment that names it, which is this program's meanwhile."""
    server = programs.s3(folder)
    server.start()
    environment = {
        "S3_ENDPOINT_URL": server.url,
        "S3_BUCKET": BUCKET,
        "AWS_ACCESS_KEY_ID": programs.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": programs.SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    import boto3

    try:
        with patch.dict(os.environ, environment):
            boto3.client("s3", endpoint_url=server.url).create_bucket(Bucket=BUCKET)
            yield environment
    finally:
        server.kill()


@asynccontextmanager
async def orchestrator(home: Path, store: Mapping[str, str]) -> AsyncIterator[str]:
    """Its address. store: the environment that says where it keeps objects; where there is none, in its home."""
    unset = [f"--unset={name}" for name in STORE_VARIABLES if name not in store]
    within = ["env", *unset, *(f"{name}={value}" for name, value in store.items())]
    address = reserved("127.0.0.1:0")
    child = Child("orchestrator", "orchestrator", ["--home", str(home), "--listen", address], home, within=within)
    try:
        while not await serves(address):
            assert child.alive(), child.last_words()
            await asyncio.sleep(POLL)
        yield address
    finally:
        await child.stop(5.0)


async def measure(options: argparse.Namespace) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds by what took them, and those of the second job by worker."""
    workers: dict[str, Worker] = {}
    turns: dict[str, Turn] = {"grpc": with_grpc(options.mib, ""), "grpc kept": with_grpc(options.mib, "kept")}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tensorfleet-bench-")))
        blocks = await fill(await open_objects(folder / "home"), options)
        near = await stack.enter_async_context(orchestrator(folder / "home", {}))
        workers["passed on"] = Worker(near, blocks, far=True)
        if program_of_s3():
            store = stack.enter_context(s3(folder / "s3"))
            await fill(await open_objects(f"s3://{BUCKET}?endpoint={store['S3_ENDPOINT_URL']}"), options)
            address = await stack.enter_async_context(orchestrator(folder / "second", store))
            turns["boto3"] = with_boto3(store["S3_ENDPOINT_URL"], blocks)
            workers["straight"] = Worker(address, blocks, far=False)
            workers["passed on from S3"] = Worker(address, blocks, far=True)
        turns.update({name: worker.fetch for name, worker in workers.items()})
        times: dict[str, list[float]] = {name: [] for name in turns}
        for _ in range(1 + options.repeat):
            for name, turn in turns.items():
                touch(folder / "touched", options.mib)
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    times[name].append(await turn(Path(place)))
                os.sync()  # what one turn left to write is not the next one's
        for values in times.values():
            del values[0]  # what each program loads and makes once
    return times, {name: worker.again for name, worker in workers.items()}


def touch(path: Path, mib: int) -> None:
    """Has the machine give as much memory as a turn takes: a virtual one gives it slowly, and takes it back in a
    second, which must not fall to the one turn and not to the other."""
    with path.open("wb", buffering=0) as file:
        for _ in range(mib):
            file.write(bytes(MIB))
    path.unlink()


def program_of_s3() -> bool:
    """Whether the S3 server is built; nothing is built here."""
    name, version = builds.VERSITYGW.rpartition("/")[2].split("@")
    return (builds.cache() / f"{name}-{version}" / name).exists()


LABELS = {
    "boto3": "boto3 alone, from S3",
    "straight": "worker, from S3",
    "grpc": "gRPC alone, chunks of 1 MiB",
    "grpc kept": "gRPC alone, keeping its buffers as a worker does",
    "passed on": "worker, through ArtifactService from a directory",
    "passed on from S3": "worker, through ArtifactService from S3",
}
PEERS = {
    "straight": [("boto3", "")],
    "passed on": [("grpc", ""), ("grpc kept", ", buffers kept")],
    "passed on from S3": [("grpc", ""), ("grpc kept", ", buffers kept")],
}


def main() -> None:
    options = arguments()
    if options.serve:
        asyncio.run(serve())
        return
    if options.take:
        address, path, buffers = options.take
        with Path(path).open("wb") as file:
            print(asyncio.run(take(options.mib, address, buffers, file)))
        return
    times, again = loops.run(measure(options))  # the loop that a worker has
    rates = {name: Spread.of(options.mib / spent for spent in values) for name, values in times.items()}
    ratios = {
        f"{name}{which}": Spread.of(theirs / ours for ours, theirs in zip(times[name], times[peer], strict=True))
        for name, peers in PEERS.items()
        for peer, which in peers
        if name in times
    }
    rows = [
        (
            label,
            *rates[name].shown(0),
            " and ".join(ratios[name + which].shown(2)[1] for _, which in PEERS.get(name, [])),
        )
        for name, label in LABELS.items()
        if name in rates
    ]
    seconds = {name: Spread.of(values) for name, values in again.items()}
    notes = [f"the second job on a worker fetches nothing, and waits {max(s.median for s in seconds.values()):.3f} s"]
    if "boto3" not in times:
        notes.append("left out, since versitygw is not there: from S3; `make servers` builds it")
    title = f"{options.mib:,} MiB in blocks of {options.block_mib} MiB to a worker, MiB/s"
    show(title, ["", "min", "median", "max", "of its peers"], rows, notes)
    figures = {"mib": options.mib, "block_mib": options.block_mib, "repeat": options.repeat}
    finish("bytes", **figures, mib_per_second=rates, to_peer=ratios, second_job_seconds=seconds)


if __name__ == "__main__":
    main()
