"""Blobs travel straight where grants allow it, and through the orchestrator where there is no way."""

import hashlib
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tensorfleet.errors import CorruptArtifact, NotFound, Unavailable
from tensorfleet.logs import fields_of
from tensorfleet.model import Ref
from tensorfleet.stores.contract import Grant
from worker.transfers import BREAKS, DETOUR_SECONDS, Transfers

DATA = bytes(range(256)) * 20_000


def ref_of(data: bytes) -> Ref:
    return Ref(hashlib.sha256(data).hexdigest(), len(data))


class Store:
    """An object store of a few lines, which answers as a test tells it to."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answers: list[tuple[int, bytes]] = []
        """Failures to answer with first: a status and a body. Status 0 breaks the connection."""
        self.torn = False
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(store.blobs.get(self.path))

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not store.answers:
                    store.blobs[self.path] = body
                self._answer(b"")

            def _answer(self, body: bytes | None) -> None:
                store.asked.append((self.command, {name.lower(): value for name, value in self.headers.items()}))
                status = 200 if body is not None else 404
                if store.answers:
                    status, body = store.answers.pop(0)
                if not status:
                    self.close_connection = True
                    return
                body = body or b""
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if store.torn else body)
                self.close_connection = store.torn

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Remote:
    """An orchestrator: it grants by the store's URL, and passes bytes on."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.granted = 0
        self.passed = 0
        self.blobs: dict[str, bytes] = {}

    async def get(self, digest: str, check: bool) -> AsyncIterator[bytes]:
        self.passed += 1
        yield self.blobs[digest]

    async def put(self, chunks: AsyncIterator[bytes], digest: str) -> Ref:
        self.passed += 1
        self.blobs[digest] = b"".join([chunk async for chunk in chunks])
        return ref_of(self.blobs[digest])

    async def grant_get(self, digest: str) -> Grant | None:
        return self._grant("GET", digest, {})

    async def grant_put(self, ref: Ref) -> Grant | None:
        return self._grant("PUT", ref.digest, {"x-checksum": ref.digest})

    def _grant(self, method: str, digest: str, headers: dict[str, str]) -> Grant | None:
        self.granted += 1
        return Grant(method, f"{self.url}/{digest}", headers, 60.0) if self.url else None


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.close()


@pytest.fixture
def remote(store: Store) -> Remote:
    return Remote(store.url)


async def upload(transfers: Transfers, folder: Path, data: bytes) -> Ref:
    path = folder / "output"
    path.write_bytes(data)
    await transfers.upload(path, ref_of(data))
    return ref_of(data)


async def test_bytes_go_straight_both_ways(store: Store, remote: Remote, tmp_path: Path) -> None:
    transfers = Transfers(remote)
    ref = await upload(transfers, tmp_path, DATA)
    assert store.blobs[f"/{ref.digest}"] == DATA
    await transfers.download(ref, tmp_path / "input")
    assert (tmp_path / "input").read_bytes() == DATA
    assert (remote.granted, remote.passed) == (2, 0)
    [(_, sent), _] = store.asked
    assert sent["x-checksum"] == ref.digest
    assert sent["content-length"] == str(len(DATA))


async def test_a_store_without_grants_is_asked_for_none_again(tmp_path: Path) -> None:
    remote = Remote("")
    transfers = Transfers(remote)
    for _ in range(3):
        ref = await upload(transfers, tmp_path, DATA)
        await transfers.download(ref, tmp_path / "input")
    assert (remote.granted, remote.passed) == (1, 6)


async def test_where_there_is_no_way_bytes_take_the_other_for_a_while(
    store: Store, remote: Remote, tmp_path: Path
) -> None:
    now = 100.0
    transfers = Transfers(remote, lambda: now)
    there, remote.url = remote.url, "http://127.0.0.1:1"
    ref = await upload(transfers, tmp_path, DATA)
    await transfers.download(ref, tmp_path / "input")
    assert (tmp_path / "input").read_bytes() == DATA
    assert (remote.granted, remote.passed) == (1, 2)
    remote.url = there
    now += DETOUR_SECONDS
    await upload(transfers, tmp_path, DATA)
    assert store.blobs[f"/{ref.digest}"] == DATA
    assert (remote.granted, remote.passed) == (2, 2)


