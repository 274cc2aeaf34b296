"""What every store of objects asks of incoming bytes and of a read, before it keeps and finds them its own way.

The rule: what one backend refuses, every backend refuses, in the same words.
"""

import hashlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

from tensorfleet.errors import CorruptArtifact, InvalidRequest, NotFound
from tensorfleet.model import FieldViolation, Ref
from tensorfleet.stores.names import is_digest
from tensorfleet.stores.threads import ahead

CHUNK = 1024 * 1024
"""Bytes that are handled at once, at most."""


def no_blob(digest: str) -> NotFound:
    """The error where there is none."""
    why = "." if is_digest(digest) else ": a digest is 64 hexadecimal digits."
    return NotFound(f"There is no blob {digest!r}{why}")


def check_digest(ref: Ref, digest: str | None) -> None:
    """CorruptArtifact where the bytes that came are not those of a digest that was said."""
    if digest is not None and ref.digest != digest:
        raise CorruptArtifact(f"The bytes have the digest {ref.digest}, and {digest!r} was expected.")


def check_file(path: Path, ref: Ref) -> None:
    """CorruptArtifact where a file cannot be the blob; its bytes are not read."""
    if not is_digest(ref.digest) or path.stat().st_size != ref.size:
        raise CorruptArtifact(f"{path} is not the blob {ref.digest} of {ref.size} bytes.")


def check_offset(offset: int) -> None:
    if offset < 0:
        raise InvalidRequest([FieldViolation("offset", "expected 0 or more")])


async def pieces(path: Path) -> AsyncIterator[bytes]:
    """A file's bytes, chunk by chunk."""
    with path.open("rb", buffering=0) as file:
        async for piece in ahead(partial(file.read, CHUNK)):
            yield piece


def checked(
    read: Callable[[], bytes],
    left: int,
    digest: str | None,
    damaged: Callable[[], Exception],
    broken: Callable[[], Exception],
) -> Callable[[], bytes]:
    """Reads as `read` does until all is read. The last chunk is held back until the digest is known to be right.

    left: bytes that there are to read. digest: of all of them; None where only a part is read, which cannot be checked.
    damaged, broken: make the errors where they are not those of the digest, and where they end too soon.
    """
    seen, over = hashlib.sha256(), False

    def step() -> bytes:
        nonlocal left, over
        if over:
            return b""
        chunk = read()
        left -= len(chunk)
        over = left <= 0
        if not chunk and not over:
            raise broken()
        if digest is not None:
            seen.update(chunk)
            if over and seen.hexdigest() != digest:
                raise damaged()
        return chunk

    return step


async def exactly(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of a chunk, the last of what is left: many small ones cost few steps."""
    held: list[bytes] = []
    size = 0
    async for chunk in chunks:
        if not size and len(chunk) == CHUNK:
            yield chunk
            continue
        view = memoryview(chunk)
        while size + len(view) >= CHUNK:
            held.append(bytes(view[: CHUNK - size]))
            view = view[CHUNK - size :]
            yield b"".join(held)
            held, size = [], 0
        if len(view):
            held.append(bytes(view))
            size += len(view)
    if held:
        yield b"".join(held)
