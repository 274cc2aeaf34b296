"""The floor under a job of one task: the steps that it cannot do without, by grpc.aio and SQLite alone.

A client calls a server and is answered by a stream of one message; meanwhile the server makes a row durable, sends a
message by a standing stream to a third process, has it back, and makes another row durable. Nothing is decided,
checked, placed, drawn or run. The rule: what does the steps is as bare as Python allows. So it commits on the event
loop, and in one commit the rows of all calls that came to it in one turn of that loop.
"""

import asyncio
import sqlite3
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from tensorfleet.loops import run

RUN, SESSION = "/bench.Floor/Run", "/bench.Floor/Session"
REQUEST, ORDER, EVENTS = b"q" * 60, b"o" * 80, b"e" * 750
"""As large as those of a job of one task."""
RECORDS = b"a" * 820, b"e" * 230
"""What such a job journals when it is assigned, and when it has ended."""


@contextmanager
def journal() -> Iterator[Callable[[bytes], Any]]:
    """Makes a row durable at each call, on the disk that homes are on."""
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as folder:
        connection = sqlite3.connect(Path(folder) / "floor.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE journal (number INTEGER PRIMARY KEY, records BLOB NOT NULL)")
        yield lambda records: connection.execute("INSERT INTO journal (records) VALUES (?)", (records,))
        connection.close()


class Commits:
    """Rows that wait for the end of this turn of the event loop. commit: makes a row durable."""

    def __init__(self, commit: Callable[[bytes], Any]) -> None:
        self._commit, self._loop = commit, asyncio.get_running_loop()
        self._rows: list[bytes] = []
        self._durable = self._loop.create_future()

    async def add(self, row: bytes) -> None:
        """Returns once it is durable."""
        if not self._rows:
            self._loop.call_soon(self._flush)
        self._rows.append(row)
        await self._durable

    def _flush(self) -> None:
        self._commit(b"".join(self._rows))
        durable, self._durable = self._durable, self._loop.create_future()
        self._rows.clear()
        durable.set_result(None)


async def serve(commit: Callable[[bytes], Any]) -> None:
    commits = Commits(commit)
    orders: asyncio.Queue[bytes] = asyncio.Queue()
    waiting: deque[asyncio.Future[bytes]] = deque()

    async def hear(messages: AsyncIterator[bytes]) -> None:
        async for message in messages:
            waiting.popleft().set_result(message)

    async def session(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        hearing = asyncio.create_task(hear(messages))
        while not hearing.done():
            yield await orders.get()

    async def call(request: bytes, context: Any) -> AsyncIterator[bytes]:
        await commits.add(RECORDS[0])
        end = asyncio.get_running_loop().create_future()
        waiting.append(end)
        orders.put_nowait(ORDER)
        await end
        await commits.add(RECORDS[1])
        yield EVENTS

    methods = {
        "Run": grpc.unary_stream_rpc_method_handler(call),
        "Session": grpc.stream_stream_rpc_method_handler(session),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Floor", methods),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


async def work(port: int) -> None:
    connection: Any = grpc.aio.insecure_channel(f"127.0.0.1:{port}")  # bytes need no serializers
    async with connection as channel:
        stream = channel.stream_stream(SESSION)()
        async for order in stream:
            await stream.write(order)


async def trip(channel: Any) -> None:
    """One call, to the end of its stream."""
    async for _ in channel.unary_stream(RUN)(REQUEST):
        pass


@contextmanager
def floor() -> Iterator[str]:
    """The address of such a server, which has its third process."""
    command = (sys.executable, "-m", "bench.floor")
    with subprocess.Popen([*command, "serve"], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with subprocess.Popen([*command, "work", str(port)]) as worker:
            try:
                yield f"127.0.0.1:{port}"
            finally:
                worker.kill()
                server.kill()


def main() -> None:
    if sys.argv[1] == "work":
        run(work(int(sys.argv[2])))
    else:
        with journal() as commit:
            run(serve(commit))


if __name__ == "__main__":
    main()
