"""Jobs: a watch goes on where it broke, and a job that failed says why."""

from collections.abc import AsyncIterator

import pytest

from tensorfleet.api.v1 import jobs_pb2, models_pb2
from tensorfleet.client import AsyncClient, AsyncJob
from tensorfleet.errors import InvalidRequest, JobFailed, NotFound, Unavailable
from tensorfleet.model import FieldViolation, JobSpec, JobState
from tensorfleet.sdk import reading
from tensorfleet.sdk.events import Ended, Event, StateChanged, TaskReported, TasksAssigned, TaskSaved, TasksSucceeded
from tests.unit.fake_fleet import FakeFleet, Step, event, job, reported, serving, together

AWAY = Unavailable("the orchestrator is stopping")


@pytest.fixture
async def fake() -> AsyncIterator[FakeFleet]:
    async with serving(FakeFleet()) as fleet:
        fleet.answer("GetJob", jobs_pb2.GetJobResponse(job=job("RUNNING")))
        yield fleet


async def watched(fake: FakeFleet, *calls: list[Step], after: str | None = None) -> tuple[AsyncJob, list[Event]]:
    fake.answer("WatchJob", *calls)
    async with AsyncClient(fake.address) as client:
        found = await client.job("job-1")
        return found, [each async for each in found.watch(after)]


def ran(*messages: jobs_pb2.WatchJobResponse) -> jobs_pb2.RunJobResponse:
    return jobs_pb2.RunJobResponse(events=together(*messages).events)


def over(*ids: str) -> jobs_pb2.WaitForJobsResponse:
    return jobs_pb2.WaitForJobsResponse(jobs=[jobs_pb2.Job(id=each, state="JOB_STATE_SUCCEEDED") for each in ids])


def cursors(fake: FakeFleet) -> list[str]:
    return [request.after for request in fake.requests["WatchJob"]]


async def test_a_broken_stream_goes_on_from_its_last_cursor(fake: FakeFleet) -> None:
    calls: list[list[Step]] = [
        [reported("1.0", 1), reported("1.1", 2), AWAY],
        [AWAY],
        [reported("2.0", 3), AWAY],
        [event("3.0", ended=job("SUCCEEDED"))],
    ]
    found, events = await watched(fake, *calls)
    assert [each.cursor for each in events] == ["1.0", "1.1", "2.0", "3.0"]
    assert [each.number for each in events if isinstance(each, TaskReported)] == [1, 2, 3]
    assert cursors(fake) == ["", "1.1", "1.1", "2.0"]
    assert found.state is JobState.SUCCEEDED


async def test_a_stream_that_ends_before_the_job_is_opened_again(fake: FakeFleet) -> None:
    _, events = await watched(fake, [reported("1.0", 1)], [event("2.0", ended=job("SUCCEEDED"))])
    assert [each.cursor for each in events] == ["1.0", "2.0"]
    assert cursors(fake) == ["", "1.0"]


async def test_a_message_of_many_events_is_gone_on_from_its_last(fake: FakeFleet) -> None:
    many = together(reported("1.0", 1), reported("1.1", 2), event("1.2"), reported("2.0", 3))
    last = together(reported("3.0", 4), event("3.1", ended=job("SUCCEEDED")))
    _, events = await watched(fake, [many, AWAY], [last])
    assert [each.cursor for each in events] == ["1.0", "1.1", "2.0", "3.0", "3.1"]
    assert cursors(fake) == ["", "2.0"]


async def test_runs_of_tasks_have_columns_of_one_length(fake: FakeFleet) -> None:
    given = jobs_pb2.TasksAssigned(stage="fit", worker_id="w", indexes=[4, 5], tokens=[7, 8])
    made = jobs_pb2.TasksSucceeded(stage="fit", worker_id="w", indexes=[5, 4], tokens=[8, 7], seconds=[0.5, 0.25])
    known = jobs_pb2.TasksSucceeded(stage="fit", indexes=[0, 1, 2], reused=True)
    told = jobs_pb2.TasksSucceeded(stage="fit", worker_id="w", indexes=[6], tokens=[9], seconds=[1.0], last_reports=[3])
    message = together(
        event("1.0", tasks_assigned=given),
        event("1.1", tasks_succeeded=made),
        event("1.2", tasks_succeeded=known),
        event("1.3", tasks_succeeded=told),
        event("1.4", ended=job("SUCCEEDED")),
    )
    _, events = await watched(fake, [message])
    one = {"job_id": "job-1", "time": 0.0, "stage": "fit"}
    assert events[:4] == [
        TasksAssigned(cursor="1.0", worker="w", indexes=(4, 5), tokens=(7, 8), **one),
        TasksSucceeded(
            cursor="1.1",
            worker="w",
            reused=False,
            indexes=(5, 4),
            tokens=(8, 7),
            seconds=(0.5, 0.25),
            last_reports=(0, 0),
            **one,
        ),
        TasksSucceeded(
            cursor="1.2",
            worker="",
            reused=True,
            indexes=(0, 1, 2),
            tokens=(0, 0, 0),
            seconds=(0, 0, 0),
            last_reports=(0, 0, 0),
            **one,
        ),
        TasksSucceeded(
            cursor="1.3",
            worker="w",
            reused=False,
            indexes=(6,),
            tokens=(9,),
            seconds=(1.0,),
            last_reports=(3,),
            **one,
        ),
    ]


