"""What happens to a spec before it becomes an event: checked field by field, and its names looked up.

The rule: every bad field is named at once, and nothing has happened yet.
"""

import itertools
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestrator.core.events import Submission
from orchestrator.core.failures import other_content
from orchestrator.core.pools import lacks
from orchestrator.core.state import Job, State
from orchestrator.documents import DatasetDocument, ModelDocument
from tensorfleet import capabilities, catalog
from tensorfleet.counts import counted
from tensorfleet.data import sources
from tensorfleet.data.builtin import BUILTIN
from tensorfleet.errors import InvalidRequest, NotFound
from tensorfleet.kinds import plan_for
from tensorfleet.model import FieldViolation, JobKind, JobSpec, Ref, Resolved
from tensorfleet.models import frameworks, labels
from tensorfleet.models.naming import SAFE, file_of
from tensorfleet.stores.contract import DocumentStore

PROCESS_EXPORT = "export"


_numbers = itertools.count(secrets.randbits(20))


ADD_FIRST = (
    "what is kept elsewhere has a name once it was added (`tensorfleet datasets add {source}`, or "
    "DatasetService/UploadDataset with header.source); give that"
)


def new_job_id() -> str:
    """An id that sorts by time and that no other job has: the milliseconds since 1970, a number that goes up by one
    with each job of this process, and random digits against other processes of that millisecond; in hexadecimal."""
    number = next(_numbers) % 2**20
    return f"job-{time.time_ns() // 1_000_000:x}-{number:05x}{secrets.randbits(16):04x}"


async def admit(
    spec: JobSpec, request_id: str, documents: DocumentStore, state: State, upload: Ref | None = None
) -> Submission:
    """A submission whose names are resolved. InvalidRequest names every bad field."""
    if spec.kind is JobKind.PROCESS and upload is None and spec.dataset.startswith("upload:"):
        raise InvalidRequest([FieldViolation("spec.dataset", "upload: is for DatasetService/UploadDataset")])
    if spec.kind is JobKind.PROCESS and upload is None and sources.is_remote(spec.dataset):
        raise InvalidRequest([FieldViolation("spec.dataset", ADD_FIRST.format(source=sources.shown(spec.dataset)))])
    await check_name(spec, documents)
    spec, violations = catalog.validate(spec)
    if spec.kind is JobKind.PROCESS and spec.dataset_name and (problem := name_problem(spec.dataset_name)):
        violations.append(FieldViolation("spec.dataset_name", problem))
    admission = _Admission(documents, violations)
    spec, resolved = await admission.resolve(spec, upload)
    if not admission.violations:
        admission.violations.extend(_infeasible(spec, resolved, state))
    if admission.violations:
        raise InvalidRequest(admission.violations)
    return Submission(new_job_id(), request_id, spec, resolved)


def name_problem(name: str) -> str:
    """What is wrong with a name for a dataset; empty where nothing is."""
    if not SAFE.fullmatch(name):
        return "letters, digits, `.`, `_` and `-` make a name"
    return f"{name} comes with the package; choose another" if name in BUILTIN else ""


async def check_name(spec: JobSpec, documents: DocumentStore) -> None:
    """AlreadyExists where the spec would make a dataset whose name surely has other content.

    Surely: it predicts another column. What the rows are is known when they have been read; the job says it then.
    """
    if spec.kind is not JobKind.PROCESS or not spec.dataset_name or not spec.target or spec.replace_dataset:
        return
    found = (await documents.get("datasets", [spec.dataset_name])).get(spec.dataset_name)
    if found is not None and msgspec.convert(found, DatasetDocument).content.target != spec.target:
        raise other_content(spec.dataset_name)


