"""The loop that programs run on."""

import asyncio
import threading

import pytest
import uvloop

from tensorfleet.loops import EARLY, new_loop, run
from tensorfleet.sdk.bridge import Bridge


async def test_a_timer_rings_no_earlier_than_is_said() -> None:
    loop = asyncio.get_running_loop()
    for number in range(100):
        time, rang = loop.time() + 0.002 + number * 1e-5, asyncio.Event()
        loop.call_at(time, rang.set)
        await rang.wait()
        assert loop.time() >= time - EARLY


async def which() -> type[asyncio.AbstractEventLoop]:
    return type(asyncio.get_running_loop())


def test_programs_and_the_blocking_clients_thread_run_on_it() -> None:
    assert run(which()) is uvloop.Loop
    bridge = Bridge()
    try:
        assert bridge.run(which()) is uvloop.Loop
    finally:
        bridge.close()
    assert "tensorfleet-client" not in {thread.name for thread in threading.enumerate()}


def test_what_it_runs_may_fail() -> None:
    async def fail() -> None:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        run(fail())
    loop = new_loop()
    assert not loop.is_running()
    loop.close()
