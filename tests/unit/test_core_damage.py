"""Inputs that are damaged or gone, in the core: looked at, made again where the job made them, else failed by name."""

import pytest

from orchestrator.core import events as e
from orchestrator.core import records as r
from orchestrator.core.commands import Cancel, Inspect
from orchestrator.core.entries import decode
from orchestrator.core.state import Settings
from tensorfleet.model import Cause, JobState, Ref, Resolved, RetryPolicy
from tests.simulation.fleet import Fleet, info, said, spec

FIT = (("read", 2), ("fit", 3))


@pytest.fixture
def fitting(core: Fleet) -> Fleet:
    """A job `j` whose second stage runs on two of three slots' worth of workers."""
    core.join(info("w", slots=2))
    core.submit("j", spec(*FIT))
    for token in core.tokens():
        core.remember("j")
        core.finish(token)
    assert core.stage("j").stage.name == "fit"
    return core


def lose(core: Fleet, *lost: str) -> list[Inspect]:
    """An attempt of `j` cannot have an input; what is looked at, and what is found lost."""
    asked = said(core.fail(core.tokens("j")[0], Cause.LOST_INPUT, started=False), Inspect)
    for each in asked:
        core.known = {
            key: result
            for key, result in (core.known or {}).items()
            if not any(ref.digest in lost for ref in result.outputs)
        }
        core.tell(e.Inspected(each.job, lost))
    return asked


def made(core: Fleet) -> list[str]:
    return [ref.digest for stage in core.job("j").done for result in stage.results for ref in result.outputs]


def test_what_an_attempt_could_not_have_is_looked_at(fitting: Fleet) -> None:
    (asked,) = lose(fitting)
    assert [ref.digest for ref in asked.refs] == made(fitting)
    assert fitting.job("j").restarts == 0
    fitting.sleep(2.0, beating=("w",))
    fitting.run_all()
    assert fitting.job("j").state == JobState.SUCCEEDED
    assert fitting.job("j").run == 5


def test_what_the_job_had_made_is_made_again_and_nothing_else(fitting: Fleet) -> None:
    lost = made(fitting)[1]
    done = fitting.fail(fitting.tokens("j")[0], Cause.LOST_INPUT, started=False)
    assert said(done, Inspect)
    running = fitting.tokens("j")
    fitting.known = {key: known for key, known in (fitting.known or {}).items() if known.outputs[0].digest != lost}
    stopped = fitting.tell(e.Inspected("j", (lost,)))
    assert [token for command in said(stopped, Cancel) for token in command.tokens] == running
    job = fitting.job("j")
    assert (job.state, job.restarts, job.reused, job.run) == (JobState.RUNNING, 1, 1, 0)
    assert fitting.where("j") == {1: "w"}
    fitting.run_all()
    assert job.state == JobState.SUCCEEDED
    assert (job.run, job.reused) == (4, 1)


def test_a_job_begins_again_once_for_one_loss(fitting: Fleet) -> None:
    """Its attempts all ask; whoever asks late finds it begun again."""
    lost = made(fitting)[0]
    lose(fitting, lost)
    assert fitting.job("j").restarts == 1
    fitting.tell(e.Inspected("j", (lost,)))
    assert fitting.job("j").restarts == 1


def test_a_job_that_ended_is_left_alone(fitting: Fleet) -> None:
    lost = made(fitting)[0]
    fitting.cancel("j")
    fitting.tell(e.Inspected("j", (lost,)))
    assert fitting.job("j").state == JobState.CANCELLED


def test_it_begins_again_only_so_often(core: Fleet) -> None:
    core.settings = Settings(restarts=2)
    core.state.settings = core.settings
    core.join(info("w"))
    core.submit("j", spec(("read", 1), ("fit", 1)))
    for _ in range(3):
        core.finish(core.tokens()[0])
        lose(core, made(core)[0])
    failure = core.job("j").failure
    assert failure is not None
    assert (core.job("j").state, failure.cause, failure.code) == (JobState.FAILED, Cause.LOST_INPUT, 15)
    assert "after 2 new beginnings" in failure.message


@pytest.mark.parametrize(
    ("resolved", "says"),
    [
        (Resolved(dataset=(Ref("lost", 9),)), "the dataset sales is damaged or gone: add it again"),
        (Resolved(validation=(Ref("lost", 9),)), "the dataset checks is damaged or gone: add it again"),
        (Resolved(model=(Ref("lost", 9),)), "the model m@v1 is damaged or gone: train it again"),
        (Resolved(upload=Ref("lost", 9)), "what was sent as sales is damaged or gone: send it again"),
    ],
)
def test_what_a_job_was_given_fails_it_by_name(core: Fleet, resolved: Resolved, says: str) -> None:
    core.join(info("w"))
    what = spec(dataset="sales", validation_dataset="checks", model="m@v1")
    core.ask(e.SubmitJobs, (e.Submission("j", "", what, resolved),))
    lose(core, "lost")
    failure = core.job("j").failure
    assert failure is not None
    assert (failure.reason, failure.code) == ("INPUT_LOST", 15)
    assert says in failure.message


def test_an_input_that_cannot_be_had_though_it_is_there_ends_in_time(core: Fleet) -> None:
    """The machines are to blame, so it is their budget and not the task's."""
    core.join(info("w"))
    core.submit("j", spec(("fit", 1), retry=RetryPolicy(max_attempts=1, backoff=0.0)))
    for _ in range(core.settings.deaths):
        assert core.job("j").state.ended is False
        lose(core)
    failure = core.job("j").failure
    assert failure is not None
    assert (failure.cause, failure.code) == (Cause.LOST_INPUT, 15)
    assert "quarantined" in failure.message


def test_a_new_beginning_outlives_a_restart(fitting: Fleet) -> None:
    for snapshot in (False, True):
        lost = made(fitting)[0]
        lose(fitting, lost)
        before = fitting.job("j").restarts
        fitting.restart(snapshot=snapshot)
        fitting.join(info("w", slots=2), held=dict.fromkeys(fitting.tokens("j"), True))
        job = fitting.job("j")
        assert (job.restarts, job.retried) == (before, True)
        while fitting.stage("j").stage.name == "read":
            fitting.finish(fitting.tokens("j")[0])
    fitting.run_all()
    assert fitting.job("j").state == JobState.SUCCEEDED


def test_training_anew_still_keeps_what_this_job_made(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("read", 2), ("fit", 1), ignore_known_results=True))
    core.finish(core.tokens()[0])
    core.remember("j")
    core.finish(core.tokens()[0])
    lose(core, made(core)[1])
    assert core.job("j").reused == 1
    core.run_all()
    assert core.job("j").run == 2
    kinds = [type(record) for entry in core.journal for record in decode(entry)]
    assert kinds.count(r.JobRestarted) == 1
