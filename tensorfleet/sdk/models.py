"""Models as the client sees them: the registry, and a model's way back into an object that predicts.

The rule: a model is put together from arrays and plain data checked by digest; nothing that another party wrote is
unpickled.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tensorfleet import wire
from tensorfleet.api.v1 import models_pb2
from tensorfleet.errors import CorruptArtifact, NotFound
from tensorfleet.model import Ref, Value
from tensorfleet.models import frameworks
from tensorfleet.models import manifest as manifests
from tensorfleet.models.manifest import Manifest
from tensorfleet.sdk.artifacts import fetch
from tensorfleet.sdk.calls import Calls, paged
from tensorfleet.sdk.plain import Rows, rows_of
from tensorfleet.sdk.reading import moment
from tensorfleet.sdk.values import ModelInfo, ModelStatistics, Predictions

FETCHES = 8
"""Parts of a model that are fetched at a time."""


class AsyncModel:
    """A registered model version."""

    def __init__(self, calls: Calls, info: ModelInfo) -> None:
        self._calls, self._info = calls, info
        self._whole: tuple[Manifest, Any] | None = None

    def __repr__(self) -> str:
        return f"<model {self._info.reference} {self._info.algorithm}>"

    @property
    def info(self) -> ModelInfo:
        """Everything that is known of it."""
        return self._info

    @property
    def name(self) -> str:
        return self._info.name

    @property
    def version(self) -> str:
        return self._info.version

    @property
    def metrics(self) -> dict[str, float]:
        return self._info.metrics

    @property
    def sha256(self) -> str:
        """SHA-256 of its content: class, parameters, fitted arrays, features, preprocessing."""
        return self._info.sha256

    async def load(self) -> Any:
        """The fitted model. A fitted scikit-learn Pipeline: `pipe[:-1]` prepares, `pipe[-1]` is scikit-learn's own
        estimator. Of a network a `tensorfleet.neural.network.Network`, with `predict`, `predict_proba` and `classes_`.

        CorruptArtifact where bytes of it are damaged or gone: the same training makes them again.
        """
        return (await self._put_together())[1]

    async def _put_together(self) -> tuple[Manifest, Any]:
        if self._whole is None:
            gate = asyncio.Semaphore(FETCHES)

            async def fetched(ref: Ref) -> tuple[str, bytes]:
                async with gate:
                    try:
                        return ref.digest, await fetch(self._calls, ref)
                    except (CorruptArtifact, NotFound) as error:
                        raise _damaged(self._info, ref) from error

            content = dict(await asyncio.gather(*map(fetched, self._info.parts)))
            self._whole = await asyncio.to_thread(_assembled, self._info, content)
        return self._whole

    async def download(self, path: str | Path, *, format: str = "") -> Path:
        """Writes the model as a file, whole or not at all; returns the path.

        format: one of `info.formats`, the first by default: `pickle`, of a scikit-learn Pipeline or of a network's
        `load()`; `keras`; `saved_model`, zipped. InvalidRequest where the model has no such format.
        """
        path, formats = Path(path), self._info.formats or ("pickle",)
        if format and format not in formats:
            raise frameworks.no_format(formats, format, self._info.reference)
        format = format or formats[0]
        if frameworks.FORMATS[format].by_tensorflow:
            parts = await self._made_on_a_worker(format)
            return await asyncio.to_thread(write_whole, path, lambda file: file.writelines(parts))
        manifest, model = await self._put_together()
        estimator = manifest.estimator
        return await asyncio.to_thread(write_whole, path, lambda file: frameworks.write(model, estimator, format, file))

    async def _made_on_a_worker(self, format: str) -> Sequence[bytes]:
        request = models_pb2.DownloadModelRequest(model=self._info.reference, format=format)
        found: list[bytes] = []

        async def attempt(_: float) -> None:
            stream = self._calls.models.DownloadModel(request, metadata=self._calls.metadata)
            found[:] = [part.chunk async for part in stream]

        await self._calls.retried(attempt)
        return found

    async def predict(self, X: Any) -> Any:
        """Predicts here. X: raw rows, a DataFrame or an array in the order of the features; of images, pixels (n, h,
        w[, c]), files' paths or one path."""
        model = await self.load()
        return await asyncio.to_thread(model.predict, X)


