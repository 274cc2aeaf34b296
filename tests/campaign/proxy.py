"""A line between a worker and its orchestrator that can be cut, or go dead without a word.

The rule: it changes no byte and no order; it only stops.
"""

import asyncio
import socket
from contextlib import suppress

CHUNK = 1 << 16


class Proxy:
    """Passes connections at `port` on to another port of this machine."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._down = False
        self.carried = 0
        """Bytes that have passed, both ways."""
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0, family=socket.AF_INET)

    async def stop(self) -> None:
        assert self._server is not None
        self.cut()
        self._server.close()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Breaks every connection, and refuses new ones until `mend`."""
        self._down = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        self._down = False

    def hang(self) -> None:
        """Lets nothing through until `flow`; neither side is told."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._down:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._flowing.wait()
                self.carried += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()  # for HTTP/2 a half of a connection is none
