"""Damaged and vanished blobs are noticed by their digest, and made again by whoever can; else they are named."""

import os
from pathlib import Path

import pytest

from tensorfleet import AsyncClient
from tensorfleet.errors import CorruptArtifact, JobFailed
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.model import Ref
from tensorfleet.sdk.events import StateChanged, TasksSucceeded

pytestmark = pytest.mark.stores("local")  # It damages files.

ROWS = "a,b,target\n" + "".join(f"{i * 7919 % 20011 / 7},{i % 7},{'yes' if i % 2 else 'no'}\n" for i in range(12_000))
"""So many that a block is no small blob, which the orchestrator may have in its hands."""
SOURCE = "synthetic:classification?rows=3000&features=8"


def damage(fleet: AsyncLocalFleet, ref: Ref) -> None:
    """Other bytes of the same size, an hour ago: what has just been written is taken for a put that mended it."""
    path = fleet.home / "objects" / "cas" / "sha256" / ref.digest[:2] / ref.digest
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 3600.0))


async def outputs(client: AsyncClient, job: str, stage: str) -> list[Ref]:
    return [ref for task in await client.jobs.tasks(job) if task.stage == stage for ref in task.outputs]


async def test_a_damaged_result_is_made_again_in_the_job_that_finds_it(
    fleet: AsyncLocalFleet, client: AsyncClient
) -> None:
    small = await client.train(SOURCE, algorithm="random_forest", hyperparameters={"n_estimators": 10})
    await small.result()
    for ref in (await outputs(client, small.id, "prepare"))[:2]:
        damage(fleet, ref)
    job = await client.train(SOURCE, algorithm="random_forest", hyperparameters={"n_estimators": 30})
    events = [event async for event in job.watch()]
    model = await job.result()
    assert any("made again" in event.reason for event in events if isinstance(event, StateChanged))
    assert any(event.stage == "prepare" and not event.reused for event in events if isinstance(event, TasksSucceeded))
    assert hasattr(await model.load(), "predict")
    anew = await client.train(
        SOURCE, algorithm="random_forest", hyperparameters={"n_estimators": 30}, ignore_known_results=True
    )
    assert (await anew.result()).sha256 == model.sha256


async def test_a_vanished_result_is_not_reused(fleet: AsyncLocalFleet, client: AsyncClient) -> None:
    first = await client.train("wine", algorithm="decision_tree")
    model = await first.result()
    (gone, *_) = await outputs(client, first.id, "fit")
    (fleet.home / "objects" / "cas" / "sha256" / gone.digest[:2] / gone.digest).unlink()
    again = await client.train("wine", algorithm="decision_tree")
    assert (await again.result()).sha256 == model.sha256
    assert again.tasks.run == 1
    assert len(await client.fetch(gone)) == gone.size


async def test_a_damaged_dataset_is_named_and_mended_by_adding_it_again(
    fleet: AsyncLocalFleet, client: AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "sales.csv").write_text(ROWS)
    dataset = await client.datasets.add(tmp_path / "sales.csv", name="sales")
    (reading,) = await client.jobs.list()
    block = (await outputs(client, reading.id, "ingest"))[1]
    assert block.size > 65_536
    damage(fleet, block)
    job = await client.train("sales", algorithm="decision_tree")
    with pytest.raises(JobFailed) as failed:
        await job.result()
    assert failed.value.reason == "INPUT_LOST"
    assert f"blob {block.digest} of the dataset sales" in failed.value.message
    assert "add it again" in failed.value.message
    assert await client.datasets.add(tmp_path / "sales.csv", name="sales") == dataset
    await job.retry()
    assert hasattr(await (await job.result()).load(), "predict")


async def test_a_damaged_model_is_named_and_mended_by_the_same_training(
    fleet: AsyncLocalFleet, client: AsyncClient
) -> None:
    model = await (await client.train("iris", algorithm="decision_tree")).result()
    damage(fleet, model.info.parts[-1])
    with pytest.raises(CorruptArtifact) as refused:
        await model.load()
    assert model.info.parts[-1].digest in refused.value.message
    assert model.info.reference in refused.value.message
    again = await client.train("iris", algorithm="decision_tree")
    assert (await again.result()).sha256 == model.sha256
    assert again.tasks.run == 1
    assert hasattr(await model.load(), "predict")
