"""What an ended job's record tells of how it went: stage by stage, by whom, and what failed meanwhile."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from orchestrator import history
from orchestrator.documents import JobDocument, TaskDocument, TasksDocument
from tensorfleet.model import (
    AttemptRecord,
    BlockRows,
    Cause,
    Failure,
    JobResult,
    JobSpec,
    JobState,
    Resolved,
    TaskState,
    Trained,
)
from tensorfleet.stores.contract import Entry, Write
from tensorfleet.testing.simulated.documents import Database, MemoryDocuments

ENDED = JobDocument(
    id="j",
    request_id="",
    kind="train",
    state=JobState.SUCCEEDED,
    algorithm="cnn",
    dataset="photos",
    submitter="",
    model_name="",
    created_at=10.0,
    started_at=11.0,
    ended_at=15.5,
    spec=JobSpec(algorithm="cnn", dataset="photos", hyperparameters={"epochs": 5}),
    resolved=Resolved(),
    fingerprint="",
    stage="",
    total=6,
    run=1,
    reused=2_000,
    running=0,
    pending_reason="",
    model=None,
    result=None,
    failure=None,
)


class Record:
    """A store of what is kept of a job's tasks."""

    def __init__(self) -> None:
        self.documents = MemoryDocuments(Database())
        self.number = 0

    async def keep(self, stage: str, indexes: Sequence[int], worker: str = "w-1", **more: Any) -> None:
        self.number += 1
        attempts = more.pop("attempts", ())
        run = TasksDocument(
            job_id="j",
            stage=stage,
            operator="test.work@1",
            state=more.pop("state", TaskState.SUCCEEDED),
            worker=worker,
            at=float(self.number),
            first=min(indexes),
            last=max(indexes),
            tasks=tuple(TaskDocument(index, 1, 0.5, attempts=attempts) for index in indexes),
            **more,
        )
        write = Write("tasks", f"j:{stage}:{self.number}", msgspec.to_builtins(run))
        await self.documents.commit(Entry(self.number, 1, "a", b""), [write])

    async def told(self, known: JobDocument = ENDED) -> list[str]:
        return await history.told(self.documents, known)


@pytest.fixture
async def record() -> Record:
    record = Record()
    await record.documents.open()
    return record


async def test_stages_are_told_as_they_ended_with_who_ran_them(record: Record) -> None:
    await record.keep("prepare", [0])
    await record.keep("fit", [0, 2])
    await record.keep("fit", [1], "w-2")
    await record.keep("finish", [0], "", reused=True)
    assert await record.told() == [
        "prepare: 1 task by w-1, 0.5 s of work",
        "fit: 3 tasks by w-1 (2), w-2 (1), 1.5 s of work",
        "finish: 1 task known already",
    ]


async def test_stages_that_differ_in_their_number_are_one_line(record: Record) -> None:
    for number in (8, 9, 10):
        await record.keep(f"round-{number}", [0, 1])
        await record.keep(f"reduce-{number}", [0], "w-2")
    assert await record.told() == [
        "round-8 to round-10: 6 tasks by w-1, 3.0 s of work",
        "reduce-8 to reduce-10: 3 tasks by w-2, 1.5 s of work",
    ]


async def test_what_failed_is_told_with_the_last_of_it(record: Record) -> None:
    tries = tuple(
        AttemptRecord(
            token=at, worker=f"w-{at}", assigned_at=float(at), cause=Cause.EXCEPTION, message=f"no {at}\nmore"
        )
        for at in (1, 2)
    )
    await record.keep("fit", [0], attempts=tries)
    await record.keep("finish", [0], state=TaskState.FAILED, attempts=tries[:1])
    assert await record.told() == [
        "fit: 1 task by w-1, 0.5 s of work",
        "  2 attempts failed, the last on w-2 (exception): no 2",
        "finish: 1 task failed",
        "  1 attempt failed, the last on w-1 (exception): no 1",
    ]


async def test_what_the_end_says_is_not_told_twice(record: Record) -> None:
    attempt = AttemptRecord(token=1, worker="w-1", assigned_at=1.0, cause=Cause.BAD_INPUT, message="no number")
    await record.keep("fit", [0], state=TaskState.FAILED, attempts=(attempt,))
    failure = Failure(cause=Cause.BAD_INPUT, reason="NAN", message="no number", code=3)
    said = await record.told(replace(ENDED, state=JobState.FAILED, failure=failure))
    assert said == ["fit: 1 task failed", "  1 attempt failed, the last on w-1 (bad_input)"]


async def test_a_task_that_ended_twice_counts_as_it_ended_last(record: Record) -> None:
    await record.keep("fit", [0, 1], state=TaskState.FAILED)
    await record.keep("fit", [0, 1], "w-2")
    assert await record.told() == ["fit: 2 tasks by w-2, 1.0 s of work"]


@pytest.mark.parametrize("bound", ["MOST_RUNS", "MOST_TASKS"])
async def test_of_very_many_the_first_are_told(record: Record, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(history, "RUNS", 2)
    for stage in "abcde":
        await record.keep(stage, [0])
    assert [line[0] for line in await record.told()] == [*"abcde"]
    monkeypatch.setattr(history, bound, 3)
    last = "these were the first; `tensorfleet jobs tasks j` lists all of 2,001"
    assert [line[0] for line in await record.told()] == [*"abcd", last[0]]
    assert (await record.told())[-1] == last


async def test_a_training_by_rounds_tells_how_far_it_went(record: Record) -> None:
    trained = (Trained(0, 0, (BlockRows(0, 4, "ab"),)), Trained(1, 2, (BlockRows(0, 4, "ac"),)))
    assert await record.told(replace(ENDED, result=JobResult(trained=trained))) == ["it trained for 3 of 5 epochs"]


def test_a_short_time_is_told_all_the_same() -> None:
    assert history.ending(replace(ENDED, ended_at=10.0329)).startswith("it has succeeded 0.033 s after")


def test_an_end_says_how_and_when() -> None:
    assert history.ending(ENDED) == "it has succeeded 5.5 s after it was submitted: 1 task run, 2,000 known already"
    failure = Failure(cause=Cause.EXCEPTION, reason="EXCEPTION", message="it broke", code=2)
    failed = replace(ENDED, state=JobState.FAILED, failure=failure)
    assert history.ending(failed) == "it has failed 5.5 s after it was submitted: it broke"
    cancelled = history.ending(replace(failed, state=JobState.CANCELLED))
    assert cancelled == "it was cancelled 5.5 s after it was submitted: it broke"
