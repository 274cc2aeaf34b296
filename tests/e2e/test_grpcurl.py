"""The API with no Python of ours: grpcurl and reflection alone."""

import asyncio
import json
import os
from typing import Any

import pytest

from tensorfleet.local import AsyncLocalFleet
from tests.servers import builds

GRPCURL = builds.found_grpcurl()
if GRPCURL is None:
    if os.environ.get("CI"):
        raise FileNotFoundError("grpcurl is needed: `make servers` builds it")
    pytest.skip("needs grpcurl: `make servers` builds it", allow_module_level=True)

API = "tensorfleet.api.v1"


async def grpcurl(address: str, *arguments: str) -> tuple[int, str]:
    words = (str(GRPCURL), "-plaintext", *arguments[:-1], address, arguments[-1])
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def messages(text: str) -> list[dict[str, Any]]:
    decoder, found = json.JSONDecoder(), []
    text = text.strip()
    while text:
        message, end = decoder.raw_decode(text)
        found.append(message)
        text = text[end:].lstrip()
    return found


async def test_a_job_from_submission_to_model(fleet: AsyncLocalFleet) -> None:
    code, listed = await grpcurl(fleet.address, "list")
    assert code == 0
    assert {f"{API}.JobService", f"{API}.WorkerService", "grpc.health.v1.Health", "grpc.channelz.v1.Channelz"} <= {
        *listed.split()
    }
    spec = {"algorithm": "random_forest", "dataset": "iris", "hyperparameters": {"n_estimators": {"integer": 12}}}
    code, out = await grpcurl(fleet.address, "-d", json.dumps({"spec": spec}), f"{API}.JobService/SubmitJob")
    assert code == 0, out
    job_id = messages(out)[0]["jobId"] if "jobId" in out else messages(out)[0]["job_id"]
    code, out = await grpcurl(fleet.address, "-d", json.dumps({"job_id": job_id}), f"{API}.JobService/WatchJob")
    assert code == 0, out
    ended = messages(out)[-1]["events"][-1]["ended"]
    assert ended["state"] == "JOB_STATE_SUCCEEDED"
    model = ended["model"]["name"]
    rows = {"values": [{"real": 5.1}, {"real": 3.5}, {"real": 1.4}, {"real": 0.2}]}
    ask = json.dumps({"model": model, "rows": [rows], "probabilities": True})
    code, out = await grpcurl(fleet.address, "-d", ask, f"{API}.ModelService/Predict")
    assert code == 0, out
    assert messages(out)[0]["predictions"] == [{"integer": "0"}]


async def test_health_is_told_for_each_service(fleet: AsyncLocalFleet) -> None:
    for service in ("", f"{API}.JobService", f"{API}.ModelService"):
        code, out = await grpcurl(fleet.address, "-d", json.dumps({"service": service}), "grpc.health.v1.Health/Check")
        assert (code, messages(out)) == (0, [{"status": "SERVING"}])


async def test_channelz_answers(fleet: AsyncLocalFleet) -> None:
    code, out = await grpcurl(fleet.address, "-d", "{}", "grpc.channelz.v1.Channelz/GetServers")
    assert code == 0, out
    assert messages(out)[0]["server"]


async def test_bad_fields_come_with_their_names(fleet: AsyncLocalFleet) -> None:
    spec = {"algorithm": "random_forrest", "dataset": "iris"}
    code, out = await grpcurl(fleet.address, "-d", json.dumps({"spec": spec}), f"{API}.JobService/SubmitJob")
    assert code == 64 + 3
    assert "InvalidArgument" in out
    assert "spec.algorithm" in out
    assert "random_forest" in out


async def test_a_job_is_steered(fleet: AsyncLocalFleet) -> None:
    async def steer(how: str) -> tuple[int, str]:
        return await grpcurl(fleet.address, "-d", json.dumps({"job_id": job_id}), f"{API}.JobService/{how}Job")

    spec = {"algorithm": "svm", "dataset": "synthetic:classification?rows=20000&features=50&classes=7&seed=1"}
    code, out = await grpcurl(fleet.address, "-d", json.dumps({"spec": spec}), f"{API}.JobService/SubmitJob")
    assert code == 0, out
    job_id = messages(out)[0]["jobId" if "jobId" in out else "job_id"]
    for how, state in (("Pause", "PAUSED"), ("Resume", "RUNNING"), ("Checkpoint", "RUNNING")):
        code, out = await steer(how)
        assert code == 0, out
        job = messages(out)[0]["job"]
        assert job["state"] in (f"JOB_STATE_{state}", "JOB_STATE_QUEUED")
        assert ("pausedAt" in job or "paused_at" in job) == (how == "Pause")
    code, out = await steer("Stop")
    assert code != 0
    assert "FailedPrecondition" in out
    assert "cancel it instead" in out
    code, out = await steer("Cancel")
    assert messages(out)[0]["job"]["state"] == "JOB_STATE_CANCELLED"
