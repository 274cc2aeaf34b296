"""The live view's picture: a job's events folded, and drawn."""

import asyncio
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from clients.cli import live
from clients.cli.live import Lines, View
from clients.cli.progress import BARS, Progress, epochs_of, sparkline
from tensorfleet.model import AttemptRecord, Cause, JobSpec, JobState, Point, Points, Ref, WorkerState
from tensorfleet.sdk.events import (
    AttemptFailed,
    Ended,
    Event,
    StageOpened,
    StateChanged,
    TaskReported,
    TasksAssigned,
    TaskSaved,
    TasksSucceeded,
)
from tensorfleet.sdk.values import JobInfo, RunningAttempt, TaskCounts, WorkerInfo


def changed(state: JobState) -> StateChanged:
    return StateChanged(cursor="", job_id="j", time=0.0, state=state, reason="")


def opened(stage: str, tasks: int, total: int) -> StageOpened:
    return StageOpened(cursor="", job_id="j", time=0.0, stage=stage, tasks=tasks, total_tasks=total)


def assigned(stage: str, worker: str, *indexes: int) -> TasksAssigned:
    return TasksAssigned(
        cursor="", job_id="j", time=0.0, stage=stage, worker=worker, indexes=indexes, tokens=(1,) * len(indexes)
    )


def succeeded(stage: str, *indexes: int, reused: bool = False) -> TasksSucceeded:
    return TasksSucceeded(
        cursor="",
        job_id="j",
        time=0.0,
        stage=stage,
        worker="worker-1",
        reused=reused,
        indexes=indexes,
        tokens=(1,) * len(indexes),
        seconds=(1.0,) * len(indexes),
        last_reports=(0,) * len(indexes),
    )


def reported(*points: Point) -> TaskReported:
    return TaskReported(
        cursor="", job_id="j", time=0.0, stage="fit", index=0, token=1, number=1, points=Points.of(points), lines=()
    )


def failed(stage: str, index: int, message: str) -> AttemptFailed:
    attempt = AttemptRecord(token=1, worker="worker-1", assigned_at=0.0, cause=Cause.SIGNAL, message=message)
    return AttemptFailed(cursor="", job_id="j", time=0.0, stage=stage, index=index, attempt=attempt, retried=True)


def ended(total: int) -> Ended:
    info = JobInfo(id="j", state=JobState.SUCCEEDED, spec=JobSpec(), tasks=TaskCounts(total=total))
    return Ended(cursor="", job_id="j", time=0.0, job=info)


STORY: list[Event] = [
    changed(JobState.RUNNING),
    opened("prepare", 1, 6),
    succeeded("prepare", 0, reused=True),
    opened("fit", 4, 6),
    assigned("fit", "worker-1", 0),
    assigned("fit", "worker-2", 1),
    reported(Point("accuracy", 9, 0.9), Point("loss", 9, 0.3)),
    reported(Point("accuracy", 4, 0.5), Point("loss", 4, 0.7), Point("auc", 4, 0.6)),
    failed("fit", 1, "SIGSEGV\nmore"),
    succeeded("fit", 0),
]


def after(*events: Event) -> Progress:
    progress = Progress()
    for event in events:
        progress.learn(event)
    return progress


def test_tasks_are_counted_and_workers_are_known() -> None:
    progress = after(*STORY[:7])
    assert progress.running == {("fit", 0): "worker-1", ("fit", 1): "worker-2"}
    progress = after(*STORY)
    assert (progress.done, progress.reused, progress.total, progress.stage) == (2, 1, 6, "fit")
    assert progress.running == {}
    assert progress.failures == ["fit/1 on worker-1: signal, SIGSEGV; tried again"]


def test_a_series_is_in_the_order_of_its_steps_whatever_came_first() -> None:
    assert after(*STORY).latest() == [("loss", [0.7, 0.3]), ("accuracy", [0.5, 0.9]), ("auc", [0.6])]


def test_a_plan_that_grows_is_believed() -> None:
    assert after(opened("ingest", 1, 1), succeeded("ingest", 0), opened("predict", 9, 2)).total == 10
    assert after(*STORY, ended(12)).total == 12


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([float("nan")], ""),
        ([1.0, 1.0], BARS[3] * 2),
        ([0.0, 7.0], BARS[0] + BARS[7]),
        (list(range(8)), BARS),
        ([float(value) for value in range(1000)], None),
    ],
)
def test_a_sparkline_is_as_wide_as_there_is_room(values: list[float], drawn: str | None) -> None:
    line = sparkline(values, width=24)
    assert line == drawn if drawn is not None else (len(line), line[-1]) == (24, BARS[7])


