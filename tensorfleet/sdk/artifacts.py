"""Bytes by digest, through the fleet.

The rule: bytes are handed on only when their SHA-256 is the digest that was asked for.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from tensorfleet.api.v1 import artifacts_pb2
from tensorfleet.errors import CorruptArtifact
from tensorfleet.model import Ref
from tensorfleet.rpc.channels import CHUNK_BYTES
from tensorfleet.sdk.calls import Calls


async def fetch(calls: Calls, ref: Ref) -> bytes:
    """An artifact's bytes. NotFound where there is none of that digest; CorruptArtifact where the bytes are not its
    own."""
    content = bytearray()

    async def attempt(_: float) -> None:
        request = artifacts_pb2.GetArtifactRequest(digest=ref.digest, offset=len(content))  # goes on where it broke
        async for part in calls.artifacts.GetArtifact(request, metadata=calls.metadata):
            content.extend(part.chunk)

    await calls.retried(attempt)
    digest = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
    if digest != ref.digest:
        raise CorruptArtifact(f"asked for the artifact {ref.digest} and got bytes whose SHA-256 is {digest}")
    return bytes(content)


async def put(calls: Calls, path: Path) -> Ref:
    """Puts a file as an artifact; the fleet refuses bytes of another digest than the file's."""

    def digested() -> Ref:
        with path.open("rb") as file:
            return Ref(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)

    ref = await asyncio.to_thread(digested)

    async def parts() -> AsyncIterator[artifacts_pb2.PutArtifactRequest]:
        digest = ref.digest
        with path.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES - 1024):
                yield artifacts_pb2.PutArtifactRequest(chunk=chunk, digest=digest)
                digest = ""

    # Each try sends all of it.
    await calls.retried(lambda _: calls.artifacts.PutArtifact(parts(), metadata=calls.metadata))
    return ref
