"""Bytes by digest, through the fleet.

The rule: bytes are handed on only when their SHA-256 is the digest that was asked for.
"""

import asyncio
import hashlib

from tensorfleet.api.v1 import artifacts_pb2
from tensorfleet.errors import CorruptArtifact
from tensorfleet.model import Ref
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
