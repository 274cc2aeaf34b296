"""The blocking client's handles and nouns: each method is the asynchronous one, waited for.

The rule: no logic here; a docstring that is not written here is the asynchronous method's own.
"""

from collections.abc import Iterable, Iterator
from typing import Self

from tensorfleet.model import JobState
from tensorfleet.sdk.bridge import Bridge, blocking, blocking_as, blocking_list, iterating
from tensorfleet.sdk.datasets import AsyncDatasets
from tensorfleet.sdk.fleet import AsyncWorkers
from tensorfleet.sdk.jobs import AsyncJob, AsyncJobs
from tensorfleet.sdk.models import AsyncModel, AsyncModels
from tensorfleet.sdk.values import JobInfo, ModelInfo, ModelSummary, TaskCounts


class Model:
    """A registered model version."""

    def __init__(self, inner: AsyncModel, bridge: Bridge) -> None:
        self.inner, self.bridge = inner, bridge

    def __repr__(self) -> str:
        return repr(self.inner)

    @property
    def info(self) -> ModelInfo:
        """Everything that is known of it."""
        return self.inner.info

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def version(self) -> str:
        return self.inner.version

    @property
    def metrics(self) -> dict[str, float]:
        return self.inner.metrics

    @property
    def sha256(self) -> str:
        """SHA-256 of its content: class, parameters, fitted arrays, features, preprocessing."""
        return self.inner.sha256

    load = blocking(AsyncModel.load)
    download = blocking(AsyncModel.download)
    predict = blocking(AsyncModel.predict)


def _model_or_none(inner: AsyncModel | None, bridge: Bridge) -> Model | None:
    return Model(inner, bridge) if inner else None


class Job:
    """A job that was submitted. What it shows is as of its last `refresh`, `watch` or `wait`."""

    def __init__(self, inner: AsyncJob, bridge: Bridge) -> None:
        self.inner, self.bridge = inner, bridge

    def __repr__(self) -> str:
        return repr(self.inner)

    @property
    def info(self) -> JobInfo:
        """Everything that is known of it."""
        return self.inner.info

    @property
    def id(self) -> str:
        return self.inner.id

    @property
    def state(self) -> JobState:
        return self.inner.state

    @property
    def metrics(self) -> dict[str, float]:
        """By name, such as `accuracy` and `train_accuracy`; empty until it ended."""
        return self.inner.metrics

    @property
    def tasks(self) -> TaskCounts:
        return self.inner.tasks

    @property
    def model(self) -> ModelSummary | None:
        """The model's place in the registry, once there is one; `result()` gives the model."""
        return self.inner.model

    def refresh(self) -> Self:
        """Asks how it stands now."""
        self.bridge.run(self.inner.refresh())
        return self

    def wait(self) -> Self:
        """Waits until it has ended, however it did."""
        self.bridge.run(self.inner.wait())
        return self

    def cancel(self, reason: str = "") -> Self:
        """Stops it; one that has ended stays as it is."""
        self.bridge.run(self.inner.cancel(reason))
        return self

    def pause(self, reason: str = "") -> Self:
        """Has what runs of it pause between two steps, and nothing new begin. A task that is paused holds its place for
        a while, then saves and gives it up; one without steps runs to its end. FailedPrecondition where it has ended.
        """
        self.bridge.run(self.inner.pause(reason))
        return self

    def resume(self) -> Self:
        """Has it go on; one that is not paused stays as it is. FailedPrecondition where it has ended."""
        self.bridge.run(self.inner.resume())
        return self

    def stop(self, reason: str = "") -> Self:
        """Ends a training early, and keeps what its finished rounds made, the first of which is let end, or what the
        steps of its gang did.

        FailedPrecondition where it has ended, or has no rounds to stop after.
        """
        self.bridge.run(self.inner.stop(reason))
        return self

    def retry(self) -> Self:
        """Puts it back in the queue; what its tasks finished is kept. FailedPrecondition unless it failed or was
        cancelled."""
        self.bridge.run(self.inner.retry())
        return self

    checkpoint = blocking(AsyncJob.checkpoint)
    watch = iterating(AsyncJob.watch)
    logs = iterating(AsyncJob.logs)
    explain = blocking(AsyncJob.explain)
    result = blocking_as(Model, AsyncJob.result)
    predictions = blocking(AsyncJob.predictions)


class Jobs:
    """The jobs of a fleet."""

    def __init__(self, inner: AsyncJobs, bridge: Bridge) -> None:
        self.inner, self.bridge = inner, bridge

    submit = blocking_as(Job, AsyncJobs.submit)
    submit_many = blocking_list(Job, AsyncJobs.submit_many)
    run = blocking_as(Job, AsyncJobs.run)
    run_many = blocking_list(Job, AsyncJobs.run_many)

    def as_completed(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Each of some jobs once it has ended, in the order in which they end; 100,000 at most, waited for in one call.

        It goes on by itself as a watch does. NotFound where one of them is none.
        """
        twins = {job.inner: job for job in jobs}
        return (twins[ended] for ended in self.bridge.iterate(self.inner.as_completed(twins)))

    get = blocking_as(Job, AsyncJobs.get)
    list = blocking_list(Job, AsyncJobs.list)
    cancel = blocking_as(Job, AsyncJobs.cancel)
    pause = blocking_as(Job, AsyncJobs.pause)
    resume = blocking_as(Job, AsyncJobs.resume)
    checkpoint = blocking(AsyncJobs.checkpoint)
    stop = blocking_as(Job, AsyncJobs.stop)
    retry = blocking_as(Job, AsyncJobs.retry)
    explain = blocking(AsyncJobs.explain)
    tasks = blocking(AsyncJobs.tasks)
    logs = iterating(AsyncJobs.logs)


class Datasets:
    """The datasets of a fleet."""

    def __init__(self, inner: AsyncDatasets, bridge: Bridge) -> None:
        self.inner, self.bridge = inner, bridge

    add = blocking(AsyncDatasets.add)
    list = blocking(AsyncDatasets.list)
    get = blocking(AsyncDatasets.get)
    validate = blocking(AsyncDatasets.validate)
    delete = blocking(AsyncDatasets.delete)


class Models:
    """The model registry of a fleet. A model is asked for as NAME (its newest version), NAME@VERSION or NAME@ALIAS."""

    def __init__(self, inner: AsyncModels, bridge: Bridge) -> None:
        self.inner, self.bridge = inner, bridge

    list = blocking_list(Model, AsyncModels.list)
    get = blocking_as(Model, AsyncModels.get)
    load = blocking(AsyncModels.load)
    download = blocking(AsyncModels.download)
    alias = blocking_as(_model_or_none, AsyncModels.alias)
    delete = blocking(AsyncModels.delete)
    statistics = blocking(AsyncModels.statistics)
    predict = blocking(AsyncModels.predict)


class Workers:
    """The workers of a fleet."""

    def __init__(self, inner: AsyncWorkers, bridge: Bridge) -> None:
        self.inner, self.bridge = inner, bridge

    list = blocking(AsyncWorkers.list)
    drain = blocking(AsyncWorkers.drain)
