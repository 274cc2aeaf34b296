"""Celery's part: a worker of as many processes as slots, over a Redis of its own on a socket in a temporary folder.

The settings: JSON, 64 messages prefetched a process, no events, gossip, mingling or heartbeats; one producer for all
messages, hiredis. Variant `fsync`: Redis appends each write to a file and syncs it before it answers.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery import Celery

from bench.peers.sampling import Samples, arguments

ADDRESS = "BENCH_REDIS"
PATIENCE = 30.0
APP = Celery("bench", broker=os.environ.get(ADDRESS), backend=os.environ.get(ADDRESS))
APP.conf.update(
    task_serializer="json",
    result_serializer="json",
    worker_prefetch_multiplier=64,
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "CRITICAL")


@APP.task(name="nothing")  # type: ignore[untyped-decorator, unused-ignore]
def nothing() -> None:
    pass


@contextmanager
def program(*command: str, ends: float = PATIENCE) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(ends)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def redis(folder: str, *, synced: bool) -> Iterator[None]:
    socket = Path(folder) / "redis"
    kept = ("--appendonly", "yes" if synced else "no", "--appendfsync", "always", "--save", "")
    with program("redis-server", "--port", "0", "--unixsocket", str(socket), "--dir", folder, *kept):
        deadline = time.monotonic() + PATIENCE
        while not socket.exists():
            if time.monotonic() > deadline:
                raise TimeoutError("redis-server does not open its socket")
            time.sleep(0.01)
        address = f"redis+socket://{socket}"
        os.environ[ADDRESS] = address
        APP.conf.update(broker_url=address, result_backend=address)
        yield


@contextmanager
def system(slots: int, *, synced: bool) -> Iterator[None]:
    pool = ("--pool", "prefork", "--concurrency", str(slots))
    celery = (sys.executable, "-m", "celery", "-A", "bench.peers.with_celery:APP", "worker", *pool, *QUIET)
    with tempfile.TemporaryDirectory(prefix="celery-bench-") as folder, redis(folder, synced=synced), program(*celery):
        nothing.delay().get(timeout=PATIENCE)
        yield


def run(count: int) -> None:
    with APP.producer_pool.acquire(block=True) as producer:
        results = [nothing.apply_async(producer=producer) for _ in range(count)]
    for result in results:
        result.get()


def dispatch(samples: Samples, options: Any, who: str) -> None:
    run(200)
    with samples.counted("tasks", who, options.tasks):
        run(options.tasks)
    for measure in ("jobs", "single_jobs"):
        with samples.counted(measure, who, options.jobs):
            run(options.jobs)
    for _ in range(options.runs):
        with samples.timed("round_trip", who):
            nothing.delay().get()


def main() -> None:
    from celery import __version__

    options, samples = arguments(), Samples()
    who = "Celery, Redis with fsync" if options.variant == "fsync" else "Celery, Redis"
    with system(options.slots, synced=options.variant == "fsync"):
        if options.part == "start":
            samples.first_result(who, options.begun or time.time())
        else:
            dispatch(samples, options, who)
    samples.tell(version=f"Celery {__version__}")


if __name__ == "__main__":
    main()
