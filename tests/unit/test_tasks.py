"""A job's tasks in pages: from the runs they ended in, and from the state while they run."""

from collections.abc import Sequence

import msgspec
import pytest

from orchestrator.core.state import State
from orchestrator.documents import TaskDocument, TasksDocument
from orchestrator.tasks import Place, TaskPages
from tensorfleet.errors import InvalidRequest
from tensorfleet.model import TaskState
from tensorfleet.stores.contract import Entry, Write
from tensorfleet.testing.simulated.documents import Database, MemoryDocuments
from tests.simulation.fleet import Fleet, info, spec


class Runs:
    """A store of runs of tasks."""

    def __init__(self) -> None:
        self.documents = MemoryDocuments(Database())
        self.number = 0

    async def keep(self, stage: str, indexes: Sequence[int], state: TaskState = TaskState.SUCCEEDED) -> None:
        self.number += 1
        run = TasksDocument(
            job_id="j",
            stage=stage,
            operator="test.work@1",
            state=state,
            worker="w",
            at=float(self.number),
            first=min(indexes),
            last=max(indexes),
            tasks=tuple(TaskDocument(index, self.number * 1000 + index, 0.5) for index in indexes),
        )
        write = Write("tasks", f"j:{stage}:{self.number}", msgspec.to_builtins(run))
        await self.documents.commit(Entry(self.number, 1, "a", b""), [write])

    async def pages(self, size: int, state: State | None = None) -> list[list[tuple[str, int, str, int]]]:
        pages, after = [], Place()
        listing = TaskPages(self.documents, state or State(), "j")
        while True:
            found, last = await listing.page(after, size)
            pages.append([(run.stage, task.index, run.state.value, task.token) for run, task in found])
            if last is None:
                return pages
            after = Place.parse(str(last))


@pytest.fixture
async def runs() -> Runs:
    runs = Runs()
    await runs.documents.open()
    return runs


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_each_task_once_by_stage_and_index(runs: Runs, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.tasks.RUNS", 2)
    await runs.keep("fit", [0, 2, 9])
    await runs.keep("fit", [1, 3, 4])
    await runs.keep("fit", [5, 6])
    await runs.keep("fit", [7, 8])
    await runs.keep("join", [0])
    listed = [task for page in await runs.pages(size) for task in page]
    assert [(stage, index) for stage, index, _, _ in listed] == [*(("fit", n) for n in range(10)), ("join", 0)]
    assert all(len(page) <= size for page in await runs.pages(size))


async def test_of_two_runs_of_a_task_the_later_counts(runs: Runs) -> None:
    await runs.keep("fit", [0, 1], TaskState.FAILED)
    await runs.keep("fit", [1, 0, 2])
    assert await runs.pages(10) == [[("fit", n, "succeeded", 2000 + n) for n in range(3)]]


async def test_what_has_not_ended_is_as_the_state_has_it(runs: Runs, core: Fleet) -> None:
    core.join(info("w", slots=2))
    core.submit("j", spec(("fit", 5)))
    first = core.tokens()[0]
    core.finish(first)
    await runs.keep("fit", [0])
    (page,) = await runs.pages(10, core.state)
    assert [(index, state) for _, index, state, _ in page] == [
        (0, "succeeded"),
        (1, "running"),
        (2, "running"),
        (3, "pending"),
        (4, "pending"),
    ]
    assert [page for page in await runs.pages(2, core.state) if page] == [page[:2], page[2:4], page[4:]]


async def test_an_end_that_is_not_durable_yet_is_not_told(runs: Runs, core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("fit", 2)))
    core.finish(core.tokens()[0])
    (page,) = await runs.pages(10, core.state)
    assert [state for _, _, state, _ in page] == ["running", "running"]


@pytest.mark.parametrize("token", ["fit", "fit:x", ":3", "7"])
def test_a_token_of_no_page_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest, match="page_token"):
        Place.parse(token)
