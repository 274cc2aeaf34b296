"""Objects in an S3 bucket: `cas/sha256/ab/<digest>` under a prefix, and names as small objects that hold a digest.

The rule: a put is one PUT whose SHA-256 the store itself verifies, also where the blob is there already: so it is
whole or not there at all, it is mended where it was damaged, and its age is renewed, each by the same request.
"""

import asyncio
import base64
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError
from msgspec import Struct

from tensorfleet.errors import AlreadyExists, CorruptArtifact, FailedPrecondition, NotFound, Unavailable
from tensorfleet.model import Ref
from tensorfleet.stores.blobs import CHUNK, check_digest, check_file, check_offset, checked, exactly, no_blob
from tensorfleet.stores.contract import Grant, Leftovers
from tensorfleet.stores.names import is_digest, name_parts
from tensorfleet.stores.s3_client import connect, is_missing, told
from tensorfleet.stores.s3_url import Place
from tensorfleet.stores.threads import ahead, behind, in_thread

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

IN_MEMORY = 2 * CHUNK
"""Bytes of a stream that wait in memory for their digest; more of them wait on disk."""
AT_ONCE = 16
GRANT_SECONDS = 900.0

_T = TypeVar("_T")
_MARK = ".tensorfleet"
"""The object that each start writes, to learn at once whether it may."""


def from_url(url: str) -> "S3Objects":
    """The store of a URL such as `s3://bucket/prefix`; see `s3_url.Place`. ValueError."""
    return S3Objects(Place.of(url))


