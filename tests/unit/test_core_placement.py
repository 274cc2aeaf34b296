"""Placement in the core: who gets what, in which order, and why another does not."""

import pytest

from orchestrator.core import events as e
from orchestrator.core.commands import Assign, Recall
from orchestrator.core.explaining import why_pending
from tensorfleet.model import Resources
from tests.simulation.fleet import Fleet, assigned, info, said, spec
from tests.simulation.plans import resolved_inputs


def running(core: Fleet) -> dict[str, int]:
    return {job: core.job(job).running for job in core.state.active}


class TestOrder:
    def test_higher_priority_first(self, core: Fleet) -> None:
        core.submit("low", spec(("fit", 4), priority=0))
        core.submit("high", spec(("fit", 4), priority=5))
        core.join(info("w", slots=2))
        assert running(core) == {"low": 0, "high": 2}

    def test_submitters_share_evenly(self, core: Fleet) -> None:
        core.submit("a1", spec(("fit", 9), submitter="ann"))
        core.submit("a2", spec(("fit", 9), submitter="ann", recipe="2"))
        core.submit("b1", spec(("fit", 9), submitter="bob", recipe="3"))
        core.join(info("w", slots=4))
        assert running(core) == {"a1": 2, "a2": 0, "b1": 2}

    def test_a_share_is_made_up_as_slots_come_free(self, core: Fleet) -> None:
        core.join(info("w", slots=4))
        core.submit("a", spec(("fit", 20), submitter="ann"))
        core.submit("b", spec(("fit", 20), submitter="bob", recipe="b"))
        assert running(core) == {"a": 4, "b": 0}
        for token in core.tokens()[:2]:
            core.finish(token)
        assert running(core) == {"a": 2, "b": 2}

    def test_the_older_of_a_submitters_jobs_first(self, core: Fleet) -> None:
        core.submit("old", spec(("fit", 2)))
        core.submit("new", spec(("fit", 2), recipe="new"))
        core.join(info("w", slots=2))
        assert running(core) == {"old": 2, "new": 0}

    def test_a_job_that_fits_nowhere_holds_up_nobody(self, core: Fleet) -> None:
        core.submit("big", spec(priority=9, resources=Resources(gpus=4)))
        core.submit("small", spec(recipe="small"))
        core.join(info("w"))
        assert running(core) == {"big": 0, "small": 1}


class TestFit:
    @pytest.mark.parametrize(
        ("needs", "reason"),
        [
            (Resources(cpus=99), "has 8 processors, needs 99"),
            (Resources(memory=99), "has 64 bytes of memory, needs 99"),
            (Resources(gpus=1), "has 0 GPUs, needs 1"),
            (Resources(labels={"zone": "b"}), "lacks the label zone=b"),
        ],
    )
    def test_a_worker_that_lacks_something_is_passed_over(self, core: Fleet, needs: Resources, reason: str) -> None:
        core.join(info("w", labels={"zone": "a"}))
        core.submit("j", spec(resources=needs))
        assert core.tokens() == []
        assert reason in why_pending(core.state, core.job("j"))
        core.join(info("able", cpus=99, memory=99, gpus=1, labels={"zone": "b"}))
        assert core.where("j") == {0: "able"}

    def test_an_unfit_worker_gets_nothing_until_it_is_fit(self, core: Fleet) -> None:
        core.join(info("full"))
        core.beat("full", unfit="its disk is full")
        core.submit("j", spec(("fit", 2)))
        assert core.tokens() == []
        assert "its disk is full" in why_pending(core.state, core.job("j"))
        core.join(info("w"))
        assert core.where("j") == {0: "w"}
        core.beat("full")
        assert core.where("j") == {0: "w", 1: "full"}

    def test_memory_is_shared_by_what_runs(self, core: Fleet) -> None:
        core.join(info("w", slots=4, memory=100))
        core.submit("j", spec(("fit", 4), resources=Resources(memory=40)))
        assert len(core.tokens()) == 2
        assert "taken the memory" in why_pending(core.state, core.job("j"))

    def test_gpus_are_shared_by_what_runs(self, core: Fleet) -> None:
        core.join(info("w", slots=4, gpus=3))
        core.submit("j", spec(("fit", 4), resources=Resources(gpus=1)))
        assert len(core.tokens()) == 3

    def test_a_job_keeps_to_its_numerics(self, core: Fleet) -> None:
        core.join(info("w", fingerprint="avx2"))
        core.submit("j", spec(("fit", 3)))
        core.join(info("other", fingerprint="avx512"))
        assert set(core.where("j").values()) == {"w"}
        core.ask(e.DrainWorker, "w")
        assert "has other numerics" in why_pending(core.state, core.job("j"))

    def test_a_job_goes_where_its_engine_is(self, core: Fleet) -> None:
        core.join(info("plain"))
        core.submit("j", spec(("fit", 2)), requires=("tensorflow",))
        assert core.tokens() == []
        why = why_pending(core.state, core.job("j"))
        assert "has no tensorflow" in why
        assert "pip install 'tensorfleet[tensorflow]'" in why
        core.join(info("able", slots=2, capabilities=("tensorflow==2.21.0",)))
        assert core.where("j") == {0: "able", 1: "able"}

    def test_a_job_keeps_to_one_version_of_its_engine(self, core: Fleet) -> None:
        core.join(info("w", capabilities=("tensorflow==2.21.0",)))
        core.join(info("newer", capabilities=("tensorflow==2.22.0", "torch==3")))
        core.submit("j", spec(("fit", 3)), requires=("tensorflow",))
        assert len(set(core.where("j").values())) == 1
        assert core.job("j").fingerprint in ("cpu+tensorflow=2.21.0", "cpu+tensorflow=2.22.0")

    def test_a_job_that_requires_nothing_runs_alike_with_and_without_engines(self, core: Fleet) -> None:
        core.join(info("w", capabilities=("tensorflow==2.21.0",)))
        core.join(info("plain"))
        core.submit("j", spec(("fit", 2)))
        assert set(core.where("j").values()) == {"w", "plain"}
        assert core.job("j").fingerprint == "cpu"

    def test_a_job_that_needs_an_engine_holds_up_nobody(self, core: Fleet) -> None:
        core.submit("first", spec(), requires=("tensorflow",))
        core.submit("second", spec())
        core.join(info("plain"))
        assert running(core) == {"first": 0, "second": 1}

    def test_a_job_runs_on_no_more_workers_than_it_allows(self, core: Fleet) -> None:
        for name in ("w1", "w2", "w3"):
            core.join(info(name, slots=2))
        core.submit("j", spec(("fit", 9), workers=2))
        assert len(set(core.where("j").values())) == 2
        assert len(core.tokens()) == 4
        assert "the most that its spec allows" in why_pending(core.state, core.job("j"))