async def test_a_grant_that_ran_out_is_asked_for_again(store: Store, remote: Remote, tmp_path: Path) -> None:
    transfers = Transfers(remote)
    store.answers = [(403, b"<Error><Code>AccessDenied</Code></Error>")]
    ref = await upload(transfers, tmp_path, DATA)
    assert store.blobs[f"/{ref.digest}"] == DATA
    assert (remote.granted, remote.passed) == (2, 0)


async def test_a_store_that_refuses_every_grant_is_left_alone(store: Store, remote: Remote, tmp_path: Path) -> None:
    transfers = Transfers(remote)
    store.answers = [(403, b"")] * 2
    ref = await upload(transfers, tmp_path, DATA)
    assert remote.blobs[ref.digest] == DATA
    await transfers.download(ref, tmp_path / "input")
    assert (remote.granted, remote.passed) == (2, 2)


@pytest.mark.parametrize("failure", [(500, b""), (503, b"<Code>SlowDown</Code>"), (0, b"")])
async def test_what_may_pass_is_for_another_try(
    store: Store, remote: Remote, tmp_path: Path, failure: tuple[int, bytes]
) -> None:
    transfers = Transfers(remote)
    store.blobs[f"/{ref_of(DATA).digest}"] = DATA
    store.answers = [failure] * 2
    with pytest.raises(Unavailable):
        await upload(transfers, tmp_path, DATA)
    with pytest.raises(Unavailable):
        await transfers.download(ref_of(DATA), tmp_path / "input")
    await transfers.download(ref_of(DATA), tmp_path / "input")
    assert (tmp_path / "input").read_bytes() == DATA
    assert remote.passed == 0


async def test_a_way_that_breaks_again_and_again_is_left(store: Store, remote: Remote, tmp_path: Path) -> None:
    transfers = Transfers(remote)
    store.answers = [(500, b"")] * BREAKS
    for _ in range(BREAKS):
        with pytest.raises(Unavailable):
            await upload(transfers, tmp_path, DATA)
    await upload(transfers, tmp_path, DATA)
    assert remote.passed == 1


async def test_a_blob_that_is_torn_is_no_blob(store: Store, remote: Remote, tmp_path: Path) -> None:
    store.blobs[f"/{ref_of(DATA).digest}"] = DATA
    store.torn = True
    with pytest.raises(Unavailable):
        await Transfers(remote).download(ref_of(DATA), tmp_path / "input")


@pytest.mark.parametrize("wrong", [DATA[:-1], DATA + b"!", b"x" + DATA[1:]], ids=["shorter", "longer", "other"])
async def test_wrong_bytes_are_refused(store: Store, remote: Remote, tmp_path: Path, wrong: bytes) -> None:
    store.blobs[f"/{ref_of(DATA).digest}"] = wrong
    with pytest.raises(CorruptArtifact):
        await Transfers(remote).download(ref_of(DATA), tmp_path / "input")


async def test_what_the_store_says_of_bytes_is_believed(store: Store, remote: Remote, tmp_path: Path) -> None:
    transfers = Transfers(remote)
    store.answers = [(400, b"<Error><Code>BadDigest</Code></Error>")]
    with pytest.raises(CorruptArtifact):
        await upload(transfers, tmp_path, DATA)
    with pytest.raises(NotFound):
        await transfers.download(ref_of(b"nobody's"), tmp_path / "input")


async def test_an_answer_that_is_none_of_s3_is_no_way(store: Store, remote: Remote, tmp_path: Path) -> None:
    store.answers = [(301, b"")]
    ref = await upload(Transfers(remote), tmp_path, DATA)
    assert remote.blobs[ref.digest] == DATA


async def test_what_a_grant_says_is_in_no_log_and_no_error(
    store: Store, remote: Remote, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [(403, b""), (403, b""), (500, b""), (0, b""), (404, b""), (301, b""), (400, b"<Code>BadDigest</Code>")]
    told = []
    with caplog.at_level(logging.DEBUG):
        for failure in failures:
            store.answers = [failure] * 2
            try:
                await Transfers(remote).download(ref_of(DATA), tmp_path / "input")
            except (Unavailable, NotFound, CorruptArtifact) as error:
                told.append(str(error))
            except KeyError:
                told.append("passed on")
        remote.url = "http://127.0.0.1:1"
        with pytest.raises(KeyError):
            await Transfers(remote).download(ref_of(DATA), tmp_path / "input")
    assert len(told) == len(failures)
    logs = [(record.getMessage(), fields_of(record)) for record in caplog.records if "fields" in vars(record)]
    assert logs
    assert "127.0.0.1" not in f"{told} {logs}"
