"""A process whose event loop hangs ends; one that is only stopped does not."""

import asyncio
import signal
import sys
import threading
import time

from orchestrator import watchdog
from orchestrator.watchdog import watched

HANGS = """
import asyncio, sys, time
from orchestrator.watchdog import watched

async def main() -> None:
    with watched(1.0):
        await asyncio.to_thread(sys.stdin.readline)
        print("alive", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        time.sleep(3600)

asyncio.run(main())
"""


async def test_a_process_that_was_stopped_goes_on_and_one_that_hangs_ends() -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HANGS, stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin
    assert process.stdout
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(2.5)  # longer than it may hang
    process.send_signal(signal.SIGCONT)
    process.stdin.write(b"\n")
    assert await process.stdout.readline() == b"alive\n"
    process.stdin.write(b"\n")
    _, said = await process.communicate()
    assert process.returncode == watchdog.EXIT_CODE
    assert b"the event loop hangs" in said
    assert b"in main" in said


async def test_a_loop_that_runs_is_left_alone() -> None:
    ended = threading.Event()
    with watched(watchdog.EVERY * 2, ended.set):
        await asyncio.sleep(watchdog.EVERY * 5)
        assert not ended.is_set()
        time.sleep(watchdog.EVERY * 6)  # noqa: ASYNC251 -- it hangs
        assert ended.is_set()