class TestChoice:
    def test_the_emptiest_first(self, core: Fleet) -> None:
        core.join(info("small", slots=1))
        core.join(info("large", slots=3))
        core.submit("j", spec(("fit", 2)))
        assert core.where("j") == {0: "large", 1: "large"}

    def test_rather_where_the_inputs_are(self, core: Fleet) -> None:
        what = spec(dataset="d")
        core.join(info("large", slots=3))
        core.join(info("warm"), cached=tuple(ref.digest for ref in resolved_inputs(what)))
        core.submit("j", what)
        assert core.where("j") == {0: "warm"}

    def test_heartbeats_tell_what_is_cached(self, core: Fleet) -> None:
        what = spec(dataset="d")
        core.join(info("large", slots=3))
        core.join(info("warm"))
        core.beat("warm", cached=tuple(ref.digest for ref in resolved_inputs(what)))
        core.submit("j", what)
        assert core.where("j") == {0: "warm"}

    def test_a_slot_outweighs_a_warm_cache(self, core: Fleet) -> None:
        what = spec(("fit", 3), dataset="d")
        core.join(info("warm", credit=9), cached=tuple(ref.digest for ref in resolved_inputs(what)))
        core.submit("j", what)
        core.finish(core.tokens()[0], duration=0.01)  # tasks are short, so they are sent ahead
        assert core.where("j") == {1: "warm", 2: "warm"}


