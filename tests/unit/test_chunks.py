"""What is written by hand is what protobuf writes."""

import platform
import subprocess
import sys

import pytest
from google.protobuf.message import DecodeError

from tensorfleet.api.v1 import artifacts_pb2 as pb
from tensorfleet.rpc.chunks import chunk_field, chunk_message, chunk_reader, written_or

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


@pytest.mark.parametrize("size", SIZES)
def test_a_chunk_is_read_where_it_lies(size: int) -> None:
    chunk = b"c" * size
    read = chunk_reader(pb.GetArtifactResponse)(pb.GetArtifactResponse(chunk=chunk).SerializeToString())
    assert bytes(read) == chunk
    assert isinstance(read, memoryview) is (size > 0)


@pytest.mark.parametrize(
    "message",
    [
        chunk_field(1, b"chunk") + chunk_field(2, b"digest"),
        chunk_field(2, b"digest") + chunk_field(1, b"chunk"),
        chunk_field(1, b"first") + chunk_field(1, b"chunk"),
        chunk_field(3, b"unknown") + chunk_field(1, b"chunk"),
    ],
)
def test_a_chunk_among_other_fields_is_read_as_protobuf_does(message: bytes) -> None:
    assert bytes(chunk_reader(pb.PutArtifactRequest)(message)) == b"chunk"


@pytest.mark.parametrize("message", [b"\x0a", b"\x0a\x05four", b"\x0a" + b"\x80" * 11, b"\xff"])
def test_what_protobuf_cannot_read_is_refused_as_it_does(message: bytes) -> None:
    with pytest.raises(DecodeError):
        chunk_reader(pb.GetArtifactResponse)(message)


def test_what_is_written_is_left_as_it_is() -> None:
    serialize = written_or(pb.GetArtifactResponse.SerializeToString)
    assert serialize is not None
    message = pb.GetArtifactResponse(chunk=b"bytes")
    assert serialize(message) == serialize(chunk_message(pb.GetArtifactResponse, b"bytes"))
    assert written_or(None) is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc is told")
def test_the_memory_of_chunks_is_kept_for_the_next_ones() -> None:
    program = """
from resource import RUSAGE_SELF, getrusage
from tensorfleet.rpc.chunks import keep_buffers
keep_buffers()
before = getrusage(RUSAGE_SELF).ru_minflt
for _ in range(100):
    held = [b"x" * (1 << 20) for _ in range(6)]
    del held
print(getrusage(RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20 * 6 * 256, "the chunks are in the same pages most of the time"