class _Admission:
    """Resolves the names of one spec, gathering what is wrong."""

    def __init__(self, documents: DocumentStore, violations: list[FieldViolation]) -> None:
        self.violations = violations
        self._documents = documents

    async def resolve(self, spec: JobSpec, upload: Ref | None) -> tuple[JobSpec, Resolved]:
        if spec.kind is JobKind.TRAIN:
            return await self._train(spec)
        model: tuple[Ref, ...] = ()
        requires: tuple[str, ...] = ()
        if spec.kind is JobKind.PREDICT or spec.algorithm == PROCESS_EXPORT:
            model, requires = await self._model(spec)
        if spec.kind is JobKind.PREDICT and upload is None:
            _, refs = await self._dataset("spec.dataset", spec.dataset)
            return spec, Resolved(model=model, dataset=refs, requires=requires)
        return spec, Resolved(model=model, upload=upload, requires=requires)

    async def _train(self, spec: JobSpec) -> tuple[JobSpec, Resolved]:
        added, refs = await self._dataset("spec.dataset", spec.dataset)
        validation: tuple[Ref, ...] = ()
        if spec.validation_dataset:
            _, validation = await self._dataset("spec.validation_dataset", spec.validation_dataset)
        if added is not None and not spec.target:
            spec = replace(spec, target=added.content.target)
        columns = added.content.columns if added is not None else sources.columns(spec.dataset)
        if spec.dataset and not any(
            violation.field in ("spec.algorithm", "spec.dataset") for violation in self.violations
        ):
            self.violations.extend(_columns(spec, added, columns))
        model, requires = await self._weights(spec, columns or ()), catalog.requires(spec.algorithm)
        images = None if columns is None else any(column["type"] == "image" for column in columns)
        return spec, Resolved(dataset=refs, validation=validation, model=model, requires=requires, images=images)

    async def _weights(self, spec: JobSpec, columns: Sequence[Mapping[str, Any]]) -> tuple[Ref, ...]:
        """What a training goes on from: a model's parts, or a file that was put as an artifact. columns: of the rows to
        train on, where they are known."""
        if not spec.model or any(each.field in ("spec.algorithm", "spec.model") for each in self.violations):
            return ()
        file = file_of(spec.model)
        if file is not None:
            return (file,)
        try:
            found = await find_model(self._documents, spec.model)
        except NotFound as error:
            self.violations.append(FieldViolation("spec.model", error.message))
            return ()
        chosen = catalog.algorithm(spec.algorithm)
        wanted = chosen.framework
        if found.content.framework != wanted:
            told = f"{spec.model} is a {found.algorithm} of {found.content.framework}; {spec.algorithm} goes on from a"
            self.violations.append(FieldViolation("spec.model", f"{told} model of {wanted}"))
        elif chosen.goal == "classification" and found.content.classes and columns and not self.violations:
            target = sources.find_target([column["name"] for column in columns], spec.target)
            predicted = next(column for column in columns if column["name"] == target)
            if told := labels.lacking(found.content.classes, predicted):
                self.violations.append(FieldViolation("spec.model", told))
        return found.content.parts

    async def _dataset(self, field: str, name: str) -> tuple[DatasetDocument | None, tuple[Ref, ...]]:
        """An added dataset, or nothing for a source that the job reads itself."""
        if not name or any(violation.field == field for violation in self.violations):
            return None, ()
        found = (await self._documents.get("datasets", [name])).get(name)
        if found is not None:
            document = msgspec.convert(found, DatasetDocument)
            return document, document.content.refs
        wrong = sources.check(name)
        if wrong is None and name.startswith("upload:"):
            wrong = "an upload has a name once it was added; give that"
        if wrong is None and sources.is_remote(name):
            wrong = ADD_FIRST.format(source=sources.shown(name))
        if wrong is not None:
            self.violations.append(FieldViolation(field, wrong))
        return None, ()

    async def _model(self, spec: JobSpec) -> tuple[tuple[Ref, ...], tuple[str, ...]]:
        """A model's blobs, and what a worker must have to predict with it, or to write it as it is asked for."""
        if not spec.model:
            return (), ()
        try:
            found = await find_model(self._documents, spec.model)
        except NotFound as error:
            self.violations.append(FieldViolation("spec.model", error.message))
            return (), ()
        framework = frameworks.known(found.content.framework)
        if spec.algorithm == PROCESS_EXPORT and not framework.computes(str(spec.hyperparameters.get("format") or "")):
            return found.content.parts, ()
        engines = framework.requires
        return found.content.parts, tuple(dict.fromkeys([*catalog.requires(found.algorithm), *engines]))


def _columns(
    spec: JobSpec, added: DatasetDocument | None, columns: list[dict[str, Any]] | None
) -> list[FieldViolation]:
    """What is wrong with a dataset's columns, where they are known."""
    if added is not None:
        return catalog.check_columns(spec, added.content.columns, added.content.rows, added.content.target)
    return catalog.check_columns(spec, columns, sources.rows(spec.dataset) or 2) if columns is not None else []


def _infeasible(spec: JobSpec, resolved: Resolved, state: State) -> list[FieldViolation]:
    """Why no worker that is here could ever run the job; nothing while there are no workers at all."""
    job = Job("", "", 0, spec, resolved, plan_for(spec), 0.0, None)
    reasons = [lacks(job, pool.like) for pool in state.pools.values()]
    if not reasons or any(reason is None for reason in reasons):
        return []
    here = sum(len(pool.places) for pool in state.pools.values())
    for name in resolved.requires:
        if all(capabilities.missing((name,), pool.like.capabilities) for pool in state.pools.values()):
            field, how = "spec.model" if resolved.model else "spec.algorithm", capabilities.how_to_get(name)
            where = f"`{how}` where a worker runs, and start it again"
            return [FieldViolation(field, f"needs {name}, which of {counted(here, 'worker')} none has: {where}")]
    return [FieldViolation("spec.resources", f"of {counted(here, 'worker')} none can run this: one {reasons[0]}")]


async def find_model(documents: DocumentStore, reference: str) -> ModelDocument:
    """The model of NAME (its newest version), NAME@VERSION or NAME@ALIAS. NotFound."""
    name, _, which = reference.partition("@")
    document: dict[str, Any] | None
    if not which:
        newest = await documents.find("models", {"name": name}, order=("-created_at", "-version"), limit=1)
        document = newest[0] if newest else None
    else:
        alias = (await documents.get("aliases", [reference])).get(reference)
        key = f"{name}@{alias['version']}" if alias else reference
        document = (await documents.get("models", [key])).get(key)
    if document is None:
        raise NotFound(f"there is no model {reference!r}; `tensorfleet models list` shows them")
    return msgspec.convert(document, ModelDocument)