class S3Objects:
    """An `ObjectStore` in a bucket. One of them at a time deletes: the orchestrator that leads."""

    def __init__(self, place: Place) -> None:
        self.url = place.url
        self._place = place
        self._client: S3Client | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._locks = [Lock() for _ in range(256)]
        self._noting = Lock()
        self._granted: dict[str, _Granted] = {}

    async def open(self) -> None:
        await self.close()
        client = await in_thread(connect, self._place)
        await in_thread(self._try_out, client)
        self._client = client
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="objects-s3")

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        client, self._client = self._client, None
        if threads is not None:
            threads.shutdown(wait=False)
        if client is not None:
            await in_thread(client.close)

    async def put(self, chunks: AsyncIterator[bytes], digest: str | None = None) -> Ref:
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as held:
            seen, size = hashlib.sha256(), 0

            def write(chunk: bytes) -> None:
                nonlocal size
                seen.update(chunk)
                size += held.write(chunk)

            await behind(exactly(chunks), write)
            ref = Ref(seen.hexdigest(), size)
            check_digest(ref, digest)
            held.seek(0)
            await in_thread(self._send, ref, held)
        return ref

    async def put_file(self, path: Path, ref: Ref) -> None:
        check_file(path, ref)
        with path.open("rb") as file:
            await in_thread(self._send, ref, file)

    async def put_many(self, blobs: Sequence[Sequence[bytes | memoryview]]) -> list[Ref]:
        whole = [b"".join(buffers) for buffers in blobs]
        refs = [Ref(hashlib.sha256(data).hexdigest(), len(data)) for data in whole]
        different = dict(zip(refs, whole, strict=True))
        await self._at_once(self._send, different.items())
        return refs

    async def get(self, digest: str, offset: int = 0, *, check: bool = True) -> AsyncIterator[bytes]:
        """As the contract says. The last chunk is held back until the digest is known to be right."""
        check_offset(offset)
        body, left = await in_thread(self._open_blob, digest, offset)
        if body is None:
            return

        def damaged() -> CorruptArtifact:
            return CorruptArtifact(f"The blob {digest} in {self._place} is damaged: its bytes have another.")

        def broken() -> Unavailable:
            return Unavailable(f"{self._place} broke off in the middle of the blob {digest}.")

        with closing(body):
            read = checked(partial(self._read, body), left, digest if check and not offset else None, damaged, broken)
            async with aclosing(ahead(read)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def size(self, digest: str) -> int | None:
        found = await in_thread(self._head, self._key(digest)) if is_digest(digest) else None
        return None if found is None else int(found["ContentLength"])

    async def delete(self, digest: str, idle: float = 0.0) -> bool:
        return not is_digest(digest) or await in_thread(self._delete, digest, idle)

    async def blobs(self) -> AsyncIterator[tuple[Ref, float]]:
        root, token = self._under("cas/sha256/"), ""
        while True:
            page = await in_thread(self._page, root, token)
            now = _now(page)
            for found in page.get("Contents", ()):
                digest = found["Key"].rpartition("/")[2]
                if is_digest(digest):
                    yield Ref(digest, int(found["Size"])), _age(found["LastModified"], now)
            token = page.get("NextContinuationToken", "")
            if not token:
                return

    async def unfinished(self, *, remove: bool) -> Leftovers:
        return Leftovers(0, 0)  # one request is all or nothing, and what waits for it is in files without names

    def path(self, digest: str) -> Path | None:
        return None

    async def name(self, name: str, digest: str | None) -> None:
        parts = name_parts(name)
        if digest is None:
            await in_thread(self._unname, name)
        else:
            await in_thread(self._name, parts, digest)

    async def grant_get(self, digest: str) -> Grant | None:
        if not is_digest(digest):
            raise no_blob(digest)
        url = await in_thread(self._presigned, "get_object", {"Key": self._key(digest)})
        return Grant("GET", url, {}, GRANT_SECONDS)

    async def grant_put(self, ref: Ref) -> Grant | None:
        if not is_digest(ref.digest):
            raise CorruptArtifact(f"No bytes have the digest {ref.digest!r}: it is 64 hexadecimal digits.")
        checksum = _checksum(ref.digest)
        fields = {"Key": self._key(ref.digest), "ChecksumSHA256": checksum, "ContentLength": ref.size}
        await in_thread(self._note_grant, ref.digest)
        url = await in_thread(self._presigned, "put_object", fields)
        return Grant("PUT", url, {"x-amz-checksum-sha256": checksum}, GRANT_SECONDS)

    def _try_out(self, client: "S3Client") -> None:
        """Learns at once whether the bucket is there and takes what this store writes."""
        place = self._place
        try:
            with told(place, "list what it holds"):
                client.list_objects_v2(Bucket=place.bucket, MaxKeys=1)  # unlike a HEAD it is told what is wrong
            with told(place, f"write {self._under(_MARK)}"):
                client.put_object(
                    Bucket=place.bucket, Key=self._under(_MARK), Body=b"TensorFleet keeps objects here.\n"
                )
        except NotFound:
            client.close()
            raise FailedPrecondition(f"There is no {place}: create it first, or set S3_BUCKET to another.") from None
        except BaseException:
            client.close()
            raise

    @contextmanager
    def _using(self, what: str) -> "Iterator[S3Client]":
        if self._client is None:
            raise Unavailable(f"{self._place} is not open.")
        with told(self._place, what):
            yield self._client

    def _under(self, key: str) -> str:
        return f"{self._place.prefix}/{key}" if self._place.prefix else key

    def _key(self, digest: str) -> str:
        return self._under(f"cas/sha256/{digest[:2]}/{digest}")

    def _lock(self, digest: str) -> Lock:
        return self._locks[int(digest[:2], 16)]

    async def _at_once(self, work: Callable[..., _T], arguments: "Any") -> list[_T]:
        loop, threads = asyncio.get_running_loop(), self._threads
        if threads is None:
            raise Unavailable(f"{self._place} is not open.")
        return list(await asyncio.gather(*(loop.run_in_executor(threads, work, *each) for each in arguments)))

    def _send(self, ref: Ref, body: "bytes | IO[bytes] | tempfile.SpooledTemporaryFile[bytes]") -> None:
        key = self._key(ref.digest)
        with self._lock(ref.digest), self._using(f"write {key}") as client:
            client.put_object(
                Bucket=self._place.bucket,
                Key=key,
                Body=body,
                ContentLength=ref.size,
                ChecksumSHA256=_checksum(ref.digest),
            )

    def _open_blob(self, digest: str, offset: int) -> tuple[Any, int]:
        """The blob's bytes from the offset on, and how many they are; None for none."""
        if not is_digest(digest):
            raise no_blob(digest)
        key = self._key(digest)
        with self._using(f"read {key}") as client:
            try:
                if offset:
                    found = client.get_object(Bucket=self._place.bucket, Key=key, Range=f"bytes={offset}-")
                else:
                    found = client.get_object(Bucket=self._place.bucket, Key=key)
            except ClientError as error:
                if is_missing(error):
                    raise no_blob(digest) from None
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 416:  # nothing from there on
                    return None, 0
                raise
        return found["Body"], int(found["ContentLength"])

    def _read(self, body: Any) -> bytes:
        with told(self._place, "read"):
            return bytes(body.read(CHUNK))

    def _head(self, key: str) -> dict[str, Any] | None:
        with self._using(f"look at {key}") as client:
            try:
                return dict(client.head_object(Bucket=self._place.bucket, Key=key))
            except ClientError as error:
                if is_missing(error):
                    return None
                raise

    def _delete(self, digest: str, idle: float) -> bool:
        key = self._key(digest)
        with self._lock(digest):
            if idle > 0 and self._is_young(digest, key, idle):
                return False
            with self._using(f"delete {key}") as client:
                client.delete_object(Bucket=self._place.bucket, Key=key)
        return True

    def _is_young(self, digest: str, key: str, idle: float) -> bool:
        found = self._head(key)
        if found is None:
            return False
        granted = self._granted.get(digest)
        if granted is not None and granted.before == found["LastModified"] and granted.holds():
            return True  # whoever has that leave may use it just now, and this lock does not reach so far
        return _age(found["LastModified"], _now(found)) < idle

    def _note_grant(self, digest: str) -> None:
        with self._lock(digest):
            found = self._head(self._key(digest))
            note = _Granted(time.monotonic(), None if found is None else found["LastModified"])
        with self._noting:
            self._granted.pop(digest, None)
            self._granted[digest] = note
            while not self._granted[oldest := next(iter(self._granted))].holds():
                del self._granted[oldest]

    def _page(self, root: str, token: str) -> dict[str, Any]:
        more: dict[str, Any] = {"ContinuationToken": token} if token else {}
        with self._using(f"list {root}") as client:
            return dict(client.list_objects_v2(Bucket=self._place.bucket, Prefix=root, **more))

    def _name(self, parts: list[str], digest: str) -> None:
        name = "/".join(parts)
        if not is_digest(digest) or self._head(self._key(digest)) is None:
            raise NotFound(f"There is no blob {digest!r} to name {name}.")
        beginnings = ["/".join(parts[:length]) for length in range(1, len(parts))]
        with self._using(f"write {self._under(name)}") as client:
            longer = client.list_objects_v2(Bucket=self._place.bucket, Prefix=self._under(name) + "/", MaxKeys=1)
            if longer.get("KeyCount") or any(self._head(self._under(beginning)) for beginning in beginnings):
                raise AlreadyExists(f"{name} is taken: one name cannot be the beginning of another.")
            client.put_object(Bucket=self._place.bucket, Key=self._under(name), Body=digest.encode())

    def _unname(self, name: str) -> None:
        with self._using(f"delete {self._under(name)}") as client:
            if self._head(self._under(name)) is not None:
                client.delete_object(Bucket=self._place.bucket, Key=self._under(name))

    def _presigned(self, method: str, fields: dict[str, Any]) -> str:
        with self._using("sign requests") as client:
            return client.generate_presigned_url(
                method, Params={"Bucket": self._place.bucket, **fields}, ExpiresIn=int(GRANT_SECONDS)
            )


class _Granted(Struct, frozen=True):
    """Leave to put a blob: when it was given, and of when the blob was that was there; once that is another, it is
    used."""

    at: float
    before: datetime | None

    def holds(self) -> bool:
        return time.monotonic() - self.at < GRANT_SECONDS


def _checksum(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()


def _now(answer: "Any") -> datetime:
    """The store's own clock, by which its objects have their times."""
    told_date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(told_date) if told_date else datetime.now(UTC)


def _age(modified: datetime, now: datetime) -> float:
    return float(max(int((now - modified).total_seconds()), 0))