class AsyncModels:
    """The model registry of a fleet. A model is asked for as NAME (its newest version), NAME@VERSION or NAME@ALIAS."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def list(self, *, filter: str = "", limit: int = 50) -> Sequence[AsyncModel]:
        """Versions, newest first. filter: terms joined by AND, such as `name=iris AND algorithm=random_forest`."""

        async def page(size: int, token: str) -> tuple[Sequence[AsyncModel], str]:
            request = models_pb2.ListModelsRequest(page_size=size, page_token=token, filter=filter)
            response = await self._calls.unary(self._calls.models.ListModels, request)
            return [AsyncModel(self._calls, read(model)) for model in response.models], response.next_page_token

        return await paged(limit, page)

    async def get(self, model: str) -> AsyncModel:
        """One version. NotFound where there is none."""
        return await get_model(self._calls, model)

    async def load(self, model: str) -> Any:
        """A version as a fitted scikit-learn Pipeline, or as a network; see `AsyncModel.load`. NotFound where there is
        none."""
        return await (await self.get(model)).load()

    async def download(self, model: str, path: str | Path, *, format: str = "") -> Path:
        """Writes a version as a file; see `AsyncModel.download`. NotFound where there is none."""
        return await (await self.get(model)).download(path, format=format)

    async def alias(self, name: str, alias: str, version: str = "") -> AsyncModel | None:
        """Moves an alias to a version, at once; an empty version removes it. NotFound where there is no such
        version."""
        request = models_pb2.SetAliasRequest(name=name, alias=alias, version=version)
        response = await self._calls.unary(self._calls.models.SetAlias, request)
        return AsyncModel(self._calls, read(response.model)) if response.HasField("model") else None

    async def delete(self, model: str) -> int:
        """Deletes NAME@VERSION, or with NAME alone every version of it; tells how many. NotFound where there is
        none."""
        request = models_pb2.DeleteModelRequest(model=model)
        return (await self._calls.unary(self._calls.models.DeleteModel, request)).deleted

    async def statistics(self) -> ModelStatistics:
        """Counts and bests over the registry."""
        response = await self._calls.unary(self._calls.models.GetStatistics, models_pb2.GetStatisticsRequest())
        return ModelStatistics(
            models=response.models,
            names=response.names,
            by_algorithm=dict(sorted(response.by_algorithm.items())),
            mean_accuracy=response.mean_accuracy if response.HasField("mean_accuracy") else None,
            best=read(response.best) if response.HasField("best") else None,
            size=response.size_bytes,
        )

    async def predict(
        self, model: str, rows: Rows, *, columns: Sequence[str] = (), probabilities: bool = False
    ) -> Predictions:
        """Predicts rows on the fleet.

        rows: a DataFrame, a list of mappings, or lists in the order of the model's features or of `columns`; of images
        an array of pixels (n, h, w[, c]). NotFound where there is no such model; BadInput where the rows do not fit it.
        """
        named, listed = rows_of(rows)
        request = models_pb2.PredictRequest(
            model=model,
            rows=[wire.list_to_proto(row) for row in listed],
            columns=columns or named,
            probabilities=probabilities,
        )
        response = await self._calls.unary(self._calls.models.Predict, request, works=True)
        scores: Any = [wire.list_from_proto(row) for row in response.probabilities]
        return Predictions(
            predictions=[wire.value_from_proto(value) for value in response.predictions],
            probabilities=scores if probabilities and scores else None,
            classes=[wire.value_from_proto(value) for value in response.classes],
            version=response.version,
        )


async def get_model(calls: Calls, model: str) -> AsyncModel:
    response = await calls.unary(calls.models.GetModel, models_pb2.GetModelRequest(model=model))
    return AsyncModel(calls, read(response.model))


def read(proto: models_pb2.Model) -> ModelInfo:
    hyperparameters: dict[str, Value] = wire.values_from_proto(proto.hyperparameters)
    return ModelInfo(
        name=proto.name,
        version=proto.version,
        display_name=proto.display_name,
        algorithm=proto.algorithm,
        sha256=proto.sha256,
        hyperparameters=hyperparameters,
        metrics=dict(sorted(proto.metrics.items())),
        missing_metrics=dict(sorted(proto.missing_metrics.items())),
        metrics_on_training_rows=proto.metrics_on_training_rows,
        features=tuple(proto.features),
        target=proto.target,
        classes=tuple(proto.classes),
        dataset=proto.dataset,
        dataset_digest=proto.dataset_digest,
        job_id=proto.job_id,
        submitter=proto.submitter,
        seconds=wire.duration_seconds(proto.training_time),
        environment=dict(sorted(proto.environment.items())),
        aliases=tuple(sorted(proto.aliases)),
        created_at=moment(proto, "created_at"),
        size=proto.size_bytes,
        how_to_load=proto.how_to_load,
        parts=tuple(wire.ref_from_proto(ref) for ref in proto.parts),
        formats=tuple(proto.formats),
        image_shape=tuple(proto.image_shape),
    )


def _damaged(info: ModelInfo, ref: Ref) -> CorruptArtifact:
    what = f"blob {ref.digest} of the model {info.reference} is damaged or gone"
    return CorruptArtifact(f"{what}: train it again, and what is missing is made again")


def _assembled(info: ModelInfo, content: Mapping[str, bytes]) -> tuple[Manifest, Any]:
    from tensorfleet import bundle

    manifest = manifests.read(bundle.decode(content[info.sha256]))
    return manifest, frameworks.assemble(manifest, content.__getitem__)


def write_whole(path: Path, write: Callable[[BinaryIO], None]) -> Path:
    """Writes a file, whole or not at all; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            write(file)  # type: ignore[arg-type]
            file.flush()
            Path(file.name).chmod(0o666 & ~_umask())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
