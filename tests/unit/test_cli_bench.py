"""`tensorfleet bench` against a fleet of scripts: what it asks for, and what it says of what comes."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from clients.cli.commands import app
from clients.cli.measures import percentile
from tensorfleet.api.v1 import artifacts_pb2, fleet_pb2, jobs_pb2, values_pb2
from tensorfleet.errors import Unavailable
from tensorfleet.sdk.bridge import Bridge
from tests.unit.fake_fleet import FakeFleet, job, serving

Run = Callable[..., Result]
TASKS, TRIPS, POINTS = 100, 2, 1000
JOBS = 10


def ran(tasks: int, *, points: int = 0, state: str = "SUCCEEDED", **fields: Any) -> jobs_pb2.RunJobResponse:
    """All of a job in one message. points: of each of its tasks."""
    steps = jobs_pb2.MetricPoints(names=["noop"], steps=range(points), values=range(points))
    told: list[dict[str, Any]] = [
        *({"task_reported": jobs_pb2.TaskReported(index=index, points=steps)} for index in range(tasks) if points),
        {"tasks_succeeded": jobs_pb2.TasksSucceeded(stage="round-0", indexes=range(tasks))},
        {"ended": job(state, **fields)},
    ]
    return jobs_pb2.RunJobResponse(events=[jobs_pb2.JobEvent(job_id="job-1", **each) for each in told])


def listed(total: int, *jobs: jobs_pb2.Job) -> jobs_pb2.ListJobsResponse:
    return jobs_pb2.ListJobsResponse(total_size=total, jobs=jobs)


@pytest.fixture
def fake() -> Iterator[FakeFleet]:
    bridge, fake = Bridge(), FakeFleet()
    server = serving(fake)
    bridge.run(server.__aenter__())
    status = fleet_pb2.GetStatusResponse(
        release="1.2", workers={"ready": 1}, slots=2, document_store="sqlite:///d", object_store="s3://b"
    )
    fake.answer("GetStatus", status)
    script(fake, ran(2, points=POINTS))
    fake.answer("SubmitJobs", jobs_pb2.SubmitJobsResponse(job_ids=[f"job-{number}" for number in range(JOBS)]))
    fake.answer("WaitForJobs", jobs_pb2.WaitForJobsResponse(jobs=[job("SUCCEEDED")] * JOBS))
    fake.answer("ListJobs", listed(0))
    fake.answer("CancelJob", jobs_pb2.CancelJobResponse())
    ref = values_pb2.ArtifactRef(digest="ab" * 32, size_bytes=TASKS * 6400)
    fake.answer("PutArtifact", artifacts_pb2.PutArtifactResponse(ref=ref))
    yield fake
    bridge.run(server.__aexit__(None, None, None))
    bridge.close()


def script(fake: FakeFleet, reported: jobs_pb2.RunJobResponse) -> None:
    """What each job comes to. reported: that of the points."""
    singles = [ran(1)] * (JOBS + TRIPS)
    fake.answer("RunJob", ran(40), ran(TASKS), *singles, reported, ran(1))


@pytest.fixture
def run(fake: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TENSORFLEET_SERVER", fake.address)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["bench", "--tasks", str(TASKS), *arguments])

    return invoke


def test_it_prints_one_json_object(run: Run) -> None:
    result = run("-o", "json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert set(told) == {
        "tasks_per_second",
        "jobs_per_second",
        "single_jobs_per_second",
        "round_trip_ms",
        "metric_points_per_second",
        "metric_points_lost",
        "bytes_per_second",
        "bytes_again_ms",
        "store",
        "release",
        "workers",
        "slots",
        "measured",
    }
    assert told["measured"] == {
        "tasks": TASKS,
        "jobs": JOBS,
        "single_jobs": JOBS,
        "round_trips": TRIPS,
        "metric_points": 2 * POINTS,
        "bytes": TASKS * 6400,
    }
    assert told["store"] == {"documents": "sqlite:///d", "objects": "s3://b"}
    assert (told["workers"], told["slots"], told["release"], told["metric_points_lost"]) == (1, 2, "1.2", 0)
    assert 0 < told["round_trip_ms"]["p50"] <= told["round_trip_ms"]["p99"]
    rates = ("tasks_per_second", "jobs_per_second", "single_jobs_per_second", "metric_points_per_second")
    assert all(told[rate] > 0 for rate in (*rates, "bytes_per_second", "bytes_again_ms"))


def test_what_it_asks_for_is_found_by_one_name_and_takes_the_stored_bytes(run: Run, fake: FakeFleet) -> None:
    assert run("--workers", "3", "-o", "json").exit_code == 0
    specs = [each.spec for each in fake.requests["RunJob"]]
    assert len({spec.model_name for spec in specs}) == 1
    assert specs[0].model_name.startswith("bench-")
    assert {spec.algorithm for spec in specs} == {"noop"}
    assert {spec.workers for spec in specs[1:]} == {3}
    given = specs[-1].hyperparameters["inputs"].map.fields
    assert {digest: size.integer for digest, size in given.items()} == {"ab" * 32: TASKS * 6400}
    sent = [part for upload in fake.requests["PutArtifact"] for part in upload]
    assert sum(len(part.chunk) for part in sent) == TASKS * 6400


def test_people_get_a_table(run: Run) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    for part in ("100 tasks in", "10 jobs of one task", "2,000 points", "none lost", "sqlite:///d", "1, with 2 slots"):
        assert part in result.stdout
    assert "round trips" in result.stderr


def test_lost_points_are_an_error_that_is_counted(run: Run, fake: FakeFleet) -> None:
    script(fake, ran(2, points=POINTS - 1))
    result = run("-o", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["metric_points_lost"] == 2
    assert "2 of the points" in result.stderr


def test_a_job_that_fails_ends_it_and_what_is_left_is_cancelled(run: Run, fake: FakeFleet) -> None:
    failure = jobs_pb2.Failure(cause="FAILURE_CAUSE_EXCEPTION", reason="R", message="it broke")
    fake.answer("RunJob", ran(40), ran(5, state="FAILED", failure=failure))
    fake.answer("ListJobs", listed(1, job("QUEUED")), listed(0))
    result = run("-o", "json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "it broke" in result.stderr
    assert [each.job_id for each in fake.requests["CancelJob"]] == ["job-1"]


def test_a_fleet_without_workers_is_told_how_to_get_some(
    run: Run, fake: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.cli.bench.JOINED_WITHIN", 0.0)
    fake.answer("GetStatus", fleet_pb2.GetStatusResponse(workers={"lost": 1}))
    result = run("-o", "json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "tensorfleet worker join" in result.stderr
    assert fake.requests["RunJob"] == []


def test_a_server_that_goes_away_is_exit_code_3(run: Run, fake: FakeFleet) -> None:
    fake.answer("RunJob", ran(40), Unavailable("away"))
    assert run("-o", "json").exit_code == 3


@pytest.mark.parametrize("arguments", [["--tasks", "99"], ["--seconds", "0"], ["--workers", "-1"], ["fast"]])
def test_usage_is_exit_code_2(run: Run, fake: FakeFleet, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2
    assert fake.requests["RunJob"] == []


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1.0, 4)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert percentile([3, 1, 4, 2], share) == value
