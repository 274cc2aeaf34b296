"""ModelService: the registry, and predictions on workers."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
import msgspec

from orchestrator import views
from orchestrator.admission import PROCESS_EXPORT, find_model
from orchestrator.core.events import DeleteModel, SetAlias
from orchestrator.documents import ModelDocument
from orchestrator.services import paging
from orchestrator.submitting import Submitting, submitter
from tensorfleet import bundle
from tensorfleet.api.v1 import models_pb2 as pb
from tensorfleet.api.v1 import models_pb2_grpc
from tensorfleet.errors import InvalidRequest
from tensorfleet.model import FieldViolation, JobKind, JobSpec, Ref
from tensorfleet.models import frameworks
from tensorfleet.models.naming import SAFE
from tensorfleet.rpc.chunks import chunk_message
from tensorfleet.stores.contract import DocumentStore, ObjectStore
from tensorfleet.wire import list_from_proto, list_to_proto, value_to_proto

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
FILTERS = ("name", "algorithm", "dataset")
EVERY = 1_000_000


class Models(models_pb2_grpc.ModelServiceServicer):
    def __init__(self, submitting: Submitting, documents: DocumentStore, objects: ObjectStore) -> None:
        self._submitting = submitting
        self._documents = documents
        self._objects = objects

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        skip, size = paging.page(request.page_size, request.page_token)
        where = paging.terms(request.filter, FILTERS)
        order = ("-created_at", "-version")
        found = await self._documents.find("models", where, order=order, skip=skip, limit=size)
        total = await self._documents.count("models", where)
        shown = [await self._shown(msgspec.convert(document, ModelDocument)) for document in found]
        token = paging.next_token(skip, len(shown), total)
        return pb.ListModelsResponse(models=shown, next_page_token=token, total_size=total)

    async def _shown(self, known: ModelDocument) -> pb.Model:
        aliases = await self._documents.find("aliases", {"name": known.name, "version": known.version})
        return views.model(known, sorted(str(alias["alias"]) for alias in aliases))

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        return pb.GetModelResponse(model=await self._shown(await find_model(self._documents, request.model)))

    async def DownloadModel(
        self, request: pb.DownloadModelRequest, context: Context
    ) -> AsyncIterator[pb.DownloadModelResponse]:
        known = await find_model(self._documents, request.model)
        reference = f"{known.name}@{known.version}"
        format = frameworks.chosen(known.content.framework, request.format, reference)
        if format == frameworks.known(known.content.framework).kept:
            file = known.content.parts[-1]
        else:
            file = await self._made(reference, format, context)
        async for chunk in self._objects.get(file.digest):
            yield chunk_message(pb.DownloadModelResponse, chunk)

    async def _made(self, reference: str, format: str, context: Context) -> Ref:
        """A model as a file, made by a worker."""
        spec = JobSpec(
            kind=JobKind.PROCESS,
            algorithm=PROCESS_EXPORT,
            model=reference,
            hyperparameters={"format": format},
            submitter=submitter(context),
        )
        job = await self._submitting.ended(await self._submitting.submit(spec))
        assert job.result is not None
        return job.result.outputs[0]

    async def SetAlias(self, request: pb.SetAliasRequest, context: Context) -> pb.SetAliasResponse:
        if not SAFE.fullmatch(request.alias):
            expected = f"letters, digits, `.`, `_` and `-` make an alias, not {request.alias!r}"
            raise InvalidRequest([FieldViolation("alias", expected)])
        await self._submitting.engine.ask(lambda ticket: SetAlias(ticket, request.name, request.alias, request.version))
        if not request.version:
            return pb.SetAliasResponse()
        return pb.SetAliasResponse(
            model=await self._shown(await find_model(self._documents, f"{request.name}@{request.alias}"))
        )

    async def DeleteModel(self, request: pb.DeleteModelRequest, context: Context) -> pb.DeleteModelResponse:
        name, _, version = request.model.partition("@")
        if version:
            version = (await find_model(self._documents, request.model)).version
        deleted = await self._submitting.engine.ask(lambda ticket: DeleteModel(ticket, name, version))
        return pb.DeleteModelResponse(deleted=deleted)

    async def GetStatistics(self, request: pb.GetStatisticsRequest, context: Context) -> pb.GetStatisticsResponse:
        found = [msgspec.convert(each, ModelDocument) for each in await self._documents.find("models", limit=EVERY)]
        accurate = [known for known in found if "accuracy" in known.metrics]
        best = max(accurate, key=lambda known: known.metrics["accuracy"], default=None)
        return pb.GetStatisticsResponse(
            models=len(found),
            names=len({known.name for known in found}),
            by_algorithm=Counter(known.algorithm for known in found),
            mean_accuracy=sum(known.metrics["accuracy"] for known in accurate) / len(accurate) if accurate else None,
            best=await self._shown(best) if best else None,
            size_bytes=sum({ref.digest: ref.size for known in found for ref in known.content.parts}.values()),
        )

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        known = await find_model(self._documents, request.model)
        if not request.rows:
            raise InvalidRequest([FieldViolation("rows", "expected at least one row of features")])
        rows = [list_from_proto(row, f"rows[{index}]") for index, row in enumerate(request.rows)]
        asked = {
            "columns": list(request.columns) or None,
            "rows": rows,
            "probabilities": request.probabilities,
        }
        spec = JobSpec(kind=JobKind.PREDICT, model=f"{known.name}@{known.version}", submitter=submitter(context))
        with self._submitting.engine.underway.putting():
            (upload,) = await self._objects.put_many([bundle.encode(asked)])
            job_id = await self._submitting.submit(spec, upload=upload)
        job = await self._submitting.ended(job_id)
        assert job.result is not None
        parts = [chunk async for chunk in self._objects.get(job.result.outputs[0].digest)]
        made = bundle.decode(b"".join(parts))
        return pb.PredictResponse(
            predictions=[value_to_proto(value) for value in made["predictions"]],
            probabilities=[list_to_proto(row) for row in made["probabilities"] or ()],
            classes=[value_to_proto(value) for value in made["classes"]],
            version=known.version,
        )
