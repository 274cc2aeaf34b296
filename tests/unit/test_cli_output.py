"""What commands say: exit codes, JSON, and paragraphs for people."""

import asyncio
from collections.abc import Callable

import pytest
import typer
from msgspec import structs

from clients.cli import output
from clients.cli.jobs import _show
from tensorfleet import catalog, errors
from tensorfleet.model import (
    AttemptRecord,
    BlockRows,
    Cause,
    Failure,
    FieldViolation,
    JobSpec,
    JobState,
    LogLine,
    Trained,
)
from tensorfleet.sdk.values import JobInfo, ModelSummary, TaskCounts

BAD = Failure(cause=Cause.BAD_INPUT, reason="CSV_MALFORMED", message="line 3: expected 2 values", code=3)
DIED = Failure(
    cause=Cause.SIGNAL,
    reason="SIGNAL",
    message="the slot died",
    code=10,
    stage="fit",
    index=2,
    attempts=(
        AttemptRecord(token=1, worker="worker-1", assigned_at=0.0, cause=Cause.SIGNAL, message="SIGSEGV"),
        AttemptRecord(token=2, worker="worker-2", assigned_at=0.0, cause=Cause.SIGNAL, message="SIGSEGV again"),
    ),
)


def ended_by(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(typer.Exit) as told, output.exits():
        raise error
    said = capsys.readouterr()
    return told.value.exit_code, said.out, said.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.JobFailed("died", failure=DIED), 1),
        (errors.JobFailed("bad", failure=BAD), 2),
        (errors.JobFailed("job job-1 was cancelled"), 1),
        (errors.InvalidRequest([FieldViolation("spec.algorithm", "no such one")]), 2),
        (errors.BadInput("an empty file"), 2),
        (errors.NotFound("there is no job"), 2),
        (errors.AlreadyExists("there is one"), 2),
        (errors.FailedPrecondition("it runs"), 2),
        (errors.Unavailable("no server answers"), 3),
        (errors.TensorFleetError("something"), 1),
        (OSError("disk full"), 1),
        (KeyboardInterrupt(), 130),
        (asyncio.CancelledError(), 130),
    ],
)
def test_exit_codes_that_scripts_can_trust(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    found, out, err = ended_by(error, capsys)
    assert (found, out) == (code, "")
    assert err.strip()
    assert "Traceback" not in err


def test_every_bad_field_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    bad = [FieldViolation("spec.algorithm", "no [such] one"), FieldViolation("spec.dataset", "expected one")]
    _, _, err = ended_by(errors.InvalidRequest(bad), capsys)
    assert "  algorithm: no [such] one\n" in err
    assert "  dataset: expected one\n" in err


def test_a_failure_tells_where_and_each_attempt(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = ended_by(errors.JobFailed("the slot died", failure=DIED), capsys)
    assert "in fit/2: the slot died (SIGNAL)" in err
    assert "attempt 2 on worker-2: signal, SIGSEGV again" in err


def test_attempts_that_failed_alike_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    again = structs.replace(DIED, attempts=(DIED.attempts[0], *DIED.attempts))
    _, _, err = ended_by(errors.JobFailed("the slot died", failure=again), capsys)
    assert "  attempts 1 to 2, each on worker-1: signal, SIGSEGV\n" in err
    assert "  attempt 3 on worker-2: signal, SIGSEGV again" in err


def test_what_ends_well_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with output.exits():
        pass
    assert capsys.readouterr() == ("", "")


def test_times_are_iso_8601_in_utc_and_what_is_no_number_is_null() -> None:
    job = JobInfo(
        id="job-1",
        state=JobState.SUCCEEDED,
        spec=JobSpec(),
        tasks=TaskCounts(total=2),
        metrics={"accuracy": 0.5, "log_loss": float("nan")},
        model=ModelSummary(name="m", version="v1", display_name="M", algorithm="ridge", sha256="ab"),
        created_at=1_700_000_000.25,
    )
    told = output.plain(job)
    assert told["created_at"] == "2023-11-14T22:13:20.250Z"
    assert (told["started_at"], told["ended_at"]) == (None, None)
    assert told["metrics"] == {"accuracy": 0.5, "log_loss": None}
    assert told["model"]["version"] == "v1"
    assert told["state"] == "succeeded"
    assert output.plain([LogLine(1_700_000_000, "stdout", "x")])[0]["time"].endswith("Z")


@pytest.mark.parametrize(
    ("show", "given", "shown"),
    [
        (output.span, 0.0421, "42 ms"),
        (output.span, 3.14159, "3.1 s"),
        (output.span, 119.0, "119 s"),
        (output.span, 600.0, "10 min"),
        (output.span, None, "-"),
        (output.size, 0, "0 B"),
        (output.size, 1536, "1.5 KiB"),
        (output.number, 0.96666, "0.9667"),
        (output.number, 1.5e-7, "1.5e-07"),
        (output.number, 3, "3"),
    ],
)
def test_figures_for_people(show: Callable[[object], str], given: object, shown: str) -> None:
    assert show(given) == shown


def test_what_users_named_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table(["name", ">rows"], [["[red]mine[/red]", 3]], empty="none")
    output.show_facts({"Dataset": "[bold]x", "Empty": "", "Zero": 0})
    said = capsys.readouterr().out
    assert "[red]mine[/red]" in said
    assert "[bold]x" in said
    assert "Empty" not in said


def test_no_rows_are_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table(["name"], [], empty="No models yet.")
    assert capsys.readouterr().out == "No models yet.\n"


def test_a_job_shows_what_it_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = (BlockRows(0, 700, "0" * 16), BlockRows(3, 500, "1" * 16))
    trained = (Trained(0, 9, blocks), Trained(10, 10, blocks[:1]))
    _show(JobInfo(id="j", state=JobState.SUCCEEDED, spec=JobSpec(), tasks=TaskCounts(total=2), trained=trained))
    assert "1,200 rows of 2 blocks in each of 10 epochs, 700 rows of 1 block in one epoch" in capsys.readouterr().out


def test_parameters_that_are_as_they_are_by_default_are_not_told() -> None:
    given = {**catalog.algorithm("cnn").defaults(), "epochs": 3, "filters": [8]}
    assert output.parameters(given, "cnn") == "epochs=3, filters=[8], the others by default"
    assert output.parameters(catalog.algorithm("svm").defaults(), "svm") == "all by default"
    assert output.parameters({"depth": 2}, "of_a_plugin_elsewhere") == "depth=2"
    assert output.parameters({}, "") == ""
