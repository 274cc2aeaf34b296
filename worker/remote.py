"""The orchestrator's ArtifactService, as a worker calls it: leave to carry blobs, and the bytes themselves.

The rule: what goes wrong is an error of the catalogue; what another try may mend is Unavailable.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import grpc

from tensorfleet import wire
from tensorfleet.api.v1 import artifacts_pb2 as pb
from tensorfleet.api.v1 import artifacts_pb2_grpc as pb_grpc
from tensorfleet.errors import TensorFleetError, Unavailable
from tensorfleet.model import Ref
from tensorfleet.rpc.chunks import chunk_field, chunk_reader, keep_buffers
from tensorfleet.rpc.status import to_error
from tensorfleet.stores.contract import Grant

_Granting = pb.GrantGetResponse | pb.GrantPutResponse
_Put: TypeAlias = "grpc.aio.StreamUnaryMultiCallable[bytes, pb.PutArtifactResponse]"
_Get: TypeAlias = "grpc.aio.UnaryStreamMultiCallable[pb.GetArtifactRequest, bytes | memoryview]"
_PUT = "/tensorfleet.api.v1.ArtifactService/PutArtifact"
_GET = "/tensorfleet.api.v1.ArtifactService/GetArtifact"


class RemoteArtifacts:
    """The orchestrator's ArtifactService."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.ArtifactServiceStub(channel)
        read = chunk_reader(pb.GetArtifactResponse)
        self._get: _Get = channel.unary_stream(_GET, pb.GetArtifactRequest.SerializeToString, read)
        self._put: _Put = channel.stream_unary(_PUT, None, pb.PutArtifactResponse.FromString)

    async def get(self, digest: str, check: bool) -> AsyncIterator[bytes | memoryview]:
        keep_buffers()
        with _errors():
            async for chunk in self._get(pb.GetArtifactRequest(digest=digest, unchecked=not check)):
                yield chunk

    async def put(self, chunks: AsyncIterator[bytes], digest: str) -> Ref:
        async def requests() -> AsyncIterator[bytes]:
            told = chunk_field(pb.PutArtifactRequest.DIGEST_FIELD_NUMBER, digest.encode())
            async for chunk in chunks:
                yield chunk_field(pb.PutArtifactRequest.CHUNK_FIELD_NUMBER, chunk) + told
                told = b""

        with _errors():
            answer = await self._put(requests())
        return wire.ref_from_proto(answer.ref)

    async def grant_get(self, digest: str) -> Grant | None:
        return await self._granted(self._stub.GrantGet(pb.GrantGetRequest(digest=digest)))

    async def grant_put(self, ref: Ref) -> Grant | None:
        return await self._granted(self._stub.GrantPut(pb.GrantPutRequest(ref=wire.ref_to_proto(ref))))

    async def _granted(self, asked: Awaitable[_Granting]) -> Grant | None:
        try:
            with _errors():
                answer = await asked
        except TensorFleetError as error:
            if error.reason != grpc.StatusCode.UNIMPLEMENTED.name:
                raise
            return None
        if not answer.HasField("grant"):
            return None
        given = answer.grant
        return Grant(given.method, given.url, dict(given.headers), wire.duration_seconds(given.lifetime))


@contextmanager
def _errors() -> Iterator[None]:
    """The catalogue's errors. A call that ended with its channel, and not with its caller, is worth another try."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise to_error(error) from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unavailable("the session ended meanwhile") from None
