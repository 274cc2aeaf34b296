"""Garbage: blobs that nothing live reaches, known results past their bounds, and what puts that died have left.

The rule: a blob goes after everything that could lead to it. Results are forgotten first, durably. Then whoever was
about to name a blob has done so, what is reached is gathered, and only what is older than all of this is deleted.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from orchestrator.core.events import ForgetResults
from orchestrator.core.reach import Bounds, Known, held_by_ended, held_by_jobs, in_hand_since, to_forget
from orchestrator.core.state import Now
from orchestrator.documents import DatasetDocument, JobDocument, ModelDocument, ResultDocument
from orchestrator.engine import Engine, now
from tensorfleet.errors import TensorFleetError
from tensorfleet.logs import Logger
from tensorfleet.model import Amount, Garbage, KeptFor, Ref
from tensorfleet.stores.contract import DocumentStore, ObjectStore

log = Logger(__name__)
Document = TypeVar("Document", bound=Struct)

HOUR, DAY, GIB = 3600.0, 86_400.0, 1 << 30
PAGE = 1000
BATCH = 64
"""Blobs that are deleted at once."""
KEYS = 5000
"""Results that one journal record forgets, at most."""
MUCH = GIB
"""Bytes that jobs let go of, for which a collection comes after a grace already."""
SKEW = 60.0
"""Seconds by which the clock of the object store may differ from ours."""


class Keep(Struct, frozen=True, kw_only=True):
    """How long things stay that nobody has named; seconds unless told otherwise.

    grace: a blob, after it was put; more than any link to put one is good for. outputs: what a job made or was sent,
    after its end. results: a known result, after its last use; result_bytes and result_count bound them all. every:
    from one collection to the next; 0 for none but those that are asked for.
    """

    grace: float = HOUR
    outputs: float = 7 * DAY
    results: float = 30 * DAY
    result_bytes: int = 20 * GIB
    result_count: int = 200_000
    every: float = 6 * HOUR


class Collector:
    """Collects, one collection at a time; see the module, and docs/architecture.md for why nothing live is lost."""

    def __init__(
        self,
        engine: Engine,
        documents: DocumentStore,
        objects: ObjectStore,
        keep: Keep,
        clock: Callable[[], Now] = now,
    ) -> None:
        self._engine = engine
        self._documents = documents
        self._objects = objects
        self._keep = keep
        self._clock = clock
        self._alone = asyncio.Lock()

    async def run(self) -> None:
        """Collects every now and then, for ever; sooner where jobs have let go of much."""
        while self._keep.every > 0:
            await self._due()
            try:
                found = await self.collect()
            except TensorFleetError as error:
                log.warning("garbage was not collected", error=error.message)
            else:
                log.info("collected garbage", blobs=found.blobs.count, size=found.blobs.size, results=found.results)

    async def _due(self) -> None:
        """Returns when a collection is due. What has been let go of is younger than the grace at first."""
        waited, before, pause = 0.0, self._engine.state.let_go, min(self._keep.every, self._keep.grace or math.inf)
        while waited < self._keep.every and self._engine.state.let_go - before < MUCH:
            await asyncio.sleep(pause)
            waited += pause

    async def collect(self, *, older_than: float | None = None, dry_run: bool = False) -> Garbage:
        """Frees what nothing needs. Unavailable where a store is away; what was freed until then stays so.

        older_than: seconds that take the place of the grace, and of the time a known result stays. dry_run: only tells.
        """
        async with self._alone:
            young = self._youth(self._keep.grace if older_than is None else older_than)
            known, forgotten = await self._known(self._keep.results if older_than is None else older_than)
            if not dry_run:
                for start in range(0, len(forgotten), KEYS):
                    await self._forget(forgotten[start : start + KEYS])
                await self._settle()  # whoever had found one of them has it among a job's results by now
            reached = await self._reached(known, dry_run)
            blobs, kept = await self._sweep(reached, young, dry_run)
            left = await self._objects.unfinished(remove=not dry_run)
            return Garbage(blobs=blobs, unfinished=Amount(left.count, left.size), results=len(forgotten), kept=kept)

    def _youth(self, grace: float) -> Callable[[], float]:
        """How old a blob is at most that somebody may be about to name: it was put in the grace, since the collection
        began, or since the oldest work began that is still in somebody's hands."""
        began, state = self._clock(), self._engine.state
        since = [at for at in (in_hand_since(state), self._engine.underway.putting_since()) if at is not None]

        def youth() -> float:
            now = self._clock()
            in_hand = now.wall - min(since) + SKEW if since else 0.0
            return max(grace, now.mono - began.mono, in_hand)

        return youth

    async def _known(self, age: float) -> tuple[list[Known], list[str]]:
        """The known results to keep, and the keys of those to forget."""
        known = [
            Known(document.key, document.at, document.job_id, () if document.let_go else document.outputs)
            async for document in self._each("results", ResultDocument, lambda plain: str(plain["key"]))
        ]
        registered = {ref.digest async for _, refs in self._registered() for ref in refs}
        bounds = Bounds(age=age, size=self._keep.result_bytes, count=self._keep.result_count)
        active, now = set(self._engine.state.active), self._clock().wall

        def parted() -> tuple[list[Known], list[str]]:
            gone = {each.key for each in to_forget(known, bounds, now, registered=registered, active=active)}
            return [each for each in known if each.key not in gone], sorted(gone)

        return await asyncio.to_thread(parted)  # it may take seconds

    async def _forget(self, keys: Iterable[str]) -> None:
        """Returns when it is durable, which shows that we still lead; all that was fed before is decided then."""
        forgotten = tuple(keys)
        await self._engine.ask(lambda ticket: ForgetResults(ticket, forgotten))

    async def _settle(self) -> None:
        """Waits until whoever is about to name blobs has named them, in a record that is decided and durable."""
        await self._engine.underway.settled()
        await self._forget(())

    async def _reached(self, known: Iterable[Known], dry_run: bool) -> dict[str, KeptFor]:
        """Every digest that something live reaches, with the first reason."""
        reached: dict[str, KeptFor] = {}
        jobs = held_by_jobs(self._engine.state)
        if not dry_run:
            await self._forget(())  # so that what jobs registered that had ended by then is there to be read
        async for why, refs in self._registered():
            await _mark(reached, why, refs)
        await _mark(reached, KeptFor.JOB, jobs)
        async for job in self._ended():
            await _mark(reached, KeptFor.OUTPUT, held_by_ended(job.state, job.resolved, job.result))
        await _mark(reached, KeptFor.RESULT, (ref for each in known for ref in each.outputs))
        if not dry_run:
            await self._settle()  # also who had read what was deleted before it could be read here
        await _mark(reached, KeptFor.JOB, held_by_jobs(self._engine.state))
        return reached

    async def _sweep(
        self, reached: dict[str, KeptFor], young: Callable[[], float], dry_run: bool
    ) -> tuple[Amount, dict[KeptFor, Amount]]:
        """What was deleted, and what stays."""
        freed, kept = Amount(), dict.fromkeys(KeptFor, Amount())
        async for batch in _batches(self._objects.blobs()):
            garbage = []
            for ref, age in batch:
                why = reached.get(ref.digest) or (KeptFor.AGE if age < young() else None)
                if why is None:
                    garbage.append(ref)
                else:
                    kept[why] += Amount(1, ref.size)
            gone = [True] * len(garbage)
            if not dry_run:
                gone = await asyncio.gather(*(self._objects.delete(ref.digest, young()) for ref in garbage))
            for ref, went in zip(garbage, gone, strict=True):
                if went:
                    freed += Amount(1, ref.size)
                else:
                    kept[KeptFor.AGE] += Amount(1, ref.size)
        return freed, {why: amount for why, amount in kept.items() if amount.count}

    async def _registered(self) -> AsyncIterator[tuple[KeptFor, tuple[Ref, ...]]]:
        """What each model and each dataset consists of."""
        async for model in self._each("models", ModelDocument, lambda plain: f"{plain['name']}@{plain['version']}"):
            yield KeptFor.MODEL, model.content.parts
        async for dataset in self._each("datasets", DatasetDocument, lambda plain: str(plain["name"])):
            yield KeptFor.DATASET, dataset.content.refs

    async def _each(
        self, collection: str, kind: type[Document], name: Callable[[dict[str, Any]], str]
    ) -> AsyncIterator[Document]:
        """Every document of a collection, by id. name: a document's own."""
        last = ""
        while page := await self._documents.find(collection, above=("id", last), order=("id",), limit=PAGE):
            for plain in page:
                yield msgspec.convert(plain, kind)
            last = name(page[-1])

    async def _ended(self) -> AsyncIterator[JobDocument]:
        """The jobs whose outputs are still kept; some may come twice."""
        after, limit = self._clock().wall - self._keep.outputs, PAGE
        while True:
            page = await self._documents.find("jobs", above=("ended_at", after), order=("ended_at",), limit=limit)
            for plain in page:
                yield msgspec.convert(plain, JobDocument)
            if len(page) < limit:
                return
            # Jobs that ended at the page's last moment may not all be in it.
            before = [plain["ended_at"] for plain in page if plain["ended_at"] < page[-1]["ended_at"]]
            after, limit = (before[-1], limit) if before else (after, 2 * limit)


async def _mark(reached: dict[str, KeptFor], why: KeptFor, refs: Iterable[Ref]) -> None:
    for number, ref in enumerate(refs, 1):
        reached.setdefault(ref.digest, why)
        if number % PAGE == 0:
            await asyncio.sleep(0)  # others have their turn


async def _batches(blobs: AsyncIterator[tuple[Ref, float]]) -> AsyncIterator[list[tuple[Ref, float]]]:
    batch = []
    async for found in blobs:
        batch.append(found)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
