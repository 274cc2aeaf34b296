"""Jobs are cancelled, retried, explained and kept to their deadlines; workers are drained."""

from pathlib import Path

import pytest

from tensorfleet import AsyncClient
from tensorfleet.errors import FailedPrecondition, InvalidRequest, JobFailed
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.model import Cause, JobSpec, JobState, Resources
from tensorfleet.sdk.events import TasksAssigned, TasksSucceeded

LONG = JobSpec(
    dataset="synthetic:classification?rows=6000&features=20&classes=3&seed=1",
    algorithm="random_forest",
    hyperparameters={"n_estimators": 60},
)


async def test_a_cancelled_job_stops_and_a_retry_keeps_what_was_done(client: AsyncClient) -> None:
    job = await client.submit(LONG)
    done = 0
    async for event in job.watch():
        done += len(event.indexes) if isinstance(event, TasksSucceeded) else 0
        if done >= 5 and job.state is JobState.RUNNING:
            await job.cancel("enough")
    assert job.state is JobState.CANCELLED
    with pytest.raises(JobFailed, match="cancelled"):
        await job.result()
    for worker in await client.workers.list():
        assert not [attempt for attempt in worker.running if attempt.job_id == job.id]
    await job.retry()
    model = await job.result()
    await job.refresh()
    assert job.tasks.reused >= 5
    again = await client.submit(LONG)
    assert (await again.result()).sha256 == model.sha256
    with pytest.raises(FailedPrecondition):
        await again.retry()


async def test_a_deadline_ends_a_job(client: AsyncClient) -> None:
    job = await client.submit(JobSpec(dataset=LONG.dataset, algorithm="svm", deadline=0.3))
    await job.wait()
    failure = job.info.failure
    assert failure is not None
    assert (job.state, failure.cause, failure.code) == (JobState.FAILED, Cause.DEADLINE, 4)


async def test_a_task_that_takes_too_long_is_ended_and_tried_again(client: AsyncClient) -> None:
    from tensorfleet.model import RetryPolicy

    spec = JobSpec(
        dataset="synthetic:classification?rows=20000&features=50&classes=7&seed=1",
        algorithm="svm",
        task_timeout=0.8,
        retry=RetryPolicy(max_attempts=2, backoff=0.01),
    )
    job = await client.submit(spec)
    await job.wait()
    failure = job.info.failure
    assert failure is not None
    assert failure.cause is Cause.TIMEOUT
    assert len(failure.attempts) == 2


async def test_a_pending_job_says_why(tmp_path: Path) -> None:
    async with AsyncLocalFleet(tmp_path / "home", workers=0) as fleet, AsyncClient(fleet.address, user="ann") as client:
        job = await client.submit(JobSpec(dataset="iris", algorithm="svm"))
        explained = await job.explain()
        assert "no worker" in explained.summary
        assert "prepare: split, impute, encode and scale" in explained.plan
        images = JobSpec(dataset="synthetic:images?rows=20&size=8", algorithm="cnn")
        assert "prepare: split; images stay as they are stored" in (await (await client.submit(images)).explain()).plan
        assert job.info.spec.submitter == "ann"
        queued = await client.jobs.list(filter="submitter=ann AND state=queued AND algorithm=svm")
        assert [found.id for found in queued] == [job.id]
        assert await client.jobs.list(filter="submitter=bob") == []
        with pytest.raises(InvalidRequest):
            await client.jobs.list(filter="colour=blue")


async def test_labels_choose_the_worker(tmp_path: Path) -> None:
    async with (
        AsyncLocalFleet(tmp_path / "home", workers=1, labels={"zone": "a"}) as fleet,
        AsyncClient(fleet.address) as client,
    ):
        await fleet.workers_ready()
        here = await client.submit(JobSpec(dataset="iris", algorithm="svm", resources=Resources(labels={"zone": "a"})))
        await here.result()
        explained = await here.explain()
        assert explained.summary.startswith("it has succeeded ")
        assert explained.plan == ()
        assert [line.partition(",")[0] for line in explained.done] == [
            f"{stage}: 1 task by worker-1" for stage in ("ingest", "prepare", "fit", "finish")
        ]
        with pytest.raises(InvalidRequest, match="zone=b"):
            await client.submit(JobSpec(dataset="iris", algorithm="svm", resources=Resources(labels={"zone": "b"})))


async def test_a_drained_worker_finishes_and_leaves(fleet: AsyncLocalFleet, client: AsyncClient) -> None:
    await fleet.workers_ready(2)
    leaving, staying = sorted(worker.id for worker in await client.workers.list())
    job = await client.submit(LONG)
    drained_at = None
    assigned: list[tuple[str, str]] = []
    async for event in job.watch():
        if isinstance(event, TasksAssigned):
            assigned += [(event.cursor, event.worker)] * len(event.indexes)
        if isinstance(event, TasksSucceeded) and event.stage == "fit" and drained_at is None:
            await client.workers.drain(leaving)
            drained_at = len(assigned)
    assert job.state is JobState.SUCCEEDED
    assert assigned[-1][1] == staying
    assert [worker.id for worker in await client.workers.list()] == [staying]


async def test_the_registry_moves_aliases_and_keeps_what_they_name(client: AsyncClient) -> None:
    versions = []
    for depth in (1, 2):
        job = await client.train(
            "iris", algorithm="decision_tree", hyperparameters={"max_depth": depth}, model_name="m"
        )
        versions.append((await job.result()).version)
    for version in versions:
        await client.models.alias("m", "production", version)
        assert (await client.models.get("m@production")).version == version
    with pytest.raises(FailedPrecondition):
        await client.models.delete("m@production")
    assert await client.models.delete(f"m@{versions[0]}") == 1
    assert [model.version for model in await client.models.list()] == [versions[1]]
    made = await client.models.predict("m@production", [[5.1, 3.5, 1.4, 0.2]], probabilities=True)
    assert list(made.predictions) == [0]
