"""A worker waits for whoever comes up, and for a signal; not for ever."""

import asyncio
import os
import signal
import socket

import pytest

from worker import contact


def nowhere() -> str:
    with socket.create_server(("127.0.0.1", 0)) as it:
        return f"127.0.0.1:{it.getsockname()[1]}"


async def test_it_returns_once_one_of_several_listens() -> None:
    address = nowhere()
    waiting = asyncio.create_task(contact.first_contact([nowhere(), address]))
    await asyncio.sleep(0)
    assert not waiting.done()
    host, _, port = address.rpartition(":")
    server = await asyncio.start_server(lambda reader, writer: writer.close(), host, int(port))
    assert await waiting
    server.close()


async def test_a_signal_ends_it() -> None:
    waiting = asyncio.create_task(contact.first_contact([nowhere()]))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    assert not await waiting
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


async def test_it_gives_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "PATIENCE", 0.05)
    assert await contact.first_contact([nowhere()])
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)
