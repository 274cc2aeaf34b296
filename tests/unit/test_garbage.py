"""Collections beside everything that may be about to name a blob: the engine over real stores, and no time to wait."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator import garbage
from orchestrator.core import commands as c
from orchestrator.core import events as e
from orchestrator.core.state import Settings
from orchestrator.engine import Engine
from orchestrator.garbage import Collector, Keep
from tensorfleet.errors import Unavailable
from tensorfleet.model import JobSpec, KeptFor, Ref, Resolved, Task, TaskResult
from tensorfleet.stores.directory import DirectoryObjects
from tensorfleet.stores.sqlite import SqliteDocuments
from tests.simulation.fleet import info, spec
from tests.simulation.plans import content_of, plant, result_of

ROUGH = Keep(grace=0.0, outputs=0.0, results=0.0, every=0.0)
"""Everything goes that may."""


class Documents(SqliteDocuments):
    """`held`: whoever looks results up has them, and hears of it only once this is set. `finding`: is called with the
    collection before each search in it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.held = asyncio.Event()
        self.held.set()
        self.looked = asyncio.Event()
        self.finding: Callable[[str], Awaitable[None]] | None = None

    async def get(self, collection: str, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        found = await super().get(collection, ids)
        if collection == "results":
            self.looked.set()
            await self.held.wait()
        return found

    async def find(self, collection: str, *args: Any, **rest: Any) -> list[dict[str, Any]]:
        if self.finding is not None:
            await self.finding(collection)
        return await super().find(collection, *args, **rest)


class Home:
    """An orchestrator's engine and stores, and a worker that does what it is told when it is told."""

    def __init__(self, folder: Path) -> None:
        self.documents = Documents(folder / "documents.db")
        self.objects = DirectoryObjects(folder / "objects")
        self.engine = self.led()
        self.assigned: list[tuple[int, Task]] = []  # tokens with their tasks

    def led(self) -> Engine:
        """Another orchestrator over the same stores."""
        return Engine(self.documents, f"writer {id(object())}", Settings(), objects=self.objects)

    async def begin(self) -> None:
        await self.documents.open()
        await self.objects.open()
        await self.engine.start()
        self.engine.to_worker = self.hear
        self.engine.feed(e.OpenSession(1, info("w", slots=4), 1, 1, {}, (), ()))

    async def end(self) -> None:
        await self.engine.stop()
        await self.objects.close()
        await self.documents.close()

    def hear(self, command: c.ToWorker) -> None:
        if isinstance(command, c.Assign):
            self.assigned += enumerate(command.tasks, command.token)

    async def submit(self, job: str, what: JobSpec, resolved: Resolved = Resolved()) -> None:  # noqa: B008
        submission = e.Submission(job, "", what, resolved)
        await self.engine.ask(lambda ticket: e.SubmitJobs(ticket, (submission,)))
        await self.heard()

    async def heard(self) -> None:
        """Returns when what was fed until now is decided and durable, and so is what came of it; but for look-ups that
        are held."""
        for _ in range(4):
            await self.engine.ask(lambda ticket: e.ForgetResults(ticket, ()))
            if self.documents.held.is_set() and self.engine._tasks:
                await asyncio.wait(self.engine._tasks)

    async def put(self, assigned: tuple[int, Task]) -> TaskResult:
        _, task = assigned
        await self.objects.put_many([[content_of(task)]])
        return result_of(task)

    def finish(self, assigned: tuple[int, Task], result: TaskResult) -> None:
        token, _ = assigned
        self.engine.feed(e.Finished("w", 1, token, result, None, "", "", (), duration=0.1, last_report=0, started=True))

    async def work(self) -> None:
        """Ends whatever is assigned, until nothing is."""
        await self.heard()
        while self.assigned:
            command = self.assigned.pop()
            self.finish(command, await self.put(command))
            await self.heard()

    def age(self, digests: Iterable[str] | None = None, seconds: float = 100_000.0) -> None:
        """Makes blobs older than anything that is done here."""
        for digest in self.blobs() if digests is None else digests:
            path = self.objects.path(digest)
            assert path is not None
            when = path.stat().st_mtime - seconds
            os.utime(path, (when, when))

    def blobs(self) -> set[str]:
        return {path.name for path in (self.objects.root / "cas").glob("sha256/*/*")}

    async def collect(self, keep: Keep = ROUGH) -> garbage.Garbage:
        return await Collector(self.engine, self.documents, self.objects, keep).collect()


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Home]:
    plant(monkeypatch)
    home = Home(tmp_path)
    await home.begin()
    yield home
    await home.end()


