"""What is written by hand is what protobuf writes."""

import pytest

from tensorfleet.api.v1 import artifacts_pb2 as pb
from tensorfleet.rpc.chunks import chunk_field, chunk_message, written_or

SIZES = [0, 1, 127, 128, 16_383, 16_384, 1 << 20]


@pytest.mark.parametrize("size", SIZES)
def test_a_chunk_alone_is_the_messages_bytes(size: int) -> None:
    chunk = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    message = pb.GetArtifactResponse(chunk=chunk)
    assert chunk_message(pb.GetArtifactResponse, chunk) == message.SerializeToString()


@pytest.mark.parametrize("size", SIZES)
def test_fields_one_after_another_are_a_message(size: int) -> None:
    written = chunk_field(1, b"c" * size) + chunk_field(2, b"d" * 64)
    assert pb.PutArtifactRequest.FromString(written) == pb.PutArtifactRequest(chunk=b"c" * size, digest="d" * 64)


def test_what_is_written_is_left_as_it_is() -> None:
    serialize = written_or(pb.GetArtifactResponse.SerializeToString)
    assert serialize is not None
    message = pb.GetArtifactResponse(chunk=b"bytes")
    assert serialize(message) == serialize(chunk_message(pb.GetArtifactResponse, b"bytes"))
    assert written_or(None) is None
