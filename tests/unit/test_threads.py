"""Reading ahead and writing behind: in order, one step at a time, and never with a file closed under a thread."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from tensorfleet.stores.threads import ahead, behind


def reads(*chunks: bytes) -> Iterator[bytes]:
    return iter([*chunks, b""])


async def each(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_what_is_read_ahead_comes_in_order() -> None:
    chunks = reads(b"a", b"b", b"c")
    assert [chunk async for chunk in ahead(lambda: next(chunks))] == [b"a", b"b", b"c"]


async def test_the_next_is_read_while_one_is_on_its_way() -> None:
    chunks, second = reads(b"a", b"b"), threading.Event()

    def read() -> bytes:
        chunk = next(chunks)
        if chunk == b"b":
            second.set()
        return chunk

    reading = ahead(read)
    assert await anext(reading) == b"a"
    assert await asyncio.to_thread(second.wait, 10)
    await reading.aclose()


async def test_what_fails_while_it_is_read_is_raised_in_its_place() -> None:
    def fail() -> Iterator[bytes]:
        yield b"a"
        raise OSError("broken")

    chunks = fail()
    reading = ahead(lambda: next(chunks))
    assert await anext(reading) == b"a"
    with pytest.raises(OSError, match="broken"):
        await anext(reading)


async def test_closing_waits_for_the_thread() -> None:
    begun, release = threading.Event(), threading.Event()
    chunks = reads(b"a", b"b")

    def read() -> bytes:
        chunk = next(chunks)
        if chunk == b"b":
            begun.set()
            release.wait()
        return chunk

    reading = ahead(read)
    await anext(reading)
    await asyncio.to_thread(begun.wait)
    closing = asyncio.create_task(reading.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.sleep(0)
    assert not closing.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await closing


async def test_what_is_written_behind_is_all_written_in_order() -> None:
    written: list[bytes] = []
    await behind(each(b"a", b"b", b"c"), written.append)
    assert written == [b"a", b"b", b"c"]
    await behind(each(), written.append)
    assert len(written) == 3


@pytest.mark.parametrize("bad", [b"a", b"b", b"c"])
async def test_what_cannot_be_written_is_raised(bad: bytes) -> None:
    def write(chunk: bytes) -> None:
        if chunk == bad:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        await behind(each(b"a", b"b", b"c"), write)


async def test_a_write_is_over_when_its_source_has_failed() -> None:
    release, over = threading.Event(), threading.Event()

    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        release.set()
        raise OSError("broke off")

    def write(chunk: bytes) -> None:
        release.wait()
        over.set()

    with pytest.raises(OSError, match="broke off"):
        await behind(broken(), write)
    assert over.is_set()
