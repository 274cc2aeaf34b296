"""ArtifactService: bytes by digest, streamed both ways."""

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc

from tensorfleet.api.v1 import artifacts_pb2 as pb
from tensorfleet.api.v1 import artifacts_pb2_grpc
from tensorfleet.errors import InvalidRequest
from tensorfleet.model import FieldViolation
from tensorfleet.stores.contract import ObjectStore
from tensorfleet.wire import ref_to_proto

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
DIGITS = frozenset("0123456789abcdef")


class Artifacts(artifacts_pb2_grpc.ArtifactServiceServicer):
    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def PutArtifact(
        self, request_iterator: AsyncIterator[pb.PutArtifactRequest], context: Context
    ) -> pb.PutArtifactResponse:
        first = await anext(request_iterator, None)
        if first is None:
            raise InvalidRequest([FieldViolation("chunk", "expected bytes, got nothing")])
        if first.digest:
            _check(first.digest)

        async def chunks() -> AsyncIterator[bytes]:
            yield first.chunk
            async for message in request_iterator:
                yield message.chunk

        ref = await self._objects.put(chunks(), first.digest or None)
        return pb.PutArtifactResponse(ref=ref_to_proto(ref))

    async def GetArtifact(
        self, request: pb.GetArtifactRequest, context: Context
    ) -> AsyncIterator[pb.GetArtifactResponse]:
        _check(request.digest)
        if request.offset < 0:
            raise InvalidRequest([FieldViolation("offset", f"expected 0 or more, not {request.offset}")])
        async for chunk in self._objects.get(request.digest, request.offset):
            yield pb.GetArtifactResponse(chunk=chunk)


def _check(digest: str) -> None:
    if len(digest) != 64 or not DIGITS.issuperset(digest):
        raise InvalidRequest([FieldViolation("digest", "expected a SHA-256 in 64 hexadecimal digits, in lower case")])
