"""Restarts of the orchestrator: the journal or a snapshot gives the state back, and running work goes on."""

import pytest
from msgspec.structs import replace

from orchestrator.core import events as e
from orchestrator.core.commands import Welcome
from orchestrator.core.snapshot import capture, restore
from tensorfleet.model import JobState, RetryPolicy, WorkerState
from tests.simulation.fleet import Fleet, info, said, spec

both = pytest.mark.parametrize("snapshot", [False, True], ids=["journal", "snapshot"])


@both
def test_running_attempts_go_on(core: Fleet, snapshot: bool) -> None:
    core.join(info("w", slots=2))
    core.submit("j", spec(("fit", 4)))
    held = core.tokens()
    core.restart(snapshot=snapshot)
    assert core.state.workers["w"].state == WorkerState.SUSPECT
    (welcome,) = said(core.join(info("w", slots=2), held=dict.fromkeys(held, True)), Welcome)
    assert welcome.keep == tuple(held)
    assert core.tokens() == held
    core.run_all()
    assert (core.job("j").state, core.job("j").run) == (JobState.SUCCEEDED, 4)


@both
def test_none_is_given_away_before_its_worker_had_time_to_come_back(core: Fleet, snapshot: bool) -> None:
    core.join(info("w"))
    core.submit("j", spec())
    core.restart(snapshot=snapshot)
    core.join(info("other"))
    core.sleep(core.settings.restart_grace - 0.5, beating=("other",))
    assert core.where("j") == {0: "w"}
    core.sleep(1.0, beating=("other",))
    assert core.where("j") == {0: "other"}


@both
def test_tokens_of_a_new_term_are_new(core: Fleet, snapshot: bool) -> None:
    core.join(info("w", slots=2))
    core.submit("j", spec(("fit", 4)))
    before = core.tokens()
    core.restart(snapshot=snapshot)
    core.join(info("w", slots=2))
    assert min(core.tokens()) > max(before)


@both
def test_an_end_from_before_counts_after(core: Fleet, snapshot: bool) -> None:
    core.join(info("w"))
    core.submit("j", spec())
    (token,) = core.tokens()
    core.restart(snapshot=snapshot)
    core.join(info("w"), finished=(token,))
    core.finish(token)
    assert core.job("j").state == JobState.SUCCEEDED


@both
def test_an_open_look_up_is_asked_again(core: Fleet, snapshot: bool) -> None:
    core.join(info("w"))
    core.submit_unanswered("j", spec())
    core.restart(snapshot=snapshot)
    core.join(info("w"))
    assert core.where("j") == {0: "w"}


@both
def test_nothing_pending_is_lost_or_doubled(core: Fleet, snapshot: bool) -> None:
    """Tasks in every way of waiting: given back, in a backoff, never assigned, running, done."""
    core.join(info("w", slots=6))
    core.submit("j", spec(("fit", 12), retry=RetryPolicy(backoff=5.0)))
    tokens = core.tokens()
    core.finish(tokens[4])
    core.fail(tokens[3])
    core.ask(e.DrainWorker, "w")
    core.tell(e.Released("w", core.session("w"), tokens[1]), e.Released("w", core.session("w"), tokens[5]))
    held = dict.fromkeys(core.tokens(), True)
    core.restart(snapshot=snapshot)
    core.join(info("w", slots=6), held=held)
    core.join(info("w2", slots=3))
    assert sorted(core.where("j")) == [0, 1, 2, 5, 6, 7, 8]
    for _ in range(20):
        core.run_all()
        core.sleep(1.0, beating=("w", "w2"))
    assert (core.job("j").state, core.job("j").run) == (JobState.SUCCEEDED, 12)


@both
def test_a_backoff_is_waited_out_anew(core: Fleet, snapshot: bool) -> None:
    core.join(info("w"))
    core.submit("j", spec(retry=RetryPolicy(backoff=5.0)))
    core.fail(core.tokens()[0])
    core.restart(snapshot=snapshot)
    core.join(info("w"))
    assert core.tokens() == []
    core.sleep(4.5, beating=("w",))
    assert core.tokens() == []
    core.sleep(1.0, beating=("w",))
    assert core.where("j") == {0: "w"}


@both
def test_budgets_outlive_the_orchestrator(core: Fleet, snapshot: bool) -> None:
    core.join(info("w"))
    core.submit("j", spec(retry=RetryPolicy(max_attempts=2, backoff=0.0)))
    core.fail(core.tokens()[0])
    core.restart(snapshot=snapshot)
    core.join(info("w"))
    core.tell(e.Tick())
    core.fail(core.tokens()[0])
    assert core.job("j").state == JobState.FAILED


@both
def test_names_outlive_the_orchestrator(core: Fleet, snapshot: bool) -> None:
    core.join(info("w"))
    core.submit("j", spec(model_name="m"))
    core.run_all()
    (version,) = core.state.models["m"]
    core.ask(e.SetAlias, "m", "production", version)
    core.restart(snapshot=snapshot)
    assert core.state.models == {"m": {version: None}}
    assert core.state.aliases == {"m": {"production": version}}


@both
def test_who_was_lost_is_still_known(core: Fleet, snapshot: bool) -> None:
    core.join(info("w"))
    core.tell(e.Leaving("w", core.session("w"), "told to"))
    core.restart(snapshot=snapshot)
    assert core.state.workers["w"].state == WorkerState.LEFT


def test_a_snapshot_of_a_snapshot_is_the_same(core: Fleet) -> None:
    core.join(info("w", slots=3, credit=5))
    core.submit("j", spec(("fit", 9), ("finish", 1)))
    core.submit("k", spec(("fit", 2), recipe="k"))
    core.fail(core.tokens()[1])
    core.finish(core.tokens()[0])
    image = capture(core.state)
    assert capture(restore(image, core.settings, core.mono)) == image


def test_a_commit_that_was_lost_never_happened(core: Fleet) -> None:
    core.join(info("w"))
    before, durable = capture(core.state), len(core.journal)
    core.submit("j", spec())
    del core.journal[durable:]
    assert capture(core.replayed()) == before


def test_a_snapshot_remembers_the_requests_that_were_remembered(core: Fleet) -> None:
    """Also where a job that still runs is older than all of them."""
    core.settings = core.state.settings = replace(core.settings, remember_requests=2)
    for number in range(4):
        core.submit(f"j{number}", spec(), request_id=f"r{number}")
    assert list(core.state.requests) == ["r2", "r3"]
    core.restart(snapshot=True)
    assert core.state.requests == {"r2": "j2", "r3": "j3"}