async def test_who_waits_reads_no_event_but_the_end(fake: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "event", None)
    fake.answer(
        "WatchJob", [reported("1.0", 1), AWAY], [together(reported("2.0", 2), event("2.1", ended=job("FAILED")))]
    )
    async with AsyncClient(fake.address) as client:
        found = await (await client.job("job-1")).wait()
    assert found.state is JobState.FAILED
    assert cursors(fake) == ["", "1.0"]


async def test_a_job_is_run_in_one_call(fake: FakeFleet) -> None:
    ended = event("1.1", ended=job("SUCCEEDED", metrics={"accuracy": 0.9}))
    fake.answer("RunJob", [ran(reported("1.0", 1), ended)])
    async with AsyncClient(fake.address) as client:
        done = await client.run(JobSpec(dataset="iris"))
    assert (done.id, done.state, done.metrics) == ("job-1", JobState.SUCCEEDED, {"accuracy": 0.9})
    assert {name for name, requests in fake.requests.items() if requests} == {"RunJob"}


async def test_a_run_that_broke_goes_on_with_the_same_job(fake: FakeFleet) -> None:
    fake.answer("RunJob", [AWAY], [ran(reported("1.0", 1)), AWAY])
    fake.answer("WatchJob", [AWAY], [event("1.1", ended=job("SUCCEEDED"))])
    async with AsyncClient(fake.address) as client:
        assert (await client.run(JobSpec(dataset="iris"))).state is JobState.SUCCEEDED
    first, again = [request.request_id for request in fake.requests["RunJob"]]
    assert first == again != ""
    assert [(request.job_id, request.after) for request in fake.requests["WatchJob"]] == [("job-1", "1.0")] * 2


async def test_a_run_is_refused_as_a_submission_is(fake: FakeFleet) -> None:
    fake.answer("RunJob", [InvalidRequest([FieldViolation("spec.algorithm", "no such one")])])
    async with AsyncClient(fake.address) as client:
        with pytest.raises(InvalidRequest):
            await client.run(JobSpec())
    assert len(fake.requests["RunJob"]) == 1


async def test_many_jobs_are_submitted_in_one_call_and_waited_for(fake: FakeFleet) -> None:
    fake.answer("SubmitJobs", AWAY, jobs_pb2.SubmitJobsResponse(job_ids=["job-1", "job-2"]))
    fake.answer("WatchJob", [event("1.0", ended=job("SUCCEEDED"))])
    specs = [JobSpec(dataset="iris"), JobSpec(dataset="wine")]
    async with AsyncClient(fake.address) as client:
        one, two = await client.jobs.submit_many(iter(specs))
        assert [(each.id, each.state, each.info.spec.dataset) for each in (one, two)] == [
            ("job-1", JobState.QUEUED, "iris"),
            ("job-2", JobState.QUEUED, "wine"),
        ]
        assert (await one.wait()).state is JobState.SUCCEEDED
        with pytest.raises(ValueError, match=r"shorter|longer"):
            await client.jobs.submit_many(specs, request_ids=["only one"])
    asked, again = [[each.request_id for each in request.requests] for request in fake.requests["SubmitJobs"]]
    assert asked == again
    assert len(set(asked)) == 2


async def test_jobs_come_as_they_end_whatever_breaks_meanwhile(fake: FakeFleet) -> None:
    fake.answer("SubmitJobs", jobs_pb2.SubmitJobsResponse(job_ids=["job-1", "job-2", "job-3", "job-1"]))
    fake.answer("WaitForJobs", [over("job-2"), AWAY], [AWAY], [over("job-3", "job-2", "job-1")])
    async with AsyncClient(fake.address) as client:
        jobs = await client.jobs.submit_many([JobSpec(dataset="iris")] * 4)
        ended = [job async for job in client.jobs.as_completed(jobs)]
    assert [job.id for job in ended] == ["job-2", "job-3", "job-1", "job-1"]
    assert {job.state for job in jobs} == {JobState.SUCCEEDED}
    assert [len(request.job_ids) for request in fake.requests["WaitForJobs"]] == [3, 2, 2]


