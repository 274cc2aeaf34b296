"""Ends the process when its event loop hangs, so that whoever is connected turns to another orchestrator.

The rule: it counts its own wakings without a sign of the loop, not time: a process that was stopped, or got no
processor, does not hang. gRPC answers pings in threads of its own, so nobody else would notice.
"""

import asyncio
import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY = 0.5
"""Seconds between two signs of the loop."""
EXIT_CODE = 1


def end() -> None:
    """Ends the process, telling where its threads hang."""
    # What hangs may be standard error itself.
    last = threading.Timer(1.0, os._exit, (EXIT_CODE,))
    last.daemon = True
    last.start()
    sys.stderr.write("the event loop hangs; this orchestrator ends, so that another may lead:\n")
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    os._exit(EXIT_CODE)


@contextmanager
def watched(seconds: float, end: Callable[[], None] = end) -> Iterator[None]:
    """Calls `end`, from a thread, when the running loop gave no sign for so long."""
    over, signs = threading.Event(), 0

    async def give_signs() -> None:
        nonlocal signs
        while True:
            signs += 1
            await asyncio.sleep(EVERY)

    def watch() -> None:
        missed, last = 0, -1
        while missed * EVERY < seconds:
            if over.wait(EVERY):
                return
            missed, last = (missed + 1 if signs == last else 0), signs
        end()

    giving = asyncio.create_task(give_signs())
    threading.Thread(target=watch, name="watchdog", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        giving.cancel()
