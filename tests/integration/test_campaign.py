"""What the campaign stands on: a disk that loses what was not synced, a disk without room, a line that can be cut."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.campaign.machines import Durable, Small, can_mount
from tests.campaign.proxy import Proxy

needs_mounts = pytest.mark.skipif(not can_mount(), reason="needs root, unshare, nsenter, mkfs.ext4 and loop devices")


def write(path: Path, *, sync: bool) -> None:
    with path.open("wb") as file:
        file.write(path.name.encode())
        if sync:
            file.flush()
            os.fsync(file.fileno())


def sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


@needs_mounts
def test_a_power_cut_keeps_what_was_synced_and_nothing_else(tmp_path: Path) -> None:
    machine = Durable(tmp_path / "disk")
    try:
        root = machine.path(tmp_path / "disk")
        write(root / "synced", sync=True)
        write(root / "draft", sync=True)
        sync(root)
        (root / "draft").rename(root / "renamed")  # its bytes are synced, and its name is not
        write(root / "written", sync=False)
        machine.cut_power()
        root = machine.path(tmp_path / "disk")
        assert (root / "synced").read_text() == "synced"
        assert not (root / "written").exists()
        assert [path.name for path in root.iterdir() if path.name in ("draft", "renamed")] == ["draft"]
    finally:
        machine.stop()


@needs_mounts
def test_a_full_disk_takes_nothing_until_it_has_room(tmp_path: Path) -> None:
    machine = Small(tmp_path / "disk", 1 << 20)
    try:
        root = machine.path(tmp_path / "disk")
        ballast = machine.fill()
        with pytest.raises(OSError, match="No space"):
            write(root / "more", sync=True)
        ballast.unlink()
        write(root / "more", sync=True)
        assert not (tmp_path / "disk" / "more").exists(), "others see the machine's disk"
    finally:
        machine.stop()


async def test_a_line_passes_everything_on_until_it_hangs_or_is_cut() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    host, port = proxy.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"one")
    assert await reader.readexactly(3) == b"one"
    proxy.hang()
    writer.write(b"two")
    waiting = asyncio.create_task(reader.readexactly(3))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    proxy.flow()
    assert await waiting == b"two"
    proxy.cut()
    broken = (ConnectionError, asyncio.IncompleteReadError)
    with pytest.raises(broken):
        await reader.readexactly(1)
    writer.close()
    reader, writer = await asyncio.open_connection(host, int(port))
    with pytest.raises(broken):
        await reader.readexactly(1)
    writer.close()
    await proxy.stop()
    server.close()
    await server.wait_closed()