async def test_many_jobs_are_run_in_two_calls(fake: FakeFleet) -> None:
    fake.answer("SubmitJobs", jobs_pb2.SubmitJobsResponse(job_ids=["job-1", "job-2"]))
    fake.answer("WaitForJobs", [over("job-2", "job-1")])
    async with AsyncClient(fake.address) as client:
        jobs = await client.jobs.run_many([JobSpec(dataset="iris")] * 2)
        assert await client.jobs.run_many([]) == []
    assert [(job.id, job.state) for job in jobs] == [("job-1", JobState.SUCCEEDED), ("job-2", JobState.SUCCEEDED)]


async def test_a_watch_begins_after_the_cursor_it_is_given(fake: FakeFleet) -> None:
    await watched(fake, [event("9.0", ended=job("SUCCEEDED"))], after="8.3")
    assert cursors(fake) == ["8.3"]


async def test_events_of_a_newer_server_are_passed_over(fake: FakeFleet) -> None:
    _, events = await watched(fake, [event("1.0"), AWAY], [event("2.0", ended=job("SUCCEEDED"))])
    assert [type(each) for each in events] == [Ended]
    assert cursors(fake) == ["", "1.0"]


async def test_a_job_learns_its_state_while_it_is_watched(fake: FakeFleet) -> None:
    changed = jobs_pb2.JobStateChanged(state="JOB_STATE_RUNNING", reason="a task was assigned")
    fake.answer("GetJob", jobs_pb2.GetJobResponse(job=job("QUEUED")))
    fake.answer("WatchJob", [event("1.0", state_changed=changed), event("2.0", ended=job("SUCCEEDED"))])
    async with AsyncClient(fake.address) as client:
        found = await client.job("job-1")
        states = [found.state async for _ in found.watch()]
    assert states == [JobState.RUNNING, JobState.SUCCEEDED]


async def test_a_watch_of_no_job_ends_at_once(fake: FakeFleet) -> None:
    with pytest.raises(NotFound):
        await watched(fake, [NotFound("there is no job job-1")])


async def test_a_server_that_stays_away_ends_the_watch(fake: FakeFleet) -> None:
    fake.answer("WatchJob", [AWAY])
    async with AsyncClient(fake.address) as client:
        found = await client.job("job-1")
        client._calls.timeout = 0.01  # from here on
        with pytest.raises(Unavailable, match="stopping"):
            _ = [each async for each in found.watch()]


async def test_the_result_is_the_model_of_the_registry(fake: FakeFleet) -> None:
    summary = jobs_pb2.ModelSummary(name="iris", version="v7", algorithm="random_forest", sha256="ab")
    fake.answer("WatchJob", [event("1.0", ended=job("SUCCEEDED", model=summary))])
    fake.answer("GetModel", models_pb2.GetModelResponse(model=models_pb2.Model(name="iris", version="v7", sha256="ab")))
    async with AsyncClient(fake.address) as client:
        model = await (await client.job("job-1")).result()
    assert (model.name, model.version, model.sha256) == ("iris", "v7", "ab")
    assert fake.requests["GetModel"][0].model == "iris@v7"


@pytest.mark.parametrize(("cause", "exit_code"), [("EXCEPTION", 1), ("BAD_INPUT", 2), ("SIGNAL", 1)])
async def test_a_failure_tells_why_with_its_attempts(fake: FakeFleet, cause: str, exit_code: int) -> None:
    attempt = jobs_pb2.AttemptRecord(token=3, worker_id="worker-1", cause=f"FAILURE_CAUSE_{cause}", message="boom")
    failure = jobs_pb2.Failure(
        cause=f"FAILURE_CAUSE_{cause}", reason="BOOM", message="boom in line 3", stage="fit", attempts=[attempt]
    )
    fake.answer("WatchJob", [event("1.0", ended=job("FAILED", failure=failure))])
    async with AsyncClient(fake.address) as client:
        with pytest.raises(JobFailed, match="boom in line 3") as told:
            await (await client.job("job-1")).result()
    error = told.value
    assert error.failure is not None
    assert (error.reason, error.exit_code) == ("BOOM", exit_code)
    assert [(each.worker, each.message) for each in error.failure.attempts] == [("worker-1", "boom")]


