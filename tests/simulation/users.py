"""Those who bring jobs: they submit, resubmit, watch, cancel and retry through the real client, and do not give up.

The rule: whatever they were told must be true of the journal in the end; what they saw they keep for the final account.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct, field

from tensorfleet import wire
from tensorfleet.api.v1 import jobs_pb2
from tensorfleet.client import AsyncClient
from tensorfleet.errors import FailedPrecondition, ResourceExhausted, Unavailable
from tensorfleet.model import JobState
from tensorfleet.sdk import reading, watching
from tensorfleet.sdk.events import Ended, Event
from tensorfleet.sdk.jobs import AsyncJob
from tests.simulation.scenario import Errand

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
PATIENCE = 4.0
"""Seconds that the client tries by itself."""


class Seen(Struct):
    """What one watcher has seen of a job, over all its connections."""

    job: str
    events: list[Event] = field(default_factory=list)

    @property
    def cursor(self) -> str | None:
        return self.events[-1].cursor if self.events else None


class Account(Struct):
    """What came of an errand."""

    errand: Errand
    job: str = ""
    done: bool = False
    seen: list[Seen] = field(default_factory=list)


class User:
    """Runs one errand, in a process of its own."""

    def __init__(self, world: "World", name: str, errand: Errand) -> None:
        self.account = Account(errand)
        self._world = world
        self._name = name

    def start(self) -> None:
        process = self._world.simulation.process(self._name)
        process.belongings["world"] = self._world
        process.spawn(self._run())

    async def _run(self) -> None:
        try:
            await self._errand()
        except Exception as error:
            self._world.fail(f"{self._name} did not expect {error!r}")

    async def _errand(self) -> None:
        errand, account = self.account.errand, self.account
        await asyncio.sleep(errand.at)
        client = self._client()
        ran = Seen("")
        running = asyncio.create_task(self._run_job(ran)) if errand.runs else None
        job = await self._persist(lambda: client.submit(errand.spec, request_id=errand.request_id))
        account.job = job.id
        if errand.twice:
            again = await self._persist(lambda: client.submit(errand.spec, request_id=errand.request_id))
            if again.id != job.id:
                self._world.fail(f"{errand.request_id} made two jobs: {job.id} and {again.id}")
        account.seen = [Seen(job.id) for _ in range(errand.watchers)]
        looking = asyncio.gather(self._wait_for(job), *(self._watch(seen) for seen in account.seen))
        saving = asyncio.create_task(self._save(job, errand.save_every)) if errand.save_every is not None else None
        steering = [
            *([self._pause(job, errand.pause_after)] if errand.pause_after is not None else []),
            *([self._stop(job, errand.stop_after)] if errand.stop_after is not None else []),
            *([self._cancel(job, errand.cancel_after)] if errand.cancel_after is not None else []),
        ]
        await asyncio.gather(*steering)
        await looking
        if saving is not None:
            saving.cancel()
        if running is not None:
            await running
            account.seen.append(ran)
        if errand.retry and (await self._persist(job.refresh)).state in (JobState.FAILED, JobState.CANCELLED):
            await self._retry(job)
            # Where the request was forgotten in between, it ran another job, which has ended for good.
            await asyncio.gather(*(self._watch(seen) for seen in account.seen if seen.job == job.id))
        await client.close()
        account.done = True

    def _client(self) -> AsyncClient:
        return AsyncClient(",".join(self._world.servers), user=self._name, timeout=PATIENCE)

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await call()
            except (Unavailable, ResourceExhausted) as error:
                self._world.tell(f"{self._name} tries again after {error!r}")
                await asyncio.sleep(0.2)

    async def _cancel(self, job: AsyncJob, after: float) -> None:
        await asyncio.sleep(after)
        ended = await self._persist(lambda: job.cancel("changed my mind"))
        if not ended.state.ended:
            self._world.fail(f"{job.id} was cancelled, and is {ended.state}")

    async def _pause(self, job: AsyncJob, after: float) -> None:
        """Pauses the job for a while, unless it has ended by then."""
        await asyncio.sleep(after)
        try:
            paused = (await self._persist(job.pause)).state
            if paused is not JobState.PAUSED and not paused.ended and self.account.errand.stop_after is None:
                self._world.fail(f"{job.id} was paused, and is {paused}")
            await asyncio.sleep(self.account.errand.pause_for)
            resumed = (await self._persist(job.resume)).state
            if resumed is JobState.PAUSED:
                self._world.fail(f"{job.id} was resumed, and is {resumed}")
        except FailedPrecondition:
            self._world.tell(f"{job.id} has ended and is not to be paused")

    async def _stop(self, job: AsyncJob, after: float) -> None:
        """Has the job end early, unless it has ended by then or has nothing to stop after."""
        await asyncio.sleep(after)
        try:
            stopped = (await self._persist(lambda: job.stop("enough"))).state
            if stopped is JobState.PAUSED and self.account.errand.pause_after is None:
                self._world.fail(f"{job.id} was stopped, and is {stopped}")
        except FailedPrecondition as error:
            self._world.tell(f"{job.id} is not to be stopped: {error.message}")

    async def _save(self, job: AsyncJob, every: float) -> None:
        """Asks for checkpoints until the job has ended."""
        while True:
            await asyncio.sleep(every)
            try:
                await self._persist(job.checkpoint)
            except FailedPrecondition:
                return

    async def _retry(self, job: AsyncJob) -> None:
        try:
            await self._persist(job.retry)
        except FailedPrecondition:
            self._world.tell(f"{job.id} was retried by an earlier try")

    async def _run_job(self, seen: Seen) -> None:
        """Submits the job and watches it in one call; goes on by watching where that ends before the job."""
        client = self._client()
        name, spec = self.account.errand.request_id, wire.spec_to_proto(self.account.errand.spec)
        while not seen.events:
            try:
                async for message in watching.run(client._calls, jobs_pb2.RunJobRequest(request_id=name, spec=spec)):
                    seen.events += reading.known_events(message.events)
                    if isinstance(seen.events[-1], Ended):
                        break
            except (Unavailable, ResourceExhausted) as error:
                self._world.tell(f"{self._name} runs again after {error!r}")
                await asyncio.sleep(0.2)
        await client.close()
        seen.job = seen.events[0].job_id
        if not isinstance(seen.events[-1], Ended):
            await self._watch(seen)

    async def _wait_for(self, job: AsyncJob) -> None:
        """Waits for the job and is told of it once."""
        client = self._client()
        told = await self._persist(lambda: _all(client.jobs.as_completed([job])))
        if [(each.id, each.state.ended) for each in told] != [(job.id, True)]:
            self._world.fail(f"who waited for {job.id} was told of {told}")
        await client.close()

    async def _watch(self, seen: Seen) -> None:
        """Watches to the end, now and then over another connection."""
        chance = self._world.simulation.chance
        while True:
            client = self._client()
            try:
                job = await client.job(seen.job)
                async for event in job.watch(after=seen.cursor):
                    seen.events.append(event)
                    if not isinstance(event, Ended) and chance.random() < 0.03:
                        break
                else:
                    return
            except (Unavailable, ResourceExhausted) as error:
                self._world.tell(f"{self._name} watches again after {error!r}")
            finally:
                await client.close()


async def _all(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]
