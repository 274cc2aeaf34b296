"""The fleet's own part, with its ordinary durable store: SQLite that syncs each group commit.

Variant `mongodb`: a FerretDB of its own, which speaks MongoDB's protocol, keeps the documents. It is counted with the
fleet, and given a tenth of the jobs.

Results are at the client: a job is run by `RunJob`, and every task's event has arrived when the time ends. Many jobs
are submitted in batches, and each has come back as it ended.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.peers.sampling import SETTLING, Samples, arguments
from tensorfleet.loops import run

POLL = 0.002


@contextmanager
def stores(options: Any) -> Iterator[str]:
    """Where the fleet keeps things meanwhile, and what it is called then."""
    from tensorfleet.config import STORE_VARIABLES

    for variable in STORE_VARIABLES:
        os.environ.pop(variable, None)
    if options.variant != "mongodb":
        yield "TensorFleet"
        return
    # It reads a collection whole for each update of a document, so its figures fall with the jobs it has had.
    options.jobs, options.runs = options.jobs // 10, options.runs // 10
    from tests.servers.programs import durable_mongo

    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as folder:
        server = durable_mongo(Path(folder))
        server.start()
        os.environ["MONGODB_URL"] = f"{server.url}/bench"
        try:
            yield "TensorFleet, FerretDB"
        finally:
            server.kill()


async def dispatch(samples: Samples, options: Any, who: str) -> None:
    from bench.noops import results, warm_fleet
    from clients.cli.measures import many_jobs, noop, one_by_one
    from tensorfleet.api.v1 import jobs_pb2_grpc
    from tensorfleet.rpc.channels import open_channel

    async with warm_fleet(options.slots) as (fleet, _), open_channel(fleet.address) as channel:
        stub = jobs_pb2_grpc.JobServiceStub(channel)
        await results(stub, 500)
        with samples.counted("tasks", who, options.tasks):
            await results(stub, options.tasks)
        with samples.counted("jobs", who, options.jobs):
            await many_jobs(stub, noop(name="many"), options.jobs)
        for _ in range(options.runs):
            with samples.timed("round_trip", who):
                await results(stub, 1)
        with samples.counted("single_jobs", who, options.jobs):
            await one_by_one(fleet.address, noop(), options.jobs)


def start_standing(samples: Samples, options: Any) -> None:
    """`tensorfleet up`, and a client that loads meanwhile."""
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as folder:
        home = Path(folder) / "home"
        command = (sys.executable, "-m", "clients.cli.main", "up", "--workers", str(options.slots))
        place = {**os.environ, "TENSORFLEET_HOME": str(home)}
        with subprocess.Popen([*command, "--listen", "127.0.0.1:0"], env=place, stdout=subprocess.DEVNULL) as fleet:
            try:
                run(_first_result(home))
                samples.first_result("tensorfleet up", options.begun or time.time())
                run(_with_numerics(home))
                time.sleep(SETTLING)
                samples.memory("loaded", "tensorfleet up")
            finally:
                fleet.send_signal(signal.SIGTERM)


async def _first_result(home: Path) -> None:
    from bench.noops import results
    from tensorfleet.api.v1 import jobs_pb2_grpc
    from tensorfleet.rpc.channels import open_channel
    from tensorfleet.sdk.seat import read_seat

    while (seat := read_seat(home)) is None:  # noqa: ASYNC110 -- another process writes it
        await asyncio.sleep(POLL)
    async with open_channel(seat.address) as channel:
        await results(jobs_pb2_grpc.JobServiceStub(channel), 1)


async def _with_numerics(home: Path) -> None:
    """Trains something, so that the numerics are loaded from here on."""
    from tensorfleet import AsyncClient
    from tensorfleet.sdk.seat import read_seat

    seat = read_seat(home)
    assert seat is not None
    async with AsyncClient(seat.address) as client:
        await (await client.train("iris")).result()


async def start_inside(samples: Samples, options: Any) -> None:
    """A fleet that the client's own program starts and keeps."""
    from bench.noops import results
    from tensorfleet.api.v1 import jobs_pb2_grpc
    from tensorfleet.local import AsyncLocalFleet
    from tensorfleet.rpc.channels import open_channel

    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as home:
        async with AsyncLocalFleet(home, workers=options.slots) as fleet, open_channel(fleet.address) as channel:
            await results(jobs_pb2_grpc.JobServiceStub(channel), 1)
            samples.first_result("AsyncLocalFleet", options.begun or time.time(), with_client=True)


async def forest(samples: Samples, options: Any) -> str:
    from hashlib import sha256

    import numpy as np

    from bench.forest import COMPARED, prepared, train
    from tensorfleet import AsyncClient
    from tensorfleet.local import AsyncLocalFleet

    rows, features, classes = options.shape
    source = f"synthetic:classification?rows={rows}&features={features}&classes={classes}&seed=0"
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as folder:
        home = Path(folder) / "home"
        async with AsyncLocalFleet(home, slots=options.slots) as fleet, AsyncClient(fleet.address) as client:
            await (await client.train("iris")).result()  # warms the slots
            dataset = await client.datasets.add(source, name="rows")
            seconds, _, job = await train(client, dataset.name, options.trees)
            samples.add("forest", "TensorFleet, submitted to registered", seconds)
            X, y = await prepared(client, job, Path(folder))
            if not (options.matrix / "y.npy").exists():
                np.save(options.matrix / "X.npy", X)
                np.save(options.matrix / "y.npy", y)
            model = (await (await job.result()).load())[-1]
    return sha256(model.predict_proba(X[:COMPARED]).tobytes()).hexdigest()


def main() -> None:
    options, samples = arguments(), Samples()
    answers = ""
    with stores(options) as who:
        if options.part == "dispatch":
            run(dispatch(samples, options, who))
        elif options.part == "forest":
            answers = run(forest(samples, options))
        elif options.variant == "inside":
            run(start_inside(samples, options))
        else:
            start_standing(samples, options)
    from tensorfleet import __version__

    samples.tell(version=f"TensorFleet {__version__}", answers=answers)


if __name__ == "__main__":
    main()