async def test_a_cancelled_job_has_no_result(fake: FakeFleet) -> None:
    fake.answer("WatchJob", [event("1.0", ended=job("CANCELLED"))])
    async with AsyncClient(fake.address) as client:
        with pytest.raises(JobFailed, match="cancelled"):
            await (await client.job("job-1")).result()


async def test_a_job_is_steered_and_shows_how_it_stands(fake: FakeFleet) -> None:
    fake.answer("PauseJob", jobs_pb2.PauseJobResponse(job=job("PAUSED", paused_at={"seconds": 90})))
    fake.answer("ResumeJob", jobs_pb2.ResumeJobResponse(job=job("RUNNING")))
    fake.answer("CheckpointJob", jobs_pb2.CheckpointJobResponse(job=job("RUNNING"), attempts=3))
    fake.answer("StopJob", jobs_pb2.StopJobResponse(job=job("RUNNING")))
    async with AsyncClient(fake.address) as client:
        one = await client.job("job-1")
        assert ((await one.pause("lunch")).state, one.info.paused_at) == (JobState.PAUSED, 90.0)
        assert ((await one.resume()).state, one.info.paused_at) == (JobState.RUNNING, None)
        assert await one.checkpoint() == 3
        await one.stop("enough")
        assert (await client.jobs.pause("job-1")).state is JobState.PAUSED
        assert (await client.jobs.resume("job-1")).state is JobState.RUNNING
        assert await client.jobs.checkpoint("job-1") == 3
        assert (await client.jobs.stop("job-1")).state is JobState.RUNNING
    assert [each.reason for each in (*fake.requests["PauseJob"], *fake.requests["StopJob"])] == [
        "lunch",
        "",
        "enough",
        "",
    ]


async def test_what_a_task_saved_is_an_event(fake: FakeFleet) -> None:
    ref = {"digest": "ab" * 32, "size_bytes": 7}
    told = jobs_pb2.TaskSaved(stage="fit", index=4, token=9, worker_id="w", saved=ref)
    fake.answer("WatchJob", [event("1.0", task_saved=told), event("2.0", ended=job("SUCCEEDED"))])
    async with AsyncClient(fake.address) as client:
        first, _ = [each async for each in (await client.job("job-1")).watch()]
    assert isinstance(first, TaskSaved)
    assert (first.stage, first.index, first.token, first.worker, first.saved.size) == ("fit", 4, 9, "w", 7)


async def test_pages_follow_one_another_up_to_the_limit(fake: FakeFleet) -> None:
    def page(*ids: str, token: str = "") -> jobs_pb2.ListJobsResponse:
        jobs = [jobs_pb2.Job(id=each, state="JOB_STATE_QUEUED") for each in ids]
        return jobs_pb2.ListJobsResponse(jobs=jobs, next_page_token=token)

    fake.answer("ListJobs", page("a", "b", token="next"), page("c", token="more"), page("d"))
    async with AsyncClient(fake.address) as client:
        found = await client.jobs.list(limit=3, skip=5, filter="state=queued")
    assert [each.id for each in found] == ["a", "b", "c"]
    asked = [(each.page_size, each.page_token, each.skip) for each in fake.requests["ListJobs"]]
    assert asked == [(3, "", 5), (1, "next", 0)]


async def test_logs_are_lines_with_their_task(fake: FakeFleet) -> None:
    lines = [jobs_pb2.LogLine(stream="stdout", text="hello"), jobs_pb2.LogLine(stream="warning", text="careful")]
    told = jobs_pb2.TaskReported(stage="fit", index=4, token=1, number=1, lines=lines)
    fake.answer("WatchJob", [event("1.0", task_reported=told), event("2.0", ended=job("SUCCEEDED"))])
    async with AsyncClient(fake.address) as client:
        found = [line async for line in client.jobs.logs("job-1")]
    assert [(each.stage, each.index, each.stream, each.text) for each in found] == [
        ("fit", 4, "stdout", "hello"),
        ("fit", 4, "warning", "careful"),
    ]


async def test_a_job_may_end_between_a_look_and_the_watch(fake: FakeFleet) -> None:
    fake.answer("GetJob", jobs_pb2.GetJobResponse(job=job("SUCCEEDED")))
    async with AsyncClient(fake.address) as client:
        await (await client.job("job-1")).wait()
    assert fake.requests["WatchJob"] == []


def test_events_are_values() -> None:
    one = StateChanged(cursor="1", job_id="j", time=0.0, state=JobState.RUNNING, reason="")
    with pytest.raises(AttributeError):
        one.reason = "other"  # type: ignore[misc]
