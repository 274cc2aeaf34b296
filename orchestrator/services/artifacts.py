"""ArtifactService: leave to read and write bytes where they are, and the bytes themselves, streamed both ways."""

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc

from orchestrator.inspection import Inspection
from tensorfleet.api.v1 import artifacts_pb2 as pb
from tensorfleet.api.v1 import artifacts_pb2_grpc
from tensorfleet.errors import CorruptArtifact, InvalidRequest
from tensorfleet.model import FieldViolation, Ref
from tensorfleet.rpc.chunks import chunk_message, keep_buffers
from tensorfleet.stores.contract import Grant, ObjectStore
from tensorfleet.stores.names import is_digest
from tensorfleet.wire import duration, ref_from_proto, ref_to_proto

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Artifacts(artifacts_pb2_grpc.ArtifactServiceServicer):
    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._inspection = Inspection(objects)

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
        keep_buffers()
        try:
            async for chunk in self._objects.get(request.digest, request.offset, check=not request.unchecked):
                yield chunk_message(pb.GetArtifactResponse, chunk)
        except CorruptArtifact:
            await self._inspection.lost([Ref(request.digest, 1)])  # so that it is missed, and made again
            raise

    async def GrantGet(self, request: pb.GrantGetRequest, context: Context) -> pb.GrantGetResponse:
        _check(request.digest)
        return pb.GrantGetResponse(grant=_proto(await self._objects.grant_get(request.digest)))

    async def GrantPut(self, request: pb.GrantPutRequest, context: Context) -> pb.GrantPutResponse:
        _check(request.ref.digest, "ref.digest")
        if request.ref.size_bytes < 0:
            raise InvalidRequest(
                [FieldViolation("ref.size_bytes", f"expected 0 or more, not {request.ref.size_bytes}")]
            )
        return pb.GrantPutResponse(grant=_proto(await self._objects.grant_put(ref_from_proto(request.ref))))


def _check(digest: str, field: str = "digest") -> None:
    if not is_digest(digest):
        raise InvalidRequest([FieldViolation(field, "expected a SHA-256 in 64 hexadecimal digits, in lower case")])


def _proto(grant: Grant | None) -> pb.Grant | None:
    if grant is None:
        return None
    return pb.Grant(method=grant.method, url=grant.url, headers=grant.headers, lifetime=duration(grant.seconds))
