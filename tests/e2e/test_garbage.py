"""Garbage is collected to the last blob, and nothing that anybody needs is."""

import asyncio
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tensorfleet import AsyncClient
from tensorfleet.errors import NotFound, Unavailable
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.model import Amount, Garbage, JobKind, JobSpec, KeptFor
from tensorfleet.stores.directory import DirectoryObjects

pytestmark = pytest.mark.stores("local")  # It looks at the files.

ROWS = "a,b,target\n" + "".join(f"{i},{i % 7},{'yes' if i % 2 else 'no'}\n" for i in range(60))


def blobs(home: Path) -> dict[str, int]:
    """What the object store has: digest to when it was written."""
    found = {}
    for path in (home / "objects" / "cas").glob("sha256/*/*"):
        with suppress(FileNotFoundError):  # collected meanwhile
            found[path.name] = path.stat().st_mtime_ns
    return found


async def aged(client: AsyncClient) -> None:
    """Returns when nothing is too new to be collected."""
    while KeptFor.AGE in (await client.collect_garbage(older_than=0, dry_run=True)).kept:
        pass


async def collected(client: AsyncClient) -> Garbage:
    """What a collection frees once nothing is too new."""
    await aged(client)
    return await client.collect_garbage(older_than=0)


def parts(model: object) -> set[str]:
    return {ref.digest for ref in model.info.parts}  # type: ignore[attr-defined]


async def test_of_a_deleted_model_nothing_is_left(fleet: AsyncLocalFleet, client: AsyncClient) -> None:
    kept = await (await client.train("iris", algorithm="random_forest", model_name="kept")).result()
    gone = await (await client.train("wine", algorithm="random_forest", model_name="gone")).result()
    await client.models.delete(gone.info.reference)
    freed = await collected(client)
    assert set(blobs(fleet.home)) == parts(kept)
    assert freed.kept.keys() == {KeptFor.MODEL}
    assert freed.results > 0
    assert hasattr(await kept.load(), "predict")
    again = await (await client.train("wine", algorithm="random_forest", model_name="gone")).result()
    assert again.sha256 == gone.sha256


@pytest.mark.stores("cluster")
async def test_what_is_left_is_what_models_need(client: AsyncClient) -> None:
    """On every store: nothing but the kept model's parts, and these whole."""
    kept = await (await client.train("iris", algorithm="random_forest", model_name="kept")).result()
    gone = await (await client.train("iris", algorithm="decision_tree", model_name="gone")).result()
    await client.models.delete(gone.info.reference)
    told = await collected(client)
    assert told.blobs.count > 0
    assert told.kept == {KeptFor.MODEL: Amount(len(parts(kept)), kept.info.size)}
    assert (await client.collect_garbage(older_than=0)).blobs == Amount()
    with pytest.raises(NotFound):
        await client.fetch(gone.info.parts[0])
    assert hasattr(await kept.load(), "predict")
    again = await (await client.train("iris", algorithm="decision_tree", model_name="gone")).result()
    assert again.sha256 == gone.sha256


async def test_what_was_made_lately_stays(fleet: AsyncLocalFleet, client: AsyncClient, tmp_path: Path) -> None:
    """By itself the fleet frees nothing of today, and a job that is known needs no work."""
    first = await client.train("iris", algorithm="random_forest")
    model = await first.result()
    await client.models.delete(model.info.reference)
    before = blobs(fleet.home)
    freed = await client.collect_garbage()
    assert (freed.blobs, freed.results) == (Amount(), 0)
    assert blobs(fleet.home) == before
    again = await client.train("iris", algorithm="random_forest")
    await again.result()
    assert again.tasks.run == 0


async def test_a_dry_run_tells_and_changes_nothing(fleet: AsyncLocalFleet, client: AsyncClient) -> None:
    model = await (await client.train("iris", algorithm="random_forest")).result()
    await client.models.delete(model.info.reference)
    await aged(client)
    before, entry = blobs(fleet.home), (await client.status()).journal_entry
    told = await client.collect_garbage(older_than=0, dry_run=True)
    assert told.blobs.count == len(before)
    assert blobs(fleet.home) == before
    assert (await client.status()).journal_entry == entry
    assert await client.collect_garbage(older_than=0) == told
    assert blobs(fleet.home) == {}


async def test_predictions_and_datasets_stay(fleet: AsyncLocalFleet, client: AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    dataset = await client.datasets.add(tmp_path / "rows.csv")
    model = await (await client.train(dataset.name, algorithm="decision_tree")).result()
    spec = JobSpec(kind=JobKind.PREDICT, model=model.info.reference, dataset=dataset.name)
    job = await (await client.submit(spec)).wait()
    assert job.info.outputs
    await client.collect_garbage(older_than=0)
    for ref in job.info.outputs:
        assert len(await client.fetch(ref)) == ref.size
    assert (await (await client.train(dataset.name, algorithm="decision_tree")).result()).sha256 == model.sha256


async def test_a_running_job_is_not_disturbed(fleet: AsyncLocalFleet, client: AsyncClient) -> None:
    asked = {"algorithm": "random_forest", "hyperparameters": {"n_estimators": 300}}
    undisturbed = await (await client.train("synthetic:classification?rows=2000&features=10", **asked)).result()  # type: ignore[arg-type]
    await client.models.delete(undisturbed.info.reference)
    await collected(client)
    assert blobs(fleet.home) == {}
    job = await client.train("synthetic:classification?rows=2000&features=10", **asked)  # type: ignore[arg-type]
    collections = 0
    while not (await job.refresh()).state.ended:
        await client.collect_garbage(older_than=0)
        collections += 1
    assert collections > 2
    model = await job.result()
    assert model.sha256 == undisturbed.sha256
    assert job.tasks.run == job.tasks.total
    assert hasattr(await model.load(), "predict")


async def test_a_collection_that_is_killed_loses_nothing(fleet: AsyncLocalFleet, client: AsyncClient) -> None:
    model = await (await client.train("iris", algorithm="random_forest")).result()
    other = DirectoryObjects(fleet.home / "objects")
    await other.open()
    await other.put_many([[b"nobody needs %d" % number] for number in range(2000)])
    await other.close()
    before = len(blobs(fleet.home))
    collecting = asyncio.create_task(client.collect_garbage(older_than=0))
    while len(blobs(fleet.home)) == before:
        await asyncio.to_thread(time.sleep, 0.001)
    await fleet.restart_orchestrator(signal.SIGKILL)
    left = len(blobs(fleet.home))
    assert parts(model) <= blobs(fleet.home).keys()
    try:
        await collecting  # the client asks the next orchestrator
    except Unavailable:
        pytest.fail("the next orchestrator did not go on with it")
    assert left > len(parts(model)), "it was over before it was killed"
    assert set(blobs(fleet.home)) == parts(model)
    assert hasattr(await model.load(), "predict")