async def stored(home: Home, *contents: bytes) -> Sequence[Ref]:
    refs = await home.objects.put_many([[content] for content in contents])
    home.age(ref.digest for ref in refs)
    return refs


async def test_a_running_job_loses_nothing_and_an_ended_one_leaves_nothing(home: Home) -> None:
    (sent,) = await stored(home, b"rows")
    await home.submit("j", spec(("read", 2), ("fit", 1)), Resolved(upload=sent))
    for command in home.assigned[:2]:
        home.finish(command, await home.put(command))
    await home.heard()
    home.age()
    before = home.blobs()
    assert len(before) == 3
    told = await home.collect()
    assert home.blobs() == before
    assert told.kept.keys() == {KeptFor.JOB}
    del home.assigned[:2]
    await home.work()
    home.age()
    assert (await home.collect()).blobs.count == 4
    assert home.blobs() == set()
    assert await home.documents.count("results") == 0


async def test_a_model_stays_when_all_else_goes(home: Home) -> None:
    await home.submit("j", spec(("read", 3), ("fit", 2), model_name="m"))
    await home.work()
    home.age()
    told = await home.collect()
    (model,) = await home.documents.find("models")
    assert home.blobs() == {part["digest"] for part in model["content"]["parts"]}
    assert told.results == 4  # the fifth is the model's part
    version = model["version"]
    await home.engine.ask(lambda ticket: e.DeleteModel(ticket, "m", version))
    assert (await home.collect()).blobs.count == 1


async def test_what_an_attempt_has_put_and_not_told_stays(home: Home) -> None:
    await home.submit("j", spec(("fit", 2)))
    first, second = home.assigned
    made = await home.put(first)
    home.age((ref.digest for ref in made.outputs), 30.0)  # by a clock that is behind
    assert (await home.collect()).kept.keys() == {KeptFor.AGE}
    home.finish(first, made)
    home.finish(second, await home.put(second))
    await home.heard()
    assert len(home.blobs()) == 2


async def test_what_was_put_for_a_job_to_come_stays(home: Home) -> None:
    with home.engine.underway.putting():
        (sent,) = await home.objects.put_many([[b"rows"]])
        assert (await home.collect()).kept.keys() == {KeptFor.AGE}
        await home.submit("j", spec(), Resolved(upload=sent))
    home.age()
    await home.collect()
    assert home.blobs() == {sent.digest}


async def test_a_result_that_was_found_before_it_was_forgotten_stays(home: Home) -> None:
    """The look-up has it in hand, and its job begins to use it only after the collection forgot it."""
    await home.submit("first", spec(("read", 1)))
    await home.work()
    home.age()
    before = home.blobs()
    home.documents.held.clear()
    home.documents.looked.clear()
    await home.submit("second", spec(("read", 1), ("fit", 1)))
    await home.documents.looked.wait()
    collecting = asyncio.create_task(home.collect())
    while await home.documents.count("results"):
        await home.heard()
    assert not collecting.done()
    home.documents.held.set()
    told = await collecting
    assert told.results == 1
    assert home.blobs() == before
    assert home.engine.state.jobs["second"].reused == 1
    await home.work()
    assert home.engine.state.jobs["second"].state.ended


async def test_a_result_that_is_used_and_becomes_a_model_meanwhile_stays(home: Home) -> None:
    """The job that found it ends, with a model, before the collection has looked at the jobs."""
    await home.submit("first", spec(("read", 1)))
    await home.work()
    home.age()
    before = home.blobs()
    home.documents.held.clear()
    home.documents.looked.clear()
    await home.submit("second", spec(("read", 1), model_name="m"))
    await home.documents.looked.wait()
    collecting = asyncio.create_task(home.collect())
    while await home.documents.count("results"):
        await home.heard()
    home.documents.held.set()
    await collecting
    assert home.engine.state.jobs["second"].state.ended
    assert home.blobs() == before


async def test_a_dataset_that_was_read_before_it_was_deleted_stays_for_its_job(home: Home) -> None:
    (block,) = await stored(home, b"block")
    with home.engine.underway.naming():  # its document is read here, and then it is deleted
        collecting = asyncio.create_task(home.collect())
        for _ in range(20):
            await home.heard()
        assert not collecting.done()
        await home.submit("j", spec(), Resolved(dataset=(block,)))
    await collecting
    assert home.blobs() == {block.digest}
    await home.work()
    home.age()
    await home.collect()
    assert home.blobs() == set()


