"""A way to a MongoDB server on which things go wrong as a test says, command by command.

The rule: what passes here is the driver's own; nothing is made up but the answers that a test gives.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import bson

Command: TypeAlias = dict[str, Any]
QUERY, REPLY, MESSAGE = 2004, 1, 2013


class Fate(Enum):
    PASS = "it reaches the server, and so does the answer the driver"
    LOST = "it never reaches the server, and the connection breaks"
    UNANSWERED = "the server does it, and the connection breaks before the answer"


class Proxy:
    """decide: a command's fate, or the answer that it gets without reaching the server."""

    def __init__(self, server: str) -> None:
        self._parts = urlsplit(server)
        self.url = ""
        self._passing: set[asyncio.Task[None]] = set()
        self.decide: Callable[[Command], Fate | Command] = lambda command: Fate.PASS

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = self._parts._replace(netloc=f"127.0.0.1:{port}").geturl()
        try:
            yield self
        finally:
            server.close()
            for passing in self._passing:
                passing.cancel()
            await asyncio.gather(*self._passing, return_exceptions=True)

    async def _serve(self, driver: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            there, commands = await asyncio.open_connection(self._parts.hostname, self._parts.port)
            try:
                while await self._pass_one(driver, answers, there, commands):
                    pass
            finally:
                await _closed(commands)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either side has gone, or the test has
        finally:
            await _closed(answers)
            self._passing.discard(task)

    async def _pass_one(
        self,
        driver: asyncio.StreamReader,
        answers: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        commands: asyncio.StreamWriter,
    ) -> bool:
        """False where the connection is to break."""
        message = await _message(driver)
        fate = self.decide(_command(message))
        if fate is Fate.LOST:
            return False
        if isinstance(fate, dict):
            answers.write(_answer(message, fate))
            return True
        commands.write(message)
        answer = await _message(there)
        if fate is Fate.UNANSWERED:
            return False
        answers.write(answer)
        return True


def nth(number: int, fate: Fate, among: Callable[[Command], bool]) -> Callable[[Command], Fate]:
    """The fate of the number-th command of some; all others pass."""
    seen = 0

    def decide(command: Command) -> Fate:
        nonlocal seen
        seen += among(command)
        return fate if among(command) and seen == number else Fate.PASS

    return decide


async def _closed(stream: asyncio.StreamWriter) -> None:
    stream.close()
    with suppress(OSError):
        await stream.wait_closed()


async def _message(stream: asyncio.StreamReader) -> bytes:
    head = await stream.readexactly(4)
    (size,) = struct.unpack("<i", head)
    return head + await stream.readexactly(size - 4)


def _command(message: bytes) -> Command:
    (code,) = struct.unpack_from("<i", message, 12)
    # After the name of the collection and two numbers; or after the flags and the kind of the first section.
    start = message.index(b"\0", 20) + 9 if code == QUERY else 21
    (size,) = struct.unpack_from("<i", message, start)
    return bson.decode(message[start : start + size])


def _answer(message: bytes, answer: Command) -> bytes:
    _, request, _, code = struct.unpack_from("<iiii", message)
    if code == QUERY:
        code, body = REPLY, struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(answer)
    else:
        body = struct.pack("<iB", 0, 0) + bson.encode(answer)
    return struct.pack("<iiii", 16 + len(body), 0, request, code) + body
