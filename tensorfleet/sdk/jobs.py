"""Jobs as the client sees them: handles, their events, and what steers them.

The rule: a watch goes on by itself from its last cursor, so nothing that happened to a job is missed or told twice.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Self

from tensorfleet import wire
from tensorfleet.api.v1 import jobs_pb2
from tensorfleet.errors import JobFailed
from tensorfleet.model import JobKind, JobSpec, JobState
from tensorfleet.sdk import reading, watching
from tensorfleet.sdk.artifacts import fetch
from tensorfleet.sdk.calls import Calls, paged
from tensorfleet.sdk.events import Ended, Event, StateChanged, TaskReported
from tensorfleet.sdk.models import AsyncModel, get_model
from tensorfleet.sdk.values import Explanation, JobInfo, Log, ModelSummary, TaskCounts, TaskInfo

if TYPE_CHECKING:
    import pyarrow as pa


class AsyncJob:
    """A job that was submitted. What it shows is as of its last `refresh`, `watch` or `wait`."""

    def __init__(self, calls: Calls, info: JobInfo) -> None:
        self._calls, self._info = calls, info

    def __repr__(self) -> str:
        return f"<job {self.id} {self.state}>"

    @property
    def info(self) -> JobInfo:
        """Everything that is known of it."""
        return self._info

    @property
    def id(self) -> str:
        return self._info.id

    @property
    def state(self) -> JobState:
        return self._info.state

    @property
    def metrics(self) -> dict[str, float]:
        """By name, such as `accuracy` and `train_accuracy`; empty until it ended."""
        return self._info.metrics

    @property
    def tasks(self) -> TaskCounts:
        return self._info.tasks

    @property
    def model(self) -> ModelSummary | None:
        """The model's place in the registry, once there is one; `result()` gives the model."""
        return self._info.model

    async def refresh(self) -> Self:
        """Asks how it stands now."""
        request = jobs_pb2.GetJobRequest(job_id=self.id)
        self._info = reading.job((await self._calls.unary(self._calls.jobs.GetJob, request)).job)
        return self

    async def watch(self, after: str | None = None) -> AsyncIterator[Event]:
        """What happened to it, from a cursor on, each event once and in order; ends with the job.

        after: the cursor of the last event already seen; None begins at the beginning. It goes on by itself when
        the connection breaks or the server is started anew; Unavailable where the server stays away for the client's
        whole timeout. NotFound where there is no such job.
        """
        async for message in watching.watch(self._calls, self.id, after or ""):
            for event in reading.known_events(message.events):
                self._learn(event)
                yield event
                if isinstance(event, Ended):
                    return

    async def wait(self) -> Self:
        """Waits until it has ended, however it did."""
        if not self.state.ended:
            self._info = await watching.end(watching.watch(self._calls, self.id, ""))
        return self

    async def result(self) -> AsyncModel:
        """Waits for its model. JobFailed where it failed or was cancelled, with the failure's reason and attempts."""
        await self.wait()
        self.require_success()
        if self.model is None:
            raise JobFailed(f"job {self.id} made no model: it is a {self._info.spec.kind} job", reason="NO_MODEL")
        return await get_model(self._calls, self.model.reference)

    async def predictions(self) -> "pa.Table":
        """Waits for what a prediction comes to: an Arrow table in the order of the rows, with the columns `file` (of
        images that were files), `prediction` and, of a classifier, `probability_CLASS`; `.to_pandas()` makes a
        DataFrame of it. JobFailed where it failed or was cancelled, and where it predicts nothing.
        """
        await self.wait()
        self.require_success()
        if self._info.spec.kind is not JobKind.PREDICT:
            raise JobFailed(
                f"job {self.id} predicts nothing: it is a {self._info.spec.kind} job", reason="NO_PREDICTIONS"
            )
        blocks = await asyncio.gather(*(fetch(self._calls, ref) for ref in self._info.outputs))
        return await asyncio.to_thread(_joined, blocks)

    def require_success(self) -> None:
        """JobFailed where it ended without its result."""
        failure = self._info.failure
        if self.state is JobState.CANCELLED:
            raise JobFailed(f"job {self.id} was cancelled", reason="CANCELLED", failure=failure)
        if self.state is JobState.FAILED:
            message = failure.message if failure else f"job {self.id} failed"
            raise JobFailed(message, reason=failure.reason if failure else None, failure=failure)

    async def cancel(self, reason: str = "") -> Self:
        """Stops it; one that has ended stays as it is."""
        request = jobs_pb2.CancelJobRequest(job_id=self.id, reason=reason)
        self._info = reading.job((await self._calls.unary(self._calls.jobs.CancelJob, request)).job)
        return self

    async def pause(self, reason: str = "") -> Self:
        """Has what runs of it pause between two steps, and nothing new begin. A task that is paused holds its place for
        a while, then saves and gives it up; one without steps runs to its end. FailedPrecondition where it has ended.
        """
        request = jobs_pb2.PauseJobRequest(job_id=self.id, reason=reason)
        self._info = reading.job((await self._calls.unary(self._calls.jobs.PauseJob, request)).job)
        return self

    async def resume(self) -> Self:
        """Has it go on; one that is not paused stays as it is. FailedPrecondition where it has ended."""
        request = jobs_pb2.ResumeJobRequest(job_id=self.id)
        self._info = reading.job((await self._calls.unary(self._calls.jobs.ResumeJob, request)).job)
        return self

    async def checkpoint(self) -> int:
        """Has its running tasks save at their next steps, and go on; gives how many are asked. Each that has saved is a
        `TaskSaved` of `watch`, and goes on from there should it die. FailedPrecondition where the job has ended."""
        response = await self._calls.unary(
            self._calls.jobs.CheckpointJob, jobs_pb2.CheckpointJobRequest(job_id=self.id)
        )
        self._info = reading.job(response.job)
        return response.attempts

    async def stop(self, reason: str = "") -> Self:
        """Ends a training early, and keeps what its finished rounds made, the first of which is let end, or what the
        steps of its gang did.

        FailedPrecondition where it has ended, or has no rounds to stop after.
        """
        request = jobs_pb2.StopJobRequest(job_id=self.id, reason=reason)
        self._info = reading.job((await self._calls.unary(self._calls.jobs.StopJob, request)).job)
        return self

    async def retry(self) -> Self:
        """Puts it back in the queue; what its tasks finished is kept. FailedPrecondition unless it failed or was
        cancelled."""
        request = jobs_pb2.RetryJobRequest(job_id=self.id)
        self._info = reading.job((await self._calls.unary(self._calls.jobs.RetryJob, request)).job)
        return self

    async def explain(self) -> Explanation:
        """Why it is where it is; once it has ended, how it ended and what was done."""
        request = jobs_pb2.ExplainJobRequest(job_id=self.id)
        return reading.explanation(await self._calls.unary(self._calls.jobs.ExplainJob, request))

    async def logs(self) -> AsyncIterator[Log]:
        """Lines that its tasks logged, as they come, until it ends."""
        async for event in self.watch():
            if isinstance(event, TaskReported):
                for line in event.lines:
                    yield Log(time=line.time, stage=event.stage, index=event.index, stream=line.stream, text=line.text)

    def _learn(self, event: Event) -> None:
        if isinstance(event, Ended):
            self._info = event.job
        elif isinstance(event, StateChanged) and not self.state.ended:
            self._info = _in_state(self._info, event.state)


