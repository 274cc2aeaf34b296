"""The servers of the tests as processes that can be started, killed and started again where they were."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.servers import builds

READY_SECONDS = 30.0
ACCESS_KEY, SECRET_KEY = "tensorfleet", "tensorfleet-secret"
"""Of the S3 server of the tests; it listens on loopback alone."""


class Server:
    """A program on a port of its own. A kill leaves what is on disk, and `start` goes on from there."""

    def __init__(self, name: str, directory: Path, command: Callable[[int], Sequence[str]], url: str) -> None:
        self.name = name
        self.port = free_port()
        self.url = url.format(port=self.port)
        self.process: subprocess.Popen[bytes] | None = None
        self._directory = directory
        self._command = command
        directory.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Starts it and waits until it takes connections."""
        with (self._directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(self.port),
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY},
            )
        deadline = time.monotonic() + READY_SECONDS
        while not listens(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.name} did not start; see {self._directory / 'log'}")
            time.sleep(0.02)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            self.process.wait()


def durable_mongo(directory: Path) -> Server:
    """MongoDB's protocol over SQLite files: what it acknowledged survives its death."""
    program, data = builds.ferretdb(), directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    return Server(
        "ferretdb",
        directory,
        lambda port: [str(program), "-listen", f"127.0.0.1:{port}", "-directory", str(data)],
        "mongodb://127.0.0.1:{port}",
    )


def quick_mongo(directory: Path) -> Server:
    """MongoDB's protocol from memory."""
    source, libraries = builds.mongo_java()
    return Server(
        "mongo-java",
        directory,
        lambda port: ["java", "-Xmx512m", "-cp", f"{libraries}/*", str(source), "127.0.0.1", str(port)],
        "mongodb://127.0.0.1:{port}",
    )


def s3(directory: Path) -> Server:
    """S3 over a directory, with the keys above."""
    program, data, meta = builds.versitygw(), directory / "data", directory / "meta"
    for folder in (data, meta):
        folder.mkdir(parents=True, exist_ok=True)
    return Server(
        "versitygw",
        directory,
        lambda port: [
            *(str(program), "--port", f"127.0.0.1:{port}", "--quiet"),
            *("posix", "--sidecar", str(meta), str(data)),
        ],
        "http://127.0.0.1:{port}",
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
