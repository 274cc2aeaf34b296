"""Datasets as the client sees them: adding files, sources and DataFrames; reading what is known of them.

The rule: what is added is streamed as `packing.py` has it; only workers read what is in it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from tensorfleet.api.v1 import datasets_pb2
from tensorfleet.data import sources
from tensorfleet.errors import BadInput, NotFound
from tensorfleet.rpc.chunks import chunk_message, written_or
from tensorfleet.sdk import packing
from tensorfleet.sdk.calls import Calls, paged
from tensorfleet.sdk.plain import DatasetLike, as_taken, is_frame, path_of
from tensorfleet.sdk.reading import moment
from tensorfleet.sdk.values import Column, DatasetInfo, Finding, Validation

_UPLOAD = "/tensorfleet.api.v1.DatasetService/UploadDataset"


class AsyncDatasets:
    """The datasets of a fleet."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def add(self, source: DatasetLike, *, name: str = "", target: str = "", replace: bool = False) -> DatasetInfo:
        """Adds a file, a folder of images with one folder a class, an image, a DataFrame (without its index), a source
        that workers can read, such as `file:///data/x.csv`, or one that the orchestrator can: `s3://bucket/key.csv`,
        `mongodb://host:port/database/collection`, `gridfs://host:port/database/file.csv`.

        Images are scaled by `?size=64` or `?size=64x48` (width, then height) behind the path or source, and made grey
        or coloured by `?channels=1` or `3`; with `?labels=none` all of them are taken, at whatever depth and without
        classes, to be predicted. An .npy goes up with the labels of `NAME_labels.npy` beside it.
        name: when empty, the file's name and digits that stand for its bytes and the target. target: the column to
        predict when a job names none. replace: let the name stand for this from now on, where it has other content.
        Adding what is there already returns it. BadInput where it cannot be read, with the line; AlreadyExists where
        the name has other content and `replace` is not asked for.
        """
        if is_frame(source):
            header = datasets_pb2.DatasetHeader(name=name, file_name="frame.parquet", target=target, replace=replace)
            table = await asyncio.to_thread(_parquet, source)
            return await self._upload(header, lambda: packing.cut(table))
        path = path_of(str(source)) if isinstance(source, str) else Path(str(source))
        bare = Path(sources.split_options(str(source))[0])
        if path is None and bare.is_dir() and not sources.is_source(str(source)):
            path = bare  # nothing is added that has a name already, so this is meant as a folder
        if path is None:
            header = datasets_pb2.DatasetHeader(name=name, source=str(source), target=target, replace=replace)
            return await self._upload(header, None)
        options = sources.split_options(str(source))[1]
        content = packing.of_path(path, sources.labelled(options))
        file_name = sources.with_options(content.name, options)
        header = datasets_pb2.DatasetHeader(name=name, file_name=file_name, target=target, replace=replace)
        return await self._upload(header, content.chunks)

    async def list(self, *, builtin: bool = False, limit: int = 1000) -> Sequence[DatasetInfo]:
        """Datasets by name; builtin: also those that come with the package."""

        async def page(size: int, token: str) -> tuple[Sequence[DatasetInfo], str]:
            request = datasets_pb2.ListDatasetsRequest(page_size=size, page_token=token, include_builtin=builtin)
            response = await self._calls.unary(self._calls.datasets.ListDatasets, request)
            return [read(dataset) for dataset in response.datasets], response.next_page_token

        return await paged(limit, page)

    async def get(self, name: str) -> DatasetInfo:
        """One dataset. NotFound where there is none of that name."""
        response = await self._calls.unary(self._calls.datasets.GetDataset, datasets_pb2.GetDatasetRequest(name=name))
        return read(response.dataset)

    async def validate(self, name: str, *, target: str = "") -> Validation:
        """What would keep a dataset from being trained on, worst first. NotFound where there is none of that name."""
        request = datasets_pb2.ValidateDatasetRequest(name=name, target=target)
        response = await self._calls.unary(self._calls.datasets.ValidateDataset, request)
        findings = tuple(
            Finding(
                severity=datasets_pb2.FindingSeverity.Name(finding.severity).rpartition("_")[2].lower(),
                reason=finding.reason,
                message=finding.message,
                column=finding.column,
            )
            for finding in response.findings
        )
        return Validation(valid=response.valid, target=response.target, findings=findings)

    async def delete(self, name: str) -> None:
        """Forgets a dataset; models trained on it stay. NotFound where there is none of that name."""
        await self._calls.unary(self._calls.datasets.DeleteDataset, datasets_pb2.DeleteDatasetRequest(name=name))

    async def named(self, dataset: DatasetLike, target: str = "", image_shape: Sequence[int] = ()) -> str:
        """The name or source to read; a path, a DataFrame and what is kept in S3 or MongoDB are added first. The name
        of a dataset stands for that, also where a folder here is called so.

        image_shape: of a model that is to predict it, as which images are read then; see `as_taken`.
        """
        if isinstance(dataset, str) and not sources.is_remote(dataset) and path_of(dataset) is None:
            bare = sources.split_options(dataset)[0]
            if sources.is_source(dataset):
                return as_taken(dataset, image_shape)
            if not bare or not Path(bare).is_dir() or await self._is_there(dataset):
                return dataset
        source = dataset if is_frame(dataset) else as_taken(str(dataset), image_shape)
        return (await self.add(source, target=target)).name

    async def _is_there(self, name: str) -> bool:
        try:
            await self.get(name)
        except NotFound:
            return False
        return True

    async def _upload(self, header: datasets_pb2.DatasetHeader, content: packing.Chunks | None) -> DatasetInfo:
        method = self._calls.channel.stream_unary(
            _UPLOAD,
            written_or(datasets_pb2.UploadDatasetRequest.SerializeToString),
            datasets_pb2.UploadDatasetResponse.FromString,
        )
        response = await self._calls.retried(
            lambda _: method(_parts(header, content), metadata=self._calls.metadata),  # each try sends all of it
        )
        return read(response.dataset)


async def _parts(
    header: datasets_pb2.DatasetHeader, content: packing.Chunks | None
) -> AsyncIterator[datasets_pb2.UploadDatasetRequest]:
    yield datasets_pb2.UploadDatasetRequest(header=header)
    for chunk in content() if content is not None else ():
        yield chunk_message(datasets_pb2.UploadDatasetRequest, chunk)


def _parquet(frame: Any) -> bytes:
    try:
        content: bytes = frame.to_parquet(index=False)
    except (ValueError, TypeError) as error:  # pyarrow's errors are of these kinds
        raise BadInput(f"the DataFrame cannot be written as Parquet: {error}", reason="FRAME_UNREADABLE") from error
    return content


def read(proto: datasets_pb2.Dataset) -> DatasetInfo:
    return DatasetInfo(
        name=proto.name,
        digest=proto.digest,
        rows=proto.rows,
        columns=tuple(_column(column) for column in proto.columns),
        blocks=proto.blocks,
        size=proto.size_bytes,
        source=proto.source,
        target=proto.target,
        created_at=moment(proto, "created_at"),
        builtin=proto.builtin,
    )


def _column(proto: datasets_pb2.Column) -> Column:
    return Column(
        name=proto.name,
        type=datasets_pb2.ColumnType.Name(proto.type).rpartition("_")[2].lower(),
        missing=proto.missing,
        distinct=proto.distinct,
        minimum=proto.minimum if proto.HasField("minimum") else None,
        maximum=proto.maximum if proto.HasField("maximum") else None,
        mean=proto.mean if proto.HasField("mean") else None,
        values={value.value: value.count for value in proto.values},
        shape=tuple(proto.shape),
    )