def _joined(blocks: Sequence[bytes]) -> "pa.Table":
    import pyarrow as pa

    return pa.concat_tables([pa.ipc.open_stream(block).read_all() for block in blocks])


class AsyncJobs:
    """The jobs of a fleet."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def submit(self, spec: JobSpec, *, request_id: str | None = None) -> AsyncJob:
        """Submits a job; it is durable when this returns.

        request_id: submitting again with the same one returns the job it made the first time; one is made when it is
        None, so that a retry after a broken connection never makes a second job. InvalidRequest names every bad field.
        """
        request = jobs_pb2.SubmitJobRequest(request_id=request_id or uuid.uuid4().hex, spec=wire.spec_to_proto(spec))
        response = await self._calls.unary(self._calls.jobs.SubmitJob, request)
        return AsyncJob(self._calls, reading.job(response.job))

    async def submit_many(
        self, specs: Iterable[JobSpec], *, request_ids: Sequence[str] | None = None
    ) -> Sequence[AsyncJob]:
        """Submits jobs in one call: all of them are durable when this returns or, where any is bad, none.

        request_ids: as in `submit`, one for each spec. The handles, in the order of the specs, show what was submitted
        until they are refreshed, watched or waited for. InvalidRequest names every bad field of every spec.
        """
        given = list(specs)
        if not given:
            return []
        names = list(request_ids) if request_ids is not None else [uuid.uuid4().hex for _ in given]
        requests = [
            jobs_pb2.SubmitJobRequest(request_id=name, spec=wire.spec_to_proto(spec))
            for name, spec in zip(names, given, strict=True)
        ]
        response = await self._calls.unary(self._calls.jobs.SubmitJobs, jobs_pb2.SubmitJobsRequest(requests=requests))
        return [
            AsyncJob(self._calls, JobInfo(id=job_id, state=JobState.QUEUED, spec=spec, tasks=TaskCounts()))
            for job_id, spec in zip(response.job_ids, given, strict=True)
        ]

    async def run(self, spec: JobSpec, *, request_id: str | None = None) -> AsyncJob:
        """Submits a job and waits until it has ended, however it did: the quickest way to run a small one.

        request_id, errors: as in `submit`. When the connection breaks the same job is waited for.
        """
        request = jobs_pb2.RunJobRequest(request_id=request_id or uuid.uuid4().hex, spec=wire.spec_to_proto(spec))
        return AsyncJob(self._calls, await watching.end(watching.run(self._calls, request)))

    async def run_many(
        self, specs: Iterable[JobSpec], *, request_ids: Sequence[str] | None = None
    ) -> Sequence[AsyncJob]:
        """Submits jobs in one call, as `submit_many` does, and waits until each has ended, however it did."""
        jobs = await self.submit_many(specs, request_ids=request_ids)
        async for _ in self.as_completed(jobs):
            pass
        return jobs

    async def as_completed(self, jobs: Iterable[AsyncJob]) -> AsyncIterator[AsyncJob]:
        """Each of some jobs once it has ended, in the order in which they end; 100,000 at most, waited for in one call.

        It goes on by itself as a watch does. NotFound where one of them is none.
        """
        handles: dict[str, list[AsyncJob]] = {}
        for job in jobs:
            handles.setdefault(job.id, []).append(job)
        async for ended in watching.ends(self._calls, handles):
            info = reading.job(ended)
            for job in handles[ended.id]:
                job._info = info
                yield job

    async def get(self, job_id: str) -> AsyncJob:
        """One job. NotFound where there is none of that id."""
        response = await self._calls.unary(self._calls.jobs.GetJob, jobs_pb2.GetJobRequest(job_id=job_id))
        return AsyncJob(self._calls, reading.job(response.job))

    async def list(self, *, filter: str = "", skip: int = 0, limit: int = 50) -> Sequence[AsyncJob]:
        """Jobs, newest first. filter: terms joined by AND, such as `state=succeeded AND algorithm=random_forest`."""

        async def page(size: int, token: str) -> tuple[Sequence[AsyncJob], str]:
            request = jobs_pb2.ListJobsRequest(
                page_size=size, page_token=token, skip=0 if token else skip, filter=filter
            )
            response = await self._calls.unary(self._calls.jobs.ListJobs, request)
            return [AsyncJob(self._calls, reading.job(job)) for job in response.jobs], response.next_page_token

        return await paged(limit, page)

    async def cancel(self, job_id: str, reason: str = "") -> AsyncJob:
        """Stops a job; one that has ended stays as it is. NotFound where there is none of that id."""
        return await (await self.get(job_id)).cancel(reason)

    async def pause(self, job_id: str, reason: str = "") -> AsyncJob:
        """Pauses a job, as `AsyncJob.pause` says. NotFound where there is none of that id."""
        return await (await self.get(job_id)).pause(reason)

    async def resume(self, job_id: str) -> AsyncJob:
        """Has a paused job go on. NotFound where there is none of that id."""
        return await (await self.get(job_id)).resume()

    async def checkpoint(self, job_id: str) -> int:
        """Has a job's running tasks save, as `AsyncJob.checkpoint` says. NotFound where there is none of that id."""
        return await (await self.get(job_id)).checkpoint()

    async def stop(self, job_id: str, reason: str = "") -> AsyncJob:
        """Ends a training early, as `AsyncJob.stop` says. NotFound where there is none of that id."""
        return await (await self.get(job_id)).stop(reason)

    async def retry(self, job_id: str) -> AsyncJob:
        """Puts a failed or cancelled job back in the queue. NotFound; FailedPrecondition where it is neither."""
        return await (await self.get(job_id)).retry()

    async def explain(self, job_id: str) -> Explanation:
        """Why a job is where it is, or what was done once it has ended. NotFound where there is none of that id."""
        return await (await self.get(job_id)).explain()

    async def tasks(self, job_id: str, *, limit: int = 1000) -> Sequence[TaskInfo]:
        """A job's tasks with their attempts, by stage and index. NotFound where there is no such job."""

        async def page(size: int, token: str) -> tuple[Sequence[TaskInfo], str]:
            request = jobs_pb2.ListTasksRequest(job_id=job_id, page_size=size, page_token=token)
            response = await self._calls.unary(self._calls.jobs.ListTasks, request)
            return [reading.task(task) for task in response.tasks], response.next_page_token

        return await paged(limit, page)

    async def logs(self, job_id: str) -> AsyncIterator[Log]:
        """Lines that a job's tasks logged, as they come, until it ends. NotFound where there is no such job."""
        async for line in (await self.get(job_id)).logs():
            yield line


def _in_state(info: JobInfo, state: JobState) -> JobInfo:
    from msgspec.structs import replace

    return replace(info, state=state)
