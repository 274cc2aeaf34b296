"""Results wait for their bytes to be kept, in their order."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from orchestrator.incoming import Incoming, Kept
from tensorfleet.api.v1 import values_pb2
from tensorfleet.api.v1 import worker_pb2 as pb
from tensorfleet.errors import BadInput, FailedPrecondition, TensorFleetError, Unavailable
from tensorfleet.model import Ref


def ref_of(data: bytes) -> Ref:
    return Ref(hashlib.sha256(data).hexdigest(), len(data))


def result(token: int, *blobs: bytes, digest: str = "") -> pb.AttemptResult:
    refs = [values_pb2.ArtifactRef(digest=digest or ref_of(blob).digest, size_bytes=len(blob)) for blob in blobs]
    return pb.AttemptResult(
        token=token, outputs=[pb.Output(ref=ref, inline=blob) for ref, blob in zip(refs, blobs, strict=True)]
    )


class Objects:
    """A store that is away for as long as there are failures."""

    def __init__(self) -> None:
        self.failures: list[TensorFleetError] = []
        self.blobs: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()

    async def put_many(self, blobs: Sequence[Sequence[bytes]]) -> list[Ref]:
        await self.open.wait()
        if self.failures:
            raise self.failures.pop(0)
        whole = [b"".join(blob) for blob in blobs]
        self.blobs += whole
        return [ref_of(blob) for blob in whole]


class Setting:
    def __init__(self) -> None:
        self.objects = Objects()
        self.kept = Kept()
        self.told: list[int] = []
        self.incoming = Incoming(self.objects, self.kept, self._tell)  # type: ignore[arg-type]
        self.running: asyncio.Task[Any] = asyncio.create_task(self.incoming.run())

    def _tell(self, results: Sequence[pb.AttemptResult]) -> None:
        self.told += [each.token for each in results]


@pytest.fixture
async def setting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setting]:
    monkeypatch.setattr("tensorfleet.rpc.pauses.random.uniform", lambda _low, _high: 0.0)
    made = Setting()
    yield made
    made.running.cancel()


async def test_bytes_are_kept_before_results_are_told(setting: Setting) -> None:
    setting.objects.open.clear()
    setting.incoming.take([result(1, b"one", b"uno"), result(2)])
    setting.incoming.take([result(3)])
    await asyncio.sleep(0)
    assert setting.told == []
    setting.objects.open.set()
    await setting.incoming.through()
    assert setting.objects.blobs == [b"one", b"uno"]
    assert setting.told == [1, 2, 3]
    assert setting.kept.get(ref_of(b"uno").digest) == b"uno"


async def test_results_without_bytes_are_told_at_once(setting: Setting) -> None:
    setting.incoming.take([result(1), result(2)])
    assert setting.told == [1, 2]
    await setting.incoming.through()


@pytest.mark.parametrize("kind", [Unavailable, FailedPrecondition])
async def test_a_store_that_is_away_is_waited_for(setting: Setting, kind: type[TensorFleetError]) -> None:
    setting.objects.failures = [kind("away")] * 3
    setting.incoming.take([result(1, b"one")])
    await setting.incoming.through()
    assert (setting.objects.blobs, setting.told) == ([b"one"], [1])


async def test_what_comes_while_the_store_is_busy_is_kept_next(setting: Setting) -> None:
    setting.objects.open.clear()
    for token in range(5):
        setting.incoming.take([result(token, b"%d" % token)])
        await asyncio.sleep(0)
    setting.objects.open.set()
    await setting.incoming.through()
    assert setting.told == [0, 1, 2, 3, 4]


async def test_bytes_of_another_digest_end_the_session(setting: Setting) -> None:
    setting.incoming.take([result(1, b"one", digest="0" * 64)])
    with pytest.raises(BadInput, match="0000"):
        await setting.running
    assert setting.told == []
