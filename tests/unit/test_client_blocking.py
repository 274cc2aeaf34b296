"""The blocking client: the same shape as the asynchronous one, and the same behaviour."""

import inspect
from collections.abc import Iterator

import pytest

from tensorfleet import client as module
from tensorfleet.api.v1 import jobs_pb2
from tensorfleet.client import Client
from tensorfleet.errors import NotFound, Unavailable
from tensorfleet.model import JobSpec, JobState
from tensorfleet.sdk import blocking, datasets, fleet, jobs, models
from tensorfleet.sdk.bridge import Bridge
from tests.unit.fake_fleet import FakeFleet, event, job, reported, serving

TWINS = [
    (module.AsyncClient, module.Client),
    (jobs.AsyncJob, blocking.Job),
    (jobs.AsyncJobs, blocking.Jobs),
    (models.AsyncModel, blocking.Model),
    (models.AsyncModels, blocking.Models),
    (datasets.AsyncDatasets, blocking.Datasets),
    (fleet.AsyncWorkers, blocking.Workers),
]
WITHIN = {"named", "require_success"}
"""What the asynchronous parts keep for one another."""


@pytest.fixture
def fake() -> Iterator[FakeFleet]:
    bridge, fake = Bridge(), FakeFleet()
    server = serving(fake)
    bridge.run(server.__aenter__())
    yield fake
    bridge.run(server.__aexit__(None, None, None))
    bridge.close()


@pytest.mark.parametrize(("awaited", "waiting"), TWINS, ids=lambda kind: kind.__name__)
def test_the_two_have_one_shape(awaited: type, waiting: type) -> None:
    public = {name for name in vars(awaited) if not name.startswith("_")} - WITHIN
    assert public <= set(vars(waiting))
    for name in public:
        one, other = vars(awaited)[name], vars(waiting)[name]
        if inspect.isfunction(one):
            assert list(inspect.signature(one).parameters)[1:] == list(inspect.signature(other).parameters)[1:]
            assert inspect.getdoc(other)


def test_a_training_is_submitted_watched_and_waited_for(fake: FakeFleet) -> None:
    fake.answer("SubmitJob", jobs_pb2.SubmitJobResponse(job_id="job-1", job=job()))
    ended = event("2.0", ended=job("SUCCEEDED", metrics={"accuracy": 0.9}))
    fake.answer("WatchJob", [reported("1.0", 1), Unavailable("away")], [ended])
    with Client(fake.address) as client:
        found = client.train("iris", hyperparameters={"n_estimators": 100, "max_features": 1.0})
        assert [each.cursor for each in found.watch()] == ["1.0", "2.0"]
        assert found.metrics == {"accuracy": 0.9}
    spec = fake.requests["SubmitJob"][0].spec
    assert spec.hyperparameters["n_estimators"].WhichOneof("kind") == "integer"
    assert spec.hyperparameters["max_features"].WhichOneof("kind") == "real"


def test_jobs_come_as_they_end(fake: FakeFleet) -> None:
    fake.answer("SubmitJobs", jobs_pb2.SubmitJobsResponse(job_ids=["job-1", "job-2"]))
    over = [jobs_pb2.Job(id=each, state="JOB_STATE_SUCCEEDED") for each in ("job-2", "job-1")]
    fake.answer("WaitForJobs", jobs_pb2.WaitForJobsResponse(jobs=over))
    with Client(fake.address) as client:
        jobs = client.jobs.submit_many([JobSpec(dataset="iris")] * 2)
        assert list(client.jobs.as_completed(jobs)) == [jobs[1], jobs[0]]
        assert jobs[0].state is JobState.SUCCEEDED


def test_a_watch_may_be_left_early(fake: FakeFleet) -> None:
    fake.answer("GetJob", jobs_pb2.GetJobResponse(job=job("RUNNING")))
    fake.answer("WatchJob", [reported("1.0", 1), reported("2.0", 2), event("3.0", ended=job("SUCCEEDED"))])
    with Client(fake.address) as client:
        found = client.job("job-1")
        assert next(iter(found.watch())).cursor == "1.0"
        assert [each.cursor for each in found.watch()] == ["1.0", "2.0", "3.0"]


def test_errors_come_through(fake: FakeFleet) -> None:
    fake.answer("GetJob", NotFound("there is no job job-1"))
    with Client(fake.address) as client, pytest.raises(NotFound):
        client.job("job-1")


def test_closing_twice_is_closing_once(fake: FakeFleet) -> None:
    client = Client(fake.address)
    client.close()
    client.close()