def test_a_pipe_gets_a_line_a_quarter_and_what_fails(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines("iris · random_forest")
    for event in [*STORY, *(succeeded("fit", index) for index in (1, 2, 3)), ended(6)]:
        lines.see(event)
    assert capsys.readouterr().out.splitlines() == [
        "iris · random_forest",
        "  prepare: 1 of 1 task",
        "  ! fit/1 on worker-1: signal, SIGSEGV; tried again",
        "  fit: 1 of 4 tasks, loss 0.3000, accuracy 0.9000, auc 0.6000",
        "  fit: 2 of 4 tasks, loss 0.3000, accuracy 0.9000, auc 0.6000",
        "  fit: 3 of 4 tasks, loss 0.3000, accuracy 0.9000, auc 0.6000",
        "  fit: 4 of 4 tasks, loss 0.3000, accuracy 0.9000, auc 0.6000",
    ]


def test_the_view_shows_tasks_figures_and_workers() -> None:
    from rich.console import Console

    view = View("[iris] · random_forest")
    for event in STORY[:7]:
        view.see(event)
    console = Console(width=100, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(view)
    drawn = captured.get()
    for part in (
        "[iris] · random_forest",
        "running",
        "1 of 6 tasks",
        "fit",
        "1 reused",
        "loss",
        "0.3000",
        "● worker-2",
    ):
        assert part in drawn


def test_the_view_says_when_nobody_leads() -> None:
    from rich.console import Console

    console = Console(width=100)
    for away in (False, True):
        with console.capture() as captured:
            console.print(View("[iris] · random_forest", lambda away=away: away))
        assert ("No orchestrator leads" in captured.get()) is away


def test_a_job_that_begins_again_is_counted_anew() -> None:
    progress = Progress()
    for event in (opened("read", 2, 5), succeeded("read", 0, 1), opened("fit", 3, 5)):
        progress.learn(event)
    progress.learn(opened("read", 2, 5))
    assert (progress.done, progress.running) == (0, {})
    for event in (succeeded("read", 0), succeeded("read", 1)):
        progress.learn(event)
    assert (progress.done, progress.total) == (2, 5)


def trained(stage: str, at: float, *points: Point) -> list[Event]:
    """A task of a stage that tells points, and ends."""
    told = TaskReported(
        cursor="", job_id="j", time=at, stage=stage, index=0, token=1, number=1, points=Points.of(points), lines=()
    )
    done = structs.replace(succeeded(stage, 0), time=at + 2.0)
    return [opened(stage, 1, 5), told, done]


EPOCHS: list[Event] = [
    changed(JobState.RUNNING),
    opened("prepare", 1, 5),
    succeeded("prepare", 0),
    *trained("round-0", 10.0, Point("loss", 0, 2.0), Point("samples_per_second", 0, 900.0), Point("val_loss", 0, 1.5)),
    *trained("round-1", 12.0, Point("loss", 1, 1.0), Point("samples_per_second", 1, 800.0), Point("val_loss", 1, 1.25)),
]


def test_a_pipe_gets_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines("digits · cnn", 3)
    for event in EPOCHS:
        lines.see(event)
    assert capsys.readouterr().out.splitlines() == [
        "digits · cnn",
        "  prepare: 1 of 1 task",
        "  epoch 1 of 3, loss 2.0000, val_loss 1.5000, 900 samples/s, 6.0 s left",
        "  epoch 2 of 3, loss 1.0000, val_loss 1.2500, 800 samples/s, 4.0 s left",
    ]


def test_the_view_shows_the_epoch_its_pace_and_the_time_left() -> None:
    from rich.console import Console

    view = View("digits · cnn", epochs=3)
    for event in EPOCHS:
        view.see(event)
    console = Console(width=100)
    with console.capture() as captured:
        console.print(view)
    assert "epoch 3 of 3, 800 samples/s, 4.0 s left" in captured.get()


def test_replicas_that_go_through_the_same_steps_are_averaged_and_their_speeds_added() -> None:
    def told(index: int, *points: Point) -> TaskReported:
        return structs.replace(reported(*points), stage="round-0", index=index)

    progress = after(
        told(0, Point("loss", 0, 1.0), Point("samples_per_second", 0, 100.0)),
        told(1, Point("loss", 0, 2.0), Point("samples_per_second", 0, 50.0)),
    )
    assert (progress.latest(), progress.speed) == ([("loss", [1.5])], 150.0)


@pytest.mark.parametrize(
    ("spec", "epochs"),
    [
        (JobSpec(hyperparameters={"epochs": 7}), 7),
        (JobSpec(hyperparameters={"epochs": 7}, validation_split=0.0), 0),
        (JobSpec(hyperparameters={"n_estimators": 7}), 0),
    ],
)
def test_epochs_are_told_of_where_there_are_rows_to_validate_on(spec: JobSpec, epochs: int) -> None:
    assert epochs_of(spec) == epochs


def test_a_pause_is_shown_and_takes_no_time_of_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    lines, view = Lines("title"), View("title")
    saved = TaskSaved(
        cursor="", job_id="j", time=25.0, stage="fit", index=3, token=1, worker="w", saved=Ref("ab" * 32, 2048)
    )
    story = [
        changed(JobState.RUNNING),
        opened("fit", 4, 4),
        structs.replace(reported(Point("loss", 0, 1.0)), time=10.0),
        structs.replace(succeeded("fit", 0), time=20.0),
        structs.replace(changed(JobState.PAUSED), time=20.0, reason="lunch"),
        saved,
    ]
    for event in story:
        lines.see(event)
        view.see(event)
    console = Console(width=100, file=StringIO())
    console.print(view)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "paused for" in shown
    assert "fit/3 on w saved 2.0 KiB" in shown
    for event in (
        structs.replace(changed(JobState.RUNNING), time=80.0, reason="it was resumed"),
        structs.replace(succeeded("fit", 1), time=90.0),
        structs.replace(changed(JobState.RUNNING), time=91.0, reason="it ends early"),
    ):
        lines.see(event)
        view.see(event)
    assert view.progress.left == 20.0
    assert capsys.readouterr().out.splitlines() == [
        "title",
        "  fit: 1 of 4 tasks, loss 1.0000",
        "  paused: lunch",
        "  fit/3 on w saved 2.0 KiB",
        "  resumed after 60 s",
        "  fit: 2 of 4 tasks, loss 1.0000",
        "  it ends early",
    ]


def test_what_gave_up_its_place_is_not_shown_at_its_worker() -> None:
    view = View("title")
    for event in (changed(JobState.RUNNING), opened("fit", 2, 2), assigned("fit", "w", 0, 1), changed(JobState.PAUSED)):
        view.see(event)
    run = RunningAttempt(job="j", task="fit/1", token=2)
    view.workers = [WorkerInfo(id="w", state=WorkerState.READY, pid=1, host="h", slots=2, running=(run,))]
    assert view._doing() == {"w": ["fit 2"]}


def test_what_a_job_waits_for_is_told_once_and_shown_until_something_happens(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from rich.console import Console

    lines, view, console = Lines("title"), View("title"), Console(width=100)
    for why in ("no worker", "no worker", "no slot"):
        lines.wait(why)
        view.wait(why)
    assert capsys.readouterr().out.splitlines() == ["title", "  waits: no worker", "  waits: no slot"]
    with console.capture() as captured:
        console.print(view)
    assert "waits: no slot" in captured.get()
    view.see(changed(JobState.RUNNING))
    with console.capture() as captured:
        console.print(view)
    assert "waits" not in captured.get()


@pytest.mark.parametrize(
    ("story", "idle"),
    [
        ([], True),
        ([opened("fit", 2, 2)], True),
        ([opened("fit", 2, 2), assigned("fit", "w", 1)], False),
        ([opened("fit", 2, 2), assigned("fit", "w", 1), succeeded("fit", 1)], True),
        ([changed(JobState.PAUSED)], False),
        ([ended(1)], False),
    ],
)
def test_a_job_is_idle_of_which_nothing_runs_and_that_nobody_paused(story: list[Event], idle: bool) -> None:
    assert after(*story).idle is idle


async def test_a_job_is_asked_for_its_reason_once_nothing_has_happened_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def explain(job: str) -> Any:
        asked.append(job)
        return SimpleNamespace(summary=f"reason {len(asked)}")

    looks = asyncio.Semaphore(0)
    looked = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        looked.release()
        await looks.acquire()

    async def look() -> None:
        looks.release()
        await looked.acquire()

    monkeypatch.setattr(live.asyncio, "sleep", sleep)
    view = View("title")
    client: Any = SimpleNamespace(jobs=SimpleNamespace(explain=explain))
    asking = asyncio.create_task(live._ask(client, "j", view))
    await looked.acquire()
    view.see(opened("fit", 2, 2))
    await look()
    view.see(changed(JobState.RUNNING))
    await look()
    assert asked == [], "something happened meanwhile"
    await look()
    assert (asked, view.progress.waits) == (["j"], "reason 1")
    await look()
    assert view.progress.waits == "reason 2"
    view.see(assigned("fit", "w", 0))
    await look()
    await look()
    assert (len(asked), view.progress.waits) == (2, "")
    asking.cancel()
