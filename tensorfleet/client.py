"""The SDK: `from tensorfleet import Client`, and `AsyncClient` of the same shape.

    with Client("127.0.0.1:9090") as fleet:
        job = fleet.train("iris", algorithm="random_forest", hyperparameters={"n_estimators": 100})
        model = job.result().load()  # a fitted scikit-learn Pipeline

The rule: one surface, written once in `AsyncClient` and its parts; the classes here wait for it. Every method raises
errors of `tensorfleet.errors`: Unavailable (exit code 3) where the fleet stays away for the whole timeout, and those
that its own docstring names.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorfleet.config import address_problem, settings
from tensorfleet.errors import InvalidRequest
from tensorfleet.model import FieldViolation, Garbage, JobKind, JobSpec, Ref, Resources, RetryPolicy
from tensorfleet.models.naming import file_name
from tensorfleet.sdk import artifacts, fleet
from tensorfleet.sdk.blocking import Datasets, Job, Jobs, Model, Models, Workers
from tensorfleet.sdk.bridge import Bridge, blocking, blocking_as
from tensorfleet.sdk.calls import DEFAULT_TIMEOUT, Calls
from tensorfleet.sdk.datasets import AsyncDatasets
from tensorfleet.sdk.fleet import AsyncWorkers
from tensorfleet.sdk.jobs import AsyncJob, AsyncJobs
from tensorfleet.sdk.models import AsyncModel, AsyncModels
from tensorfleet.sdk.plain import DatasetLike, plain, weights_file
from tensorfleet.sdk.values import FleetStatus

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "AsyncModel",
    "Client",
    "Job",
    "Model",
]


class AsyncClient:
    """A fleet, to be awaited.

    address: `host:port`; several, joined by commas, where there is a standby: the one that leads is found. Default:
    `TENSORFLEET_SERVER`. user: who submits (`x-user-id`). timeout: seconds that a call may take with all of its tries,
    and that the fleet may be away during a watch. Raises InvalidRequest for an address that is none.
    """

    jobs: AsyncJobs
    datasets: AsyncDatasets
    models: AsyncModels
    workers: AsyncWorkers

    def __init__(
        self, address: str | None = None, *, user: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        self._calls = Calls(_checked(address or settings().server), user=user, timeout=timeout)
        self.jobs = AsyncJobs(self._calls)
        self.datasets = AsyncDatasets(self._calls)
        self.models = AsyncModels(self._calls)
        self.workers = AsyncWorkers(self._calls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def address(self) -> str:
        return self._calls.address

    @property
    def leader(self) -> str:
        """Of several addresses, the one that calls go to."""
        return self._calls.leader

    @property
    def away(self) -> bool:
        """Whether nobody serves for the moment, so that calls and watches are tried again."""
        return self._calls.away

    async def close(self) -> None:
        """Closes the connection; jobs go on."""
        await self._calls.close()

    async def train(
        self,
        dataset: DatasetLike,
        algorithm: str = "random_forest",
        hyperparameters: Mapping[str, object] | None = None,
        *,
        target: str = "",
        exclude_features: Sequence[str] = (),
        validation_split: float = 0.2,
        validation_dataset: DatasetLike = "",
        seed: int = 42,
        workers: int = 0,
        model_name: str = "",
        model: str | Path = "",
        resources: Resources | None = None,
        priority: int = 0,
        deadline: float | None = None,
        task_timeout: float = 3600.0,
        retry: RetryPolicy | None = None,
        ignore_known_results: bool = False,
        allow_mixed_numerics: bool = False,
        request_id: str | None = None,
    ) -> AsyncJob:
        """Submits a training; it is durable when this returns.

        dataset: a built-in or added dataset's name, a source (`synthetic:…`, `file://…`), or a path or DataFrame, which
        is added first. target: the column to predict; when empty, the one named target, label, class, y or species,
        else the last. validation_split: the share of rows kept for validation; 0 trains on every row. workers: most at
        once, 0 for no limit. model: a network to go on from, of the registry, or a path of a `.keras` file or of one of
        weights (`.h5`). deadline, task_timeout: in seconds. Raises InvalidRequest, which names every bad field at
        once, and BadInput for data that cannot be read.
        """
        given = plain(dict(hyperparameters or {}), "spec.hyperparameters")
        spec = JobSpec(
            kind=JobKind.TRAIN,
            algorithm=algorithm,
            dataset=await self.datasets.named(dataset, target),
            target=target,
            exclude_features=tuple(exclude_features),
            hyperparameters=given if isinstance(given, dict) else {},
            workers=workers,
            validation_split=validation_split,
            validation_dataset=await self.datasets.named(validation_dataset, target),
            seed=seed,
            model_name=model_name,
            model=await self._weights(model),
            resources=resources or Resources(),
            priority=priority,
            deadline=deadline,
            task_timeout=task_timeout,
            retry=retry or RetryPolicy(),
            ignore_known_results=ignore_known_results,
            allow_mixed_numerics=allow_mixed_numerics,
        )
        return await self.submit(spec, request_id=request_id)

    async def predict(self, model: str, dataset: DatasetLike, *, request_id: str | None = None) -> AsyncJob:
        """Submits the prediction of a dataset; it is durable when this returns. `job.predictions()` gives what comes
        of it.

        model: NAME (its newest version), NAME@VERSION or NAME@ALIAS. dataset: as in `train`; for a model of images also
        a folder of images however they lie in it, and one image: they are scaled to what the model takes. NotFound
        where there is no such model.
        """
        info = (await self.models.get(model)).info
        named = await self.datasets.named(dataset, image_shape=info.image_shape)
        spec = JobSpec(kind=JobKind.PREDICT, model=info.reference, dataset=named)
        return await self.submit(spec, request_id=request_id)

    async def _weights(self, model: str | Path) -> str:
        """A model's name; a file is put as an artifact first."""
        path = weights_file(model)
        return str(model) if path is None else file_name(await artifacts.put(self._calls, path))

    async def submit(self, spec: JobSpec, *, request_id: str | None = None) -> AsyncJob:
        """Submits a job; see `jobs.submit`."""
        return await self.jobs.submit(spec, request_id=request_id)

    async def run(self, spec: JobSpec, *, request_id: str | None = None) -> AsyncJob:
        """Submits a job and waits until it has ended, in one call; see `jobs.run`."""
        return await self.jobs.run(spec, request_id=request_id)

    async def job(self, job_id: str) -> AsyncJob:
        """One job. NotFound where there is none of that id."""
        return await self.jobs.get(job_id)

    async def status(self) -> FleetStatus:
        """The fleet at a glance."""
        return await fleet.status(self._calls)

    async def collect_garbage(self, *, older_than: float | None = None, dry_run: bool = False) -> Garbage:
        """Frees blobs that no model, dataset or job needs, and tells what was freed and why the rest stays.

        older_than: seconds; instead of the fleet's own grace for new blobs, and of the time that known results stay. At
        0, all that can be made again goes. dry_run: only tells.
        """
        return await fleet.collect_garbage(self._calls, older_than, dry_run)

    async def fetch(self, ref: Ref) -> bytes:
        """An artifact's bytes, checked by digest. NotFound where there is none."""
        return await artifacts.fetch(self._calls, ref)


