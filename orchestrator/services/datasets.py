"""DatasetService: adding, looking at and forgetting datasets."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import PurePath
from typing import Any, TypeAlias

import grpc
import msgspec
from msgspec.structs import replace

from orchestrator import views
from orchestrator.admission import check_name, name_problem
from orchestrator.core.events import DeleteDataset
from orchestrator.documents import DatasetDocument
from orchestrator.services import paging
from orchestrator.submitting import Submitting, submitter
from tensorfleet.api.v1 import datasets_pb2 as pb
from tensorfleet.api.v1 import datasets_pb2_grpc
from tensorfleet.data import checks, remote, sources
from tensorfleet.data.builtin import BUILTIN
from tensorfleet.errors import BadInput, InvalidRequest, NotFound
from tensorfleet.model import FieldViolation, JobKind, JobSpec, Ref
from tensorfleet.models.naming import SAFE
from tensorfleet.stores.contract import DocumentStore, ObjectStore

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Datasets(datasets_pb2_grpc.DatasetServiceServicer):
    def __init__(self, submitting: Submitting, documents: DocumentStore, objects: ObjectStore) -> None:
        self._submitting = submitting
        self._documents = documents
        self._objects = objects

    async def UploadDataset(
        self, request_iterator: AsyncIterator[pb.UploadDatasetRequest], context: Context
    ) -> pb.UploadDatasetResponse:
        header = await _header(request_iterator)
        spec = JobSpec(
            kind=JobKind.PROCESS,
            dataset=sources.shown(header.source) or f"upload:{PurePath(header.file_name).name}",
            target=header.target,
            dataset_name=header.name,
            replace_dataset=header.replace,
            submitter=submitter(context),
        )
        await check_name(spec, self._documents)  # before the bytes come
        with self._submitting.engine.underway.putting():
            content = _content(header, request_iterator)
            upload = None if content is None else await self._objects.put(content)
            spec = replace(spec, dataset_name=header.name or _name(header, upload))
            if upload is not None and upload.size == 0:
                raise BadInput(f"{_called(header)} is empty: it has no header and no rows", reason="FILE_EMPTY")
            job_id = await self._submitting.submit(spec, upload=upload)
        await self._submitting.ended(job_id)
        return pb.UploadDatasetResponse(dataset=views.dataset(await self._dataset(spec.dataset_name)))

    async def _dataset(self, name: str) -> DatasetDocument:
        found = (await self._documents.get("datasets", [name])).get(name)
        if found is None:
            raise NotFound(f"there is no dataset {name!r}; `tensorfleet datasets list` shows them")
        return msgspec.convert(found, DatasetDocument)

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Context) -> pb.ListDatasetsResponse:
        skip, size = paging.page(request.page_size, request.page_token)
        found = await self._documents.find("datasets", order=("name",), skip=skip, limit=size)
        total = await self._documents.count("datasets")
        shown = [views.dataset(msgspec.convert(document, DatasetDocument)) for document in found]
        token = paging.next_token(skip, len(shown), total)
        if request.include_builtin and not token:
            shown += [_builtin(name) for name in BUILTIN]
        return pb.ListDatasetsResponse(datasets=shown, next_page_token=token, total_size=total)

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Context) -> pb.GetDatasetResponse:
        if request.name in BUILTIN:
            return pb.GetDatasetResponse(dataset=_builtin(request.name))
        return pb.GetDatasetResponse(dataset=views.dataset(await self._dataset(request.name)))

    async def ValidateDataset(self, request: pb.ValidateDatasetRequest, context: Context) -> pb.ValidateDatasetResponse:
        columns, rows, target = await self._profile(request.name)
        wanted = request.target or target
        found = checks.findings(columns, rows, target=wanted)
        errors = [finding for finding in found if finding.severity == "error"]
        named = [str(column["name"]) for column in columns]
        missing = any(finding.reason == "TARGET_MISSING_COLUMN" for finding in errors)
        return pb.ValidateDatasetResponse(
            valid=not errors,
            findings=[
                pb.Finding(
                    severity=pb.FindingSeverity.Value(f"FINDING_SEVERITY_{finding.severity.upper()}"),
                    reason=finding.reason,
                    message=finding.message,
                    column=finding.column,
                )
                for finding in found
            ],
            target=wanted if missing else sources.find_target(named, wanted),
        )

    async def _profile(self, name: str) -> tuple[list[dict[str, Any]], int, str]:
        if name in BUILTIN:
            return sources.columns(name) or [], sources.rows(name) or 0, sources.TARGET
        content = (await self._dataset(name)).content
        return content.columns, content.rows, content.target

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Context) -> pb.DeleteDatasetResponse:
        await self._submitting.engine.ask(lambda ticket: DeleteDataset(ticket, request.name))
        return pb.DeleteDatasetResponse()


async def _header(messages: AsyncIterator[pb.UploadDatasetRequest]) -> pb.DatasetHeader:
    first = await anext(messages, None)
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidRequest([FieldViolation("header", "the first message describes the dataset")])
    header = first.header
    if bool(header.file_name) == bool(header.source):
        raise InvalidRequest([FieldViolation("header.file_name", "give a file's name, or else a source")])
    if sources.is_remote(header.source) and (wrong := sources.check(header.source)):
        raise InvalidRequest([FieldViolation("header.source", wrong)])
    if header.file_name and (wrong := sources.check(f"upload:{PurePath(header.file_name).name}")):
        raise InvalidRequest([FieldViolation("header.file_name", wrong)])
    if header.name and (wrong := name_problem(header.name)):
        raise InvalidRequest([FieldViolation("header.name", wrong)])
    return header


def _content(header: pb.DatasetHeader, messages: AsyncIterator[pb.UploadDatasetRequest]) -> AsyncIterator[bytes] | None:
    """What is to be stored before a worker reads it; None where the worker can reach the source itself."""
    if not header.source:
        return _chunks(messages)
    return remote.fetch(sources.parse(header.source)) if sources.is_remote(header.source) else None


def _called(header: pb.DatasetHeader) -> str:
    return header.file_name or sources.shown(header.source)


async def _chunks(messages: AsyncIterator[pb.UploadDatasetRequest]) -> AsyncIterator[bytes]:
    async for message in messages:
        if message.WhichOneof("part") != "chunk":
            raise InvalidRequest([FieldViolation("chunk", "after the header come bytes")])
        yield message.chunk


def _name(header: pb.DatasetHeader, upload: Ref | None) -> str:
    """One that no other content has: the same file with another target, or read otherwise, is another dataset."""
    called, options = sources.split_options(_called(header))
    stem = PurePath(called).name.partition(".")[0]
    found = SAFE.search(stem)
    stem = found.group() if found else "dataset"
    if upload is None:
        return stem
    asked = " ".join(filter(None, (upload.digest, header.target, options)))
    told = upload.digest if asked == upload.digest else hashlib.sha256(asked.encode()).hexdigest()
    return f"{stem}-{told[:8]}"


def _builtin(name: str) -> pb.Dataset:
    columns = [views.column(column) for column in sources.columns(name) or ()]
    return pb.Dataset(
        name=name, rows=sources.rows(name) or 0, columns=columns, target=sources.TARGET, source=name, builtin=True
    )
