"""Models as files over gRPC: what is kept as it is asked for is passed on, and what is made takes a fitting worker."""

import asyncio
import time
from typing import Any, cast

import pytest

from orchestrator.admission import admit
from orchestrator.core.pools import key_of
from orchestrator.core.state import Pool, State
from orchestrator.services.models import Models
from tensorfleet.api.v1 import models_pb2 as pb
from tensorfleet.errors import InvalidRequest
from tensorfleet.model import JobKind, JobSpec
from tensorfleet.testing.simulated.objects import Bucket, MemoryObjects
from tests.simulation.fleet import info
from tests.unit.registry import registered


@pytest.mark.parametrize("format", ["", "keras"])
async def test_a_file_that_is_kept_comes_with_no_job(format: str) -> None:
    bucket = Bucket(time.monotonic)
    manifest, file = bucket.put(b"manifest"), bucket.put(b"PK" * 1_000_000)
    documents = await registered("keras", "cnn", (manifest, file))
    objects = MemoryObjects(bucket, lambda: asyncio.sleep(0))
    models: Any = Models(cast(Any, None), documents, objects)  # which has nobody to submit a job to
    request = pb.DownloadModelRequest(model="m", format=format)
    sent = [pb.DownloadModelResponse.FromString(part) async for part in models.DownloadModel(request, None)]
    assert b"".join(part.chunk for part in sent) == b"PK" * 1_000_000


@pytest.mark.parametrize(
    ("framework", "algorithm", "format", "requires"),
    [
        ("keras", "cnn", "", ()),
        ("keras", "cnn", "pickle", ()),
        ("keras", "cnn", "saved_model", ("tensorflow", "keras")),
        ("sklearn", "svm", "pickle", ()),
    ],
)
async def test_writing_a_model_takes_an_engine_where_that_writes_it(
    framework: str, algorithm: str, format: str, requires: tuple[str, ...]
) -> None:
    documents, state, about = await registered(framework, algorithm), State(), info("w")
    state.pools[key_of(about)] = Pool(about, [(0, 1, "w")])
    spec = JobSpec(kind=JobKind.PROCESS, algorithm="export", model="m", hyperparameters={"format": format})
    if not requires:
        assert (await admit(spec, "", documents, state)).resolved.requires == ()
        return
    with pytest.raises(InvalidRequest, match=f"needs {requires[0]}"):
        await admit(spec, "", documents, state)


async def test_predicting_takes_the_engine_whatever_the_model_can_be_had_as() -> None:
    documents = await registered("keras", "cnn")
    spec = JobSpec(kind=JobKind.PREDICT, model="m", dataset="digits")
    assert {"tensorflow", "keras"} <= set((await admit(spec, "", documents, State())).resolved.requires)