class TestAhead:
    def short_tasks(self, core: Fleet, count: int, **rest: int) -> None:
        core.join(info("w1", slots=1, credit=4))
        core.submit("j", spec(("fit", count), **rest))
        core.finish(core.tokens()[0], duration=0.01)

    def test_short_tasks_are_sent_ahead_as_far_as_the_credit_goes(self, core: Fleet) -> None:
        self.short_tasks(core, 9)
        assert len(core.tokens(worker="w1")) == 4

    @pytest.mark.parametrize(("seconds", "held"), [(5.0, 2), (59.0, 2), (61.0, 1)])
    def test_of_longer_tasks_one_is_and_of_very_long_ones_none(self, core: Fleet, seconds: float, held: int) -> None:
        core.join(info("w1", slots=1, credit=4))
        core.submit("j", spec(("fit", 9)))
        core.finish(core.tokens()[0], duration=seconds)
        assert len(core.tokens(worker="w1")) == held

    def test_several_go_along_in_one_assignment(self, core: Fleet) -> None:
        core.join(info("w1", slots=2, credit=40))
        core.submit("j", spec(("fit", 100)))
        done = core.finish(core.tokens()[0], duration=0.01)
        _, run = said(done, Assign)  # its free slots come first, then what waits
        assert list(run.indexes) == list(range(3, 41))
        assert [task.params["index"] for task in run.tasks] == list(run.indexes)
        assert core.tokens()[2:] == list(range(run.token, run.token + len(run.indexes)))

    def test_each_worker_has_its_part_of_what_goes_ahead(self, core: Fleet) -> None:
        for name in ("w1", "w2"):
            core.join(info(name, slots=1, credit=40))
        core.submit("j", spec(("fit", 23)))
        core.finish(core.tokens()[0], duration=0.01)
        assert abs(len(core.tokens(worker="w1")) - len(core.tokens(worker="w2"))) <= 2

    def test_submitters_still_take_turns(self, core: Fleet) -> None:
        core.join(info("w1", slots=1, credit=9))
        for name in ("a", "b"):
            core.submit(name, spec(("fit", 20), submitter=name))
        core.finish(core.tokens()[0], duration=0.01)
        core.finish(core.tokens()[0], duration=0.01)
        assert len(core.tokens("a")) - len(core.tokens("b")) in (-1, 0, 1)

    def test_what_was_sent_ahead_is_asked_back_for_an_idle_worker(self, core: Fleet) -> None:
        self.short_tasks(core, 5)
        tokens = core.tokens(worker="w1")
        core.begin(tokens[0])
        done = core.join(info("w2"))
        assert [token for command in said(done, Recall) for token in command.tokens] == [tokens[-1]]
        assert core.tokens(worker="w2") == []  # only when it is given back may another have it
        done = core.tell(e.Released("w1", core.session("w1"), tokens[-1]))
        assert assigned(done) == [("w2", "j", 4)]

    def test_as_much_is_asked_back_as_evens_both_out(self, core: Fleet) -> None:
        core.join(info("w1", slots=1, credit=9))
        core.submit("j", spec(("fit", 10)))
        core.finish(core.tokens()[0], duration=0.01)
        tokens = core.tokens(worker="w1")
        core.begin(tokens[0])
        done = core.join(info("w2", slots=1, credit=9))
        assert [token for command in said(done, Recall) for token in command.tokens] == tokens[:4:-1]

    def test_it_is_asked_back_once(self, core: Fleet) -> None:
        self.short_tasks(core, 3)
        core.begin(core.tokens()[0])
        assert len(said(core.join(info("w2")), Recall)) == 1
        assert said(core.beat("w2"), Recall) == []

    def test_what_began_meanwhile_goes_on(self, core: Fleet) -> None:
        self.short_tasks(core, 3)
        core.begin(core.tokens()[0])
        core.join(info("w2"))
        recalled = core.tokens()[-1]
        core.begin(recalled)
        core.finish(recalled)
        assert core.job("j").run == 2

    def test_it_is_not_asked_back_for_a_worker_that_may_not_have_it(self, core: Fleet) -> None:
        self.short_tasks(core, 5, workers=1)
        core.begin(core.tokens()[0])
        assert said(core.join(info("w2")), Recall) == []


class TestWhy:
    def why(self, core: Fleet) -> str:
        return why_pending(core.state, core.job("j"))

    def test_no_worker(self, core: Fleet) -> None:
        core.submit("j", spec())
        assert "worker join" in self.why(core)

    def test_workers_that_are_away(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit("j", spec())
        core.lose("w")
        assert "1 worker is away" in self.why(core)

    def test_known_results(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit_unanswered("j", spec())
        assert "looked up" in self.why(core)

    def test_all_is_running(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit("j", spec())
        assert "1 task is running" in self.why(core)

    def test_every_slot_is_busy(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit("first", spec())
        core.submit("j", spec(recipe="j"))
        assert "busy" in self.why(core)

    def test_a_backoff(self, core: Fleet) -> None:
        core.join(info("w"))
        core.submit("j", spec())
        core.fail(core.tokens()[0])
        assert "backoff" in self.why(core)


def test_an_assignment_says_all_that_the_worker_needs(core: Fleet) -> None:
    core.submit("j", spec(dataset="d", task_timeout=12.0, resources=Resources(gpus=1)))
    (order,) = said(core.join(info("w", gpus=1)), Assign)
    assert (order.job, order.stage, order.indexes, order.timeout, order.gpus) == ("j", "fit", (0,), 12.0, 1)
    assert order.tasks[0].inputs == resolved_inputs(spec(dataset="d"))
    assert order.session == core.session("w")
