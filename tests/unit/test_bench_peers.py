"""What the benchmarks beside peers say of samples: who is ahead, whose memory and processors' time is counted."""

import os
import subprocess
import sys

import pytest

from bench.budget import module_of
from bench.peers.sampling import Samples, descendants, memory
from bench.peers.tables import MEASURES, Measure, markdown, rows


def test_more_is_ahead_in_a_rate_and_less_in_a_time():
    rounds = [
        {"tasks": {"Ray": [100.0], "TensorFleet": [300.0]}, "start": {"Ray": [4.0], "TensorFleet": [2.0]}},
        {"tasks": {"TensorFleet": [500.0], "Ray": [100.0]}, "start": {"TensorFleet": [1.0], "Ray": [4.0]}},
    ]
    rates, times = (
        rows(Measure("dispatch", "tasks", "", rate=True), rounds),
        rows(Measure("start", "start", ""), rounds),
    )
    assert list(rates) == ["TensorFleet", "Ray"]
    assert (rates["Ray"].ahead.min, rates["Ray"].ahead.max) == (3.0, 5.0)
    assert (times["Ray"].ahead.min, times["Ray"].ahead.max) == (2.0, 4.0)
    assert rates["TensorFleet"].ahead is None


def test_a_peer_that_failed_in_a_round_is_compared_in_the_others():
    rounds = [{"tasks": {"TensorFleet": [300.0]}}, {"tasks": {"TensorFleet": [500.0], "Ray": [100.0]}}]
    found = rows(Measure("dispatch", "tasks", "", rate=True), rounds)
    assert found["Ray"].values.median == 100.0
    assert found["Ray"].ahead.median == 5.0


def test_the_tables_of_the_readme_tell_medians_how_far_ahead_we_are_and_what_is_kept():
    rounds = [
        {"tasks": {"TensorFleet": [300.0], "Ray actors": [100.0]}, "cold_start": {"Dask": [1.5]}},
        {"tasks": {"TensorFleet": [500.0], "Ray actors": [100.0]}, "cold_start": {"Dask": [1.5]}},
    ]
    figures = {one.name: found for one in MEASURES if (found := rows(one, rounds))}
    assert markdown(figures).splitlines() == [
        "|  | tasks/s | keeps on disk |",
        "| --- | --- | --- |",
        "| TensorFleet | 400 | everything, before it is told |",
        "| Ray actors | 100; **4.0** (3.0 to 5.0) | nothing |",
        "",
        "|  | first result, s |",
        "| --- | --- |",
        "| Dask | 1.50 |",
    ]


def test_the_processes_of_processes_are_counted():
    inner = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        program.stdout.readline()
        below = descendants(program.pid)
        assert len(below) == 1
        assert set(below) < set(descendants(os.getpid()))
        assert memory(below[0], "rss") >= memory(below[0], "pss") > 0
        program.communicate(b"\n")


def test_processors_time_of_what_ran_is_counted():
    samples = Samples()
    with samples.counted("work", "this", 1):
        sum(range(2_000_000))
    assert samples.values["work_cost"]["this"][0] > 0


@pytest.mark.parametrize(
    ("frames", "module"),
    [
        (["main (orchestrator/__main__.py:9)", "apply (orchestrator/core/apply.py:3)"], "orchestrator/core/apply.py"),
        (["run (worker/session.py:9)", "write (grpc/aio/_call.py:3)", "sendmsg (libc.so.6)"], "gRPC"),
        (["_run (asyncio/events.py:9)", "0x7f (grpc/_cython/cygrpc.so)", "sendmsg (libc.so.6)"], "gRPC"),
        (["_run_once (asyncio/base_events.py:9)", "epoll_wait (libc.so.6)"], "event loop"),
    ],
)
def test_a_sample_belongs_to_the_innermost_that_is_known(frames, module):
    assert module_of(frames) == module