class Client:
    """A fleet. As `AsyncClient`, and each call waits for its answer; it can be used by many threads.

    address: `host:port`; several, joined by commas, where there is a standby: the one that leads is found. Default:
    `TENSORFLEET_SERVER`. user: who submits (`x-user-id`). timeout: seconds that a call may take with all of its tries,
    and that the fleet may be away during a watch. Raises InvalidRequest for an address that is none.
    """

    def __init__(
        self, address: str | None = None, *, user: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        self.inner = AsyncClient(address, user=user, timeout=timeout)
        self.bridge = Bridge()
        self.jobs = Jobs(self.inner.jobs, self.bridge)
        self.datasets = Datasets(self.inner.datasets, self.bridge)
        self.models = Models(self.inner.models, self.bridge)
        self.workers = Workers(self.inner.workers, self.bridge)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        return self.inner.address

    @property
    def leader(self) -> str:
        """Of several addresses, the one that calls go to."""
        return self.inner.leader

    @property
    def away(self) -> bool:
        """Whether nobody serves for the moment, so that calls and watches are tried again."""
        return self.inner.away

    def close(self) -> None:
        """Closes the connection; jobs go on."""
        if not self.bridge.closed:
            self.bridge.run(self.inner.close())
            self.bridge.close()

    train = blocking_as(Job, AsyncClient.train)
    predict = blocking_as(Job, AsyncClient.predict)
    submit = blocking_as(Job, AsyncClient.submit)
    run = blocking_as(Job, AsyncClient.run)
    job = blocking_as(Job, AsyncClient.job)
    status = blocking(AsyncClient.status)
    collect_garbage = blocking(AsyncClient.collect_garbage)
    fetch = blocking(AsyncClient.fetch)


def _checked(address: str) -> str:
    problem = address_problem(address) if address else "expected an address, or TENSORFLEET_SERVER in the environment"
    if problem:
        raise InvalidRequest([FieldViolation("address", problem)])
    return address
