"""Dask's part: a local cluster of processes with one thread each.

The settings: uvloop in the client, the scheduler and the workers; tasks sent to the workers at once rather than kept at
the scheduler until a thread is free
(`worker-saturation`), as there is nothing to balance; no profiler in the workers, no stealing, no dashboard; the client
sends tasks in batches of 500.
"""

import asyncio
import os
import time
from typing import Any

from bench.peers.sampling import Samples, arguments

BATCH = 500
SETTINGS = {
    "distributed.admin.event-loop": "uvloop",
    "distributed.scheduler.worker-saturation": "inf",
    "distributed.scheduler.work-stealing": "False",
    "distributed.worker.profile.enabled": "False",
}
for name, value in SETTINGS.items():  # by the environment, so that the workers have them too
    os.environ["DASK_" + name.upper().replace(".", "__").replace("-", "_")] = value


def nothing(_: int = 0) -> None:
    pass


def loops(client: Any) -> set[str]:
    """On what event loops the client, the scheduler and the workers run."""

    async def loop() -> str:
        return type(asyncio.get_running_loop()).__module__

    return {client.sync(loop), client.run_on_scheduler(loop), *client.run(loop).values()}


def dispatch(samples: Samples, options: Any, client: Any) -> None:
    def run(count: int) -> None:
        client.gather(client.map(nothing, range(count), pure=False, batch_size=BATCH))

    run(500)
    with samples.counted("tasks", "Dask", options.tasks):
        run(options.tasks)
    for measure in ("jobs", "single_jobs"):
        with samples.counted(measure, "Dask", options.jobs):
            run(options.jobs)
    for _ in range(options.runs):
        with samples.timed("round_trip", "Dask"):
            client.submit(nothing, pure=False).result()


def forest(samples: Samples, options: Any) -> str:
    from joblib import parallel_config

    from bench.peers.with_sklearn import fit

    with parallel_config("dask", n_jobs=options.slots):  # which scatters the matrix by itself
        return fit(samples, "joblib on Dask", options)


def main() -> None:
    from distributed import Client, LocalCluster, __version__

    options, samples = arguments(), Samples()
    answers = ""
    workers = {"n_workers": options.slots, "threads_per_worker": 1, "processes": True}
    with LocalCluster(**workers, dashboard_address=None, silence_logs=50) as cluster, Client(cluster) as client:
        if options.part == "start":
            client.submit(nothing, pure=False).result()
            samples.first_result("Dask", options.begun or time.time(), with_client=True)
        elif options.part == "dispatch":
            assert loops(client) == {"uvloop"}, "everything of it runs on uvloop"
            dispatch(samples, options, client)
        else:
            answers = forest(samples, options)
    samples.tell(version=f"Dask {__version__}", answers=answers)


if __name__ == "__main__":
    main()