async def test_a_dataset_that_is_deleted_while_the_collection_looks_stays_for_its_job(home: Home) -> None:
    """Its document is read for a job, and is deleted before the collection reads it."""
    await home.submit("j", spec(dataset_name="d", impure=True))
    await home.work()
    home.age()
    (kept,) = home.blobs()
    refs = tuple(
        Ref(ref["digest"], ref["size"]) for ref in (await home.documents.find("datasets"))[0]["content"]["refs"]
    )
    reads, named, read = 0, asyncio.Event(), asyncio.Event()

    async def finding(collection: str) -> None:
        nonlocal reads
        reads += collection == "datasets"
        if reads == 3 and not read.is_set():  # two pages for the results, and now for what is reached
            read.set()
            await named.wait()

    home.documents.finding = finding
    collecting = asyncio.create_task(home.collect())
    await read.wait()
    with home.engine.underway.naming():
        await home.engine.ask(lambda ticket: e.DeleteDataset(ticket, "d"))
        named.set()
        for _ in range(20):
            await home.heard()
        assert not collecting.done()
        await home.submit("k", spec(recipe="another"), Resolved(dataset=refs))
    await collecting
    assert home.blobs() == {kept}


async def test_a_forgotten_result_is_made_again(home: Home) -> None:
    for job in ("first", "second"):
        await home.submit(job, spec(("read", 2)))
        await home.work()
        home.age()
        await home.collect()
        assert home.engine.state.jobs[job].run == 2


async def test_who_leads_no_more_deletes_nothing(home: Home) -> None:
    await stored(home, b"garbage")
    other = home.led()
    await other.start()
    try:
        for _ in range(2):
            with pytest.raises(Unavailable, match="term has ended"):
                await home.collect()
        assert len(home.blobs()) == 1
        await Collector(other, home.documents, home.objects, ROUGH).collect()
        assert home.blobs() == set()
    finally:
        await other.stop()


async def test_what_ended_jobs_were_sent_stays_for_a_while(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where more of them ended in one moment than are read at a time."""
    monkeypatch.setattr(garbage, "PAGE", 3)
    sent = await stored(home, *(b"rows %d" % number for number in range(8)))
    for number, ref in enumerate(sent):
        await home.submit(f"j{number}", spec(("fit", 1), recipe=str(number)), Resolved(upload=ref))
    home.engine.feed(*(e.CancelJob(0, f"j{number}", "") for number in range(8)))
    await home.heard()
    told = await home.collect(Keep(grace=0.0, outputs=3600.0, results=0.0))
    assert home.blobs() == {ref.digest for ref in sent}
    assert told.kept.keys() == {KeptFor.OUTPUT}
    await home.collect()
    assert home.blobs() == set()


async def test_new_blobs_have_their_grace(home: Home) -> None:
    await home.objects.put_many([[b"new"]])
    assert (await home.collect(Keep(grace=60.0))).kept.keys() == {KeptFor.AGE}
    home.age(seconds=120.0)
    assert (await home.collect(Keep(grace=60.0))).blobs.count == 1


async def test_what_a_job_has_let_go_of_goes_while_it_runs_and_is_known(home: Home) -> None:
    what = spec(("s0", 2), ("s1", 2), ("s2", 1), ("s3", 1), lets_go=True)
    keep = Keep(grace=0.0, outputs=0.0, every=0.0)
    await home.submit("j", what)
    made: list[set[str]] = []
    for count in (2, 2, 1):
        given, home.assigned = home.assigned, []
        assert len(given) == count
        results = [await home.put(each) for each in given]
        made.append({ref.digest for result in results for ref in result.outputs})
        for each, result in zip(given, results, strict=True):
            home.finish(each, result)
        await home.heard()
    home.age()
    freed = await home.collect(keep)
    assert (home.blobs() & set.union(*made), freed.results) == (made[2], 0)
    await home.submit("again", what)
    again = home.engine.state.jobs["again"]
    assert (again.open.stage.name if again.open else "", again.reused) == ("s3", 5)


async def test_a_collection_comes_early_where_jobs_have_let_go_of_much(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector(home.engine, home.documents, home.objects, Keep(grace=0.001, every=3600.0))
    collected = asyncio.Event()

    async def collect() -> garbage.Garbage:
        collected.set()
        raise Unavailable("enough")

    monkeypatch.setattr(collector, "collect", collect)
    running = asyncio.create_task(collector.run())
    await home.heard()
    assert not collected.is_set()
    home.engine.state.let_go += garbage.MUCH
    await collected.wait()
    running.cancel()
