"""Waiting for an orchestrator that comes up at the same time.

The rule: it only looks whether somebody listens, every few milliseconds, which costs a hundredth of a gRPC channel;
who that is, and what to do where nobody is there, is for the session.
"""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress

LOOK = 0.01
PATIENCE = 3.0
"""Seconds after which a session is tried without it."""


async def first_contact(addresses: Sequence[str]) -> bool:
    """Returns once somebody listens at one of the addresses, or after a while. False where SIGTERM or SIGINT came."""
    loop, looking = asyncio.get_running_loop(), asyncio.ensure_future(_look(addresses))
    told_to_go = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_go.set)
    going = asyncio.ensure_future(told_to_go.wait())
    await asyncio.wait([looking, going], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    for task in (looking, going):
        task.cancel()
    await asyncio.gather(looking, going, return_exceptions=True)
    return not told_to_go.is_set()


async def _look(addresses: Sequence[str]) -> None:
    while not any([await _listens(address) for address in addresses]):  # noqa: ASYNC110 -- another process
        await asyncio.sleep(LOOK)


async def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError):
        _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.close()
        return True
    return False
