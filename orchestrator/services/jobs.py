"""JobService: submitting, watching, steering jobs."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import closing
from typing import Any, TypeAlias, TypeVar

import grpc
import msgspec
from google.protobuf.message import Message
from msgspec.structs import replace

from orchestrator import history, views
from orchestrator.core import events
from orchestrator.core.explaining import backing_off, why_pending
from orchestrator.core.pools import lacks
from orchestrator.core.reach import read_by
from orchestrator.core.state import Job
from orchestrator.documents import JobDocument
from orchestrator.services import paging
from orchestrator.submitting import Submitting, submitter
from orchestrator.tasks import Place, TaskPages
from orchestrator.watch import Cursor
from tensorfleet.api.v1 import jobs_pb2 as pb
from tensorfleet.api.v1 import jobs_pb2_grpc
from tensorfleet.counts import counted
from tensorfleet.errors import FailedPrecondition, InvalidRequest, NotFound
from tensorfleet.kinds import plan_for
from tensorfleet.model import FieldViolation, JobState, WorkerState
from tensorfleet.rpc.channels import CHUNK_BYTES
from tensorfleet.stores.contract import DocumentStore, ObjectStore
from tensorfleet.stores.presence import present
from tensorfleet.wire import spec_from_proto

M = TypeVar("M", bound=Message)
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
FILTERS = ("state", "algorithm", "dataset", "submitter", "kind", "model_name")
BATCH = 10_000
WAITED = 100_000


class Jobs(jobs_pb2_grpc.JobServiceServicer):
    def __init__(self, submitting: Submitting, documents: DocumentStore, objects: ObjectStore) -> None:
        self._submitting = submitting
        self._engine = submitting.engine
        self._documents = documents
        self._objects = objects

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Context) -> pb.SubmitJobResponse:
        spec = replace(spec_from_proto(request.spec), submitter=submitter(context))
        with closing(await self._submitting.run(spec, request.request_id)) as watch:
            document = watch.document or await self._document(watch.job)
        return pb.SubmitJobResponse(job_id=watch.job, job=views.job(document))

    async def SubmitJobs(self, request: pb.SubmitJobsRequest, context: Context) -> pb.SubmitJobsResponse:
        if len(request.requests) > BATCH:
            found = f"expected at most {BATCH} requests in one call, got {len(request.requests)}"
            raise InvalidRequest([FieldViolation("requests", found)])
        specs = [
            (each.request_id, replace(spec_from_proto(each.spec), submitter=submitter(context)))
            for each in request.requests
        ]
        return pb.SubmitJobsResponse(job_ids=await self._submitting.submit_many(specs))

    async def RunJob(self, request: pb.RunJobRequest, context: Context) -> AsyncIterator[pb.RunJobResponse]:
        spec = replace(spec_from_proto(request.spec), submitter=submitter(context))
        with closing(await self._submitting.run(spec, request.request_id)) as watch:
            async for happenings in watch:
                for events in _batches(views.event(watch.job, happening) for happening in happenings):
                    yield pb.RunJobResponse(events=events)

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        return pb.GetJobResponse(job=await self._job(request.job_id))

    async def _job(self, job_id: str) -> pb.Job:
        return views.job(await self._document(job_id))

    async def _document(self, job_id: str) -> dict[str, Any]:
        found = (await self._documents.get("jobs", [job_id])).get(job_id)
        if found is None:
            raise NotFound(f"there is no job {job_id!r}; `tensorfleet jobs list` shows them")
        return found

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        skip, size = paging.page(request.page_size, request.page_token, request.skip)
        where = paging.terms(request.filter, FILTERS)
        where = {name: value.lower() if name in ("state", "kind") else value for name, value in where.items()}
        found = await self._documents.find("jobs", where, order=("-created_at",), skip=skip, limit=size)
        total = await self._documents.count("jobs", where)
        jobs = [views.job(document) for document in found]
        token = paging.next_token(skip, len(jobs), total)
        return pb.ListJobsResponse(jobs=jobs, next_page_token=token, total_size=total)

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:
        await self._document(request.job_id)
        await self._engine.ask(lambda ticket: events.CancelJob(ticket, request.job_id, request.reason))
        return pb.CancelJobResponse(job=await self._job(request.job_id))

    async def PauseJob(self, request: pb.PauseJobRequest, context: Context) -> pb.PauseJobResponse:
        await self._document(request.job_id)
        await self._engine.ask(lambda ticket: events.PauseJob(ticket, request.job_id, request.reason))
        return pb.PauseJobResponse(job=await self._job(request.job_id))

    async def ResumeJob(self, request: pb.ResumeJobRequest, context: Context) -> pb.ResumeJobResponse:
        await self._document(request.job_id)
        await self._engine.ask(lambda ticket: events.ResumeJob(ticket, request.job_id))
        return pb.ResumeJobResponse(job=await self._job(request.job_id))

    async def CheckpointJob(self, request: pb.CheckpointJobRequest, context: Context) -> pb.CheckpointJobResponse:
        await self._document(request.job_id)
        asked = await self._engine.ask(lambda ticket: events.CheckpointJob(ticket, request.job_id))
        return pb.CheckpointJobResponse(job=await self._job(request.job_id), attempts=asked)

    async def StopJob(self, request: pb.StopJobRequest, context: Context) -> pb.StopJobResponse:
        await self._document(request.job_id)
        await self._engine.ask(lambda ticket: events.StopJob(ticket, request.job_id, request.reason))
        return pb.StopJobResponse(job=await self._job(request.job_id))

    async def RetryJob(self, request: pb.RetryJobRequest, context: Context) -> pb.RetryJobResponse:
        known = msgspec.convert(await self._document(request.job_id), JobDocument)
        if known.state not in (JobState.FAILED, JobState.CANCELLED):
            raise FailedPrecondition(f"job {known.id} is {known.state}; only failed and cancelled jobs are retried")
        submission = events.Submission(known.id, known.request_id, known.spec, known.resolved)
        with self._engine.underway.naming():
            there = await present(self._objects, read_by(known.resolved))
            if not there.issuperset(read_by(known.resolved)):
                raise FailedPrecondition(f"what job {known.id} reads was deleted since it ended: submit it anew")
            await self._engine.ask(lambda ticket: events.RetryJob(ticket, submission))
        return pb.RetryJobResponse(job=await self._job(request.job_id))

    async def ExplainJob(self, request: pb.ExplainJobRequest, context: Context) -> pb.ExplainJobResponse:
        known = msgspec.convert(await self._document(request.job_id), JobDocument)
        live = self._engine.state.jobs.get(known.id)
        if known.state.ended:
            done = await history.told(self._documents, known)
            return pb.ExplainJobResponse(summary=history.ending(known), done=done)
        if live is None or live.id not in self._engine.state.active:
            return pb.ExplainJobResponse(summary="its end is about to be told")  # once it is durable
        plan = plan_for(known.spec).describe(known.spec, known.resolved, live.done)
        summary = why_pending(self._engine.state, live)
        here = [worker for worker in self._engine.state.workers.values() if worker.state == WorkerState.READY]
        lacking = {worker.info.id: reason for worker in here if (reason := lacks(live, worker.info))}
        return pb.ExplainJobResponse(summary=summary, reasons=_reasons(live), workers=lacking, plan=plan)

    async def ListTasks(self, request: pb.ListTasksRequest, context: Context) -> pb.ListTasksResponse:
        known = msgspec.convert(await self._document(request.job_id), JobDocument)
        _, size = paging.page(request.page_size, "", default=100)
        pages = TaskPages(self._documents, self._engine.state, known.id)
        found, last = await pages.page(Place.parse(request.page_token), size)
        tasks = [views.task(listed) for listed in found]
        token = str(last) if last is not None else ""
        return pb.ListTasksResponse(tasks=tasks, next_page_token=token, total_size=_tasks_of(known))

    async def WatchJob(self, request: pb.WatchJobRequest, context: Context) -> AsyncIterator[pb.WatchJobResponse]:
        after = Cursor.parse(request.after)
        if request.job_id not in self._engine.state.jobs:
            await self._document(request.job_id)
        with closing(self._engine.watch(request.job_id, after)) as watch:
            async for happenings in watch:
                for events in _batches(views.event(watch.job, happening) for happening in happenings):
                    yield pb.WatchJobResponse(events=events)

    async def WaitForJobs(
        self, request: pb.WaitForJobsRequest, context: Context
    ) -> AsyncIterator[pb.WaitForJobsResponse]:
        if len(request.job_ids) > WAITED:
            found = f"expected at most {WAITED:,} ids in one call, got {len(request.job_ids):,}"
            raise InvalidRequest([FieldViolation("job_ids", found)])
        with closing(self._engine.ends(request.job_ids)) as ends:
            async for documents in ends:
                for jobs in _batches(map(views.job, documents)):
                    yield pb.WaitForJobsResponse(jobs=jobs)


def _batches(messages: Iterable[M]) -> Iterator[list[M]]:
    """All of them, as the parts of one message or, where they are many or large, of several."""
    batch: list[M] = []
    size = 0
    for message in messages:
        batch.append(message)
        size += message.ByteSize()
        if size >= CHUNK_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _tasks_of(known: JobDocument) -> int:
    """Tasks that are listed in all: where the job has ended, those that did."""
    if not known.state.ended:
        return known.total
    failed = known.failure is not None and bool(known.failure.stage)
    return known.run + known.reused + failed


def _reasons(job: Job) -> list[str]:
    stage = job.open
    if stage is None:
        return [f"it is {job.state}, and no stage is open"]
    done = f"{stage.done:,} of {counted(stage.stage.count, 'task')} done"
    lines = [f"stage {stage.stage.name}: {done}, {len(stage.live):,} running"]
    if stage.waiting:
        lines.append(f"{backing_off(stage)} after a failure")
    for index, attempts in sorted(stage.history.items()):
        last = attempts[-1]
        failed = f"task {index} failed {counted(len(attempts), 'time')}"
        lines.append(f"{failed}; last on {last.worker} ({last.cause}): {last.message}")
    return lines
