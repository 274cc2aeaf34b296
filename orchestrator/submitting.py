"""Submitting jobs, for callers and for the services themselves, and waiting for their end."""

from collections.abc import Container, Sequence
from contextlib import closing
from typing import Any

import grpc
import msgspec

from orchestrator.admission import admit
from orchestrator.core.events import Submission, SubmitJobs
from orchestrator.documents import JobDocument
from orchestrator.engine import Engine
from orchestrator.watch import Watch
from tensorfleet import errors
from tensorfleet.model import Failure, FieldViolation, JobSpec, JobState, Ref
from tensorfleet.stores.contract import DocumentStore

USER = "x-user-id"
_BY_CODE: dict[int, type[errors.TensorFleetError]] = {
    kind.code: kind
    for kind in (
        errors.BadInput,
        errors.NotFound,
        errors.AlreadyExists,
        errors.FailedPrecondition,
        errors.CorruptArtifact,
    )
}


def submitter(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
    """Who asks: the `x-user-id` of the call, until tokens say so."""
    metadata = dict(context.invocation_metadata() or ())
    return str(metadata.get(USER, ""))


class Submitting:
    """Admits specs and feeds them to the engine."""

    def __init__(self, engine: Engine, documents: DocumentStore) -> None:
        self.engine = engine
        self._documents = documents

    async def submit(self, spec: JobSpec, request_id: str = "", upload: Ref | None = None) -> str:
        """The id of the job, which is durable; that of the first submission where the request id is known."""
        known = await self._known([request_id])
        if known:
            return known[request_id]
        with self.engine.underway.naming():
            submission = await admit(spec, request_id, self._documents, self.engine.state, upload)
            return (await self._ask((submission,)))[0]

    async def run(self, spec: JobSpec, request_id: str = "") -> Watch:
        """Submits as `submit` does, and watches the job from its beginning: a new one before anything is told of it, so
        that nothing need be read. Close it."""
        known = await self._known([request_id])
        if known:
            return self.engine.watch(known[request_id])
        with self.engine.underway.naming():
            submission = await admit(spec, request_id, self._documents, self.engine.state)
            watch = self.engine.watch(submission.job, new=True)
            try:
                (made,) = await self._ask((submission,))
            except BaseException:
                watch.close()
                raise
        if made == submission.job:
            return watch
        watch.close()  # the request had made a job that is not durable long
        return self.engine.watch(made)

    async def submit_many(self, specs: Sequence[tuple[str, JobSpec]]) -> list[str]:
        """The ids, in order. All are admitted before any is submitted; a bad field names the request it is in."""
        known = await self._known([request_id for request_id, _ in specs])
        with self.engine.underway.naming():
            submissions = await self._admitted(specs, known)
            made = iter(await self._ask(tuple(submissions)))
        return [known[request_id] if request_id in known else next(made) for request_id, _ in specs]

    async def _admitted(self, specs: Sequence[tuple[str, JobSpec]], known: Container[str]) -> list[Submission]:
        submissions: list[Submission] = []
        violations: list[FieldViolation] = []
        for index, (request_id, spec) in enumerate(specs):
            if request_id in known:
                continue
            try:
                submissions.append(await admit(spec, request_id, self._documents, self.engine.state))
            except errors.InvalidRequest as error:
                violations.extend(
                    msgspec.structs.replace(fault, field=f"requests[{index}].{fault.field}")
                    for fault in error.violations
                )
        if violations:
            raise errors.InvalidRequest(violations)
        return submissions

    async def _ask(self, submissions: tuple[Submission, ...]) -> list[str]:
        ids: list[str] = await self.engine.ask(lambda ticket: SubmitJobs(ticket, submissions))
        return ids

    async def _known(self, request_ids: Sequence[str]) -> dict[str, str]:
        """Jobs that these requests have made already, also long ago."""
        live = self.engine.state.requests  # for these the core answers, since they may not be durable yet
        unknown = tuple(request_id for request_id in request_ids if request_id and request_id not in live)
        if not unknown:
            return {}
        found = await self._documents.find("jobs", {"request_id": unknown}, limit=len(unknown))
        return {str(document["request_id"]): str(document["id"]) for document in found}

    async def ended(self, job_id: str) -> JobDocument:
        """Waits for a job. A failed one raises the error that its failure stands for."""
        with closing(self.engine.watch(job_id)) as watch:
            async for happenings in watch:
                last = happenings[-1]
        job = msgspec.convert(last.ended, JobDocument)
        if job.state != JobState.SUCCEEDED:
            raise _error(job.failure, job.id)
        return job


def _error(failure: Failure | None, job_id: str) -> errors.TensorFleetError:
    if failure is None:
        return errors.JobFailed(f"job {job_id} ended without a result")
    kind = _BY_CODE.get(failure.code, errors.JobFailed)
    return kind(failure.message, reason=failure.reason)
