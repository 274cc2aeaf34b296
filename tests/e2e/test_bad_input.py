"""Bad input gets a clear error with its code, and loses nothing."""

from pathlib import Path

import pytest

from tensorfleet import AsyncClient
from tensorfleet.errors import AlreadyExists, BadInput, InvalidRequest, JobFailed, NotFound, TensorFleetError
from tensorfleet.model import JobKind, JobSpec
from tensorfleet.rpc.channels import MAX_MESSAGE_BYTES


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


GOOD = "a,b,target\n" + "".join(f"{i},{i % 7},{'yes' if i % 2 else 'no'}\n" for i in range(40))


@pytest.mark.parametrize(
    ("name", "text", "reason", "says"),
    [
        ("broken.csv", GOOD + "1,2\n", "CSV_MALFORMED", "line 42"),
        ("empty.csv", "", "FILE_EMPTY", "empty"),
        ("header.csv", "a,b,target\n", "NO_ROWS", "no rows"),
        ("broken.jsonl", '{"a": 1, "target": 0}\n{"a": \n', "JSON_MALFORMED", "line 2"),
    ],
)
async def test_a_file_that_cannot_be_read_is_refused(
    client: AsyncClient, tmp_path: Path, name: str, text: str, reason: str, says: str
) -> None:
    with pytest.raises(BadInput) as refused:
        await client.datasets.add(written(tmp_path, name, text))
    assert (refused.value.reason, refused.value.code) == (reason, 3)
    assert says in refused.value.message
    assert await client.datasets.list() == []


async def test_a_name_that_has_other_content_is_refused(client: AsyncClient, tmp_path: Path) -> None:
    path = written(tmp_path, "sales.csv", GOOD)
    kept = await client.datasets.add(path, name="sales")
    assert await client.datasets.add(path, name="sales") == kept
    other = written(tmp_path, "other.csv", GOOD + "7,7,no\n")
    with pytest.raises(AlreadyExists) as refused:
        await client.datasets.add(other, name="sales")
    assert refused.value.code == 6
    assert "'sales'" in refused.value.message
    with pytest.raises(AlreadyExists):
        await client.datasets.add(path, name="sales", target="b")
    assert await client.datasets.get("sales") == kept
    replaced = await client.datasets.add(other, name="sales", replace=True)
    assert (await client.datasets.get("sales")).digest == replaced.digest != kept.digest


@pytest.mark.parametrize(("name", "says"), [("iris", "comes with the package"), ("a/b", "make a name")])
async def test_a_job_cannot_take_a_name_that_is_none(client: AsyncClient, name: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refused:
        await client.submit(JobSpec(kind=JobKind.PROCESS, dataset="synthetic:regression", dataset_name=name))
    assert [violation.field for violation in refused.value.violations] == ["spec.dataset_name"]


async def test_a_file_without_a_name_never_clashes(client: AsyncClient, tmp_path: Path) -> None:
    path = written(tmp_path, "sales.csv", GOOD)
    added = [await client.datasets.add(path, target=target) for target in ("", "a", "b")]
    assert len({dataset.name for dataset in added}) == 3
    assert await client.datasets.add(path, target="a") == added[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,target\n" + "".join(f"{i},same\n" for i in range(30)), "one class"),
        ("a,target\n" + "".join(f"{i},{'' if i == 7 else i % 2}\n" for i in range(30)), "no value in 1 of 30 rows"),
        ("a,target\n1,yes\n", "1 row"),
        ("a,city,target\n" + "".join(f"{i},city{i % 200},{i % 2}\n" for i in range(600)), "100"),
    ],
    ids=["one-class", "nan-target", "one-row", "one-hot-explosion"],
)
async def test_data_that_cannot_be_trained_on_is_refused_at_submission(
    client: AsyncClient, tmp_path: Path, text: str, says: str
) -> None:
    dataset = await client.datasets.add(written(tmp_path, "data.csv", text))
    with pytest.raises(InvalidRequest) as refused:
        await client.train(dataset.name, algorithm="random_forest")
    assert refused.value.code == 3
    assert says in refused.value.message, refused.value.message
    assert not (await client.datasets.validate(dataset.name)).valid
    assert [job.info.spec.kind for job in await client.jobs.list()] == ["process"]


async def test_a_dataset_that_vanished_fails_its_job_by_name(client: AsyncClient, tmp_path: Path) -> None:
    path = written(tmp_path, "here.csv", GOOD)
    job = await client.train(f"file://{path}", algorithm="decision_tree")
    await job.result()
    path.unlink()
    job = await client.train(f"file://{path}", algorithm="decision_tree")
    with pytest.raises(JobFailed) as failed:
        await job.result()
    assert failed.value.reason == "FILE_MISSING"
    assert str(path) in failed.value.message


async def test_every_bad_field_is_named_at_once(client: AsyncClient) -> None:
    spec = JobSpec(
        dataset="irris",
        algorithm="random_forest",
        hyperparameters={"n_estimatorz": 10, "max_depth": "deep"},
        validation_split=1.5,
    )
    with pytest.raises(InvalidRequest) as refused:
        await client.submit(spec)
    fields = {violation.field for violation in refused.value.violations}
    assert fields == {
        "spec.dataset",
        "spec.hyperparameters.n_estimatorz",
        "spec.hyperparameters.max_depth",
        "spec.validation_split",
    }
    assert "n_estimators" in refused.value.message
    assert "iris" in refused.value.message


async def test_a_missing_target_is_named_with_the_nearest(client: AsyncClient) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await client.submit(JobSpec(dataset="iris", algorithm="svm", target="targett"))
    assert refused.value.violations[0].field == "spec.target"
    assert "target" in refused.value.violations[0].description


async def test_resources_that_no_worker_has_are_refused(client: AsyncClient, fleet: object) -> None:
    await fleet.workers_ready(2)  # type: ignore[attr-defined]
    from tensorfleet.model import Resources

    with pytest.raises(InvalidRequest) as refused:
        await client.submit(JobSpec(dataset="iris", algorithm="svm", resources=Resources(gpus=3)))
    assert refused.value.violations[0].field == "spec.resources"
    assert "GPU" in refused.value.message


async def test_an_oversized_message_is_refused_and_the_server_lives(client: AsyncClient) -> None:
    job = await client.train("iris", algorithm="decision_tree")
    model = await job.result()
    rows = [["x" * (MAX_MESSAGE_BYTES + 1)]]
    with pytest.raises(TensorFleetError) as refused:
        await client.models.predict(model.info.reference, rows)
    assert refused.value.code == 8
    assert (await client.status()).jobs["succeeded"] == 1


async def test_what_is_not_there_is_not_found(client: AsyncClient) -> None:
    for call in (client.jobs.get("job-0"), client.models.get("nothing@v1"), client.datasets.get("nothing")):
        with pytest.raises(NotFound):
            await call
