"""One blob by one HTTP request, as a grant allows it: from the object store into a file, or from a file into it.

The rule: bytes are streamed, hashed as they come, and never all in memory; what a grant's URL says is told to nobody.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import BinaryIO

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProxyError,
    SSLError,
    URLSchemeUnknown,
)

from tensorfleet.errors import CorruptArtifact, NotFound, Unavailable
from tensorfleet.model import Ref
from tensorfleet.stores.contract import Grant
from worker.draft import Draft

CHUNK = 1 << 20
CONNECT_SECONDS, READ_SECONDS = 3.0, 30.0
AT_ONCE = 8
_NO_WAY = (NewConnectionError, ConnectTimeoutError, SSLError, ProxyError, LocationValueError, URLSchemeUnknown)
_CODE = re.compile(rb"<Code>(\w{1,64})</Code>")


class NoWay(Exception):  # noqa: N818
    """This machine cannot reach the object store, or what stands there takes no grants."""


class Refused(Exception):  # noqa: N818
    """The store does not take the grant, or takes it no more."""


class Stopped(Exception):  # noqa: N818
    """Nobody wants it any more."""


def open_pool() -> urllib3.PoolManager:
    """Connections, which are kept for the next request and may be used from many threads."""
    return urllib3.PoolManager(
        maxsize=AT_ONCE,
        blocksize=CHUNK,
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        retries=False,
    )


def carry(pool: urllib3.PoolManager, grant: Grant, ref: Ref, path: Path, stop: Event) -> None:
    """Carries a blob from the store into a file by a GET, and from a file into the store by a PUT.

    stop: when set, it ends as Stopped. NotFound, CorruptArtifact, Unavailable; NoWay, Refused.
    """
    (_upload if grant.method == "PUT" else _download)(pool, grant, ref, path, stop)


def _download(pool: urllib3.PoolManager, grant: Grant, ref: Ref, path: Path, stop: Event) -> None:
    try:
        with _answer(pool, grant, None) as answer, Draft(path, ref) as draft:
            while chunk := answer.read1(CHUNK, decode_content=False):  # what is there, without a buffer between
                _check(stop)
                draft.write(chunk)
            draft.check()
    except Stopped:
        path.unlink(missing_ok=True)  # whoever wanted it does not wait for this
        raise


def _upload(pool: urllib3.PoolManager, grant: Grant, ref: Ref, path: Path, stop: Event) -> None:
    with path.open("rb") as file, _answer(pool, grant, _Body(file, stop), ref.size):
        pass


class _Body:
    """A file's bytes as long as somebody wants them sent."""

    def __init__(self, file: BinaryIO, stop: Event) -> None:
        self._file, self._stop = file, stop

    def read(self, size: int = -1) -> bytes:
        _check(self._stop)
        return self._file.read(size)


@contextmanager
def _answer(
    pool: urllib3.PoolManager, grant: Grant, body: _Body | None, size: int = 0
) -> Iterator[urllib3.BaseHTTPResponse]:
    """The store's answer, where it is a good one; its connection is kept only where all of it was read."""
    headers = dict(grant.headers) if body is None else {**grant.headers, "Content-Length": str(size)}
    try:
        answer = pool.request(
            grant.method,
            grant.url,
            headers=headers,
            body=body,  # type: ignore[arg-type]
            preload_content=False,
            redirect=False,
        )
        try:
            if answer.status != 200:
                raise _failure(answer.status, answer.read(65_536))
            yield answer
            answer.drain_conn()
        finally:
            answer.close()
    except _NO_WAY as error:
        raise NoWay(_kind(error)) from None
    except HTTPError as error:
        raise Unavailable(f"the object store broke off: {_kind(error)}") from None


def _failure(status: int, told: bytes) -> Exception:
    found = _CODE.search(told)
    code = found.group(1).decode() if found else f"HTTP status {status}"
    if code in ("BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"):
        return CorruptArtifact(f"the object store refused the bytes: they have another digest ({code})")
    if status == 404:
        return NotFound(f"the object store has no such blob ({code})")
    if status in (401, 403) or code in ("ExpiredToken", "RequestTimeTooSkewed"):
        return Refused(code)
    if status >= 500 or status in (408, 429) or code in ("RequestTimeout", "IncompleteBody"):
        return Unavailable(f"the object store cannot take it now ({code})")
    return NoWay(code)


def _kind(error: HTTPError) -> str:
    """What happened, in a few words: a message of the library's may quote the URL."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__.removesuffix("Error")).lower()


def _check(stop: Event) -> None:
    if stop.is_set():
        raise Stopped
