"""What keeps a blob, and which known results stay."""

from orchestrator.core import events as e
from orchestrator.core.reach import Bounds, Known, held_by_ended, held_by_jobs, in_hand_since, to_forget
from tensorfleet.model import DatasetContent, JobResult, JobState, ModelContent, Ref, Resolved
from tests.simulation.fleet import Fleet, info, spec
from tests.simulation.plans import result_of

NOW = 1_000_000.0
WIDE = Bounds(age=1000.0, size=10_000, count=100)


def blob(name: str, size: int = 1) -> Ref:
    return Ref(name, size)


def known(key: str, ago: float, *outputs: Ref, job: str = "j") -> Known:
    return Known(key, NOW - ago, job, outputs)


def forgotten(*results: Known, bounds: Bounds = WIDE, registered: set[str] = set(), active: set[str] = set()) -> str:  # noqa: B006
    gone = to_forget(results, bounds, NOW, registered=registered, active=active)
    return "".join(sorted(each.key for each in gone))


def test_a_running_job_holds_what_it_reads_and_what_it_made(core: Fleet) -> None:
    core.join(info("w", slots=2))
    resolved = Resolved(dataset=(blob("d"),), validation=(blob("v"),), model=(blob("m"),), upload=blob("u"))
    core.ask(e.SubmitJobs, (e.Submission("j", "", spec(("read", 1), ("fit", 2)), resolved),))
    made = [result_of(core.task(core.state.attempts[core.tokens()[0]]))]
    core.finish(core.tokens()[0])
    first = core.tokens()[0]
    made.append(result_of(core.task(core.state.attempts[first])))
    core.finish(first)
    held = {ref.digest for ref in held_by_jobs(core.state)}
    assert held == {"d", "v", "m", "u", *(ref.digest for result in made for ref in result.outputs)}
    core.run_all()
    assert list(held_by_jobs(core.state)) == []


def test_what_jobs_hold_is_told_though_they_end_meanwhile(core: Fleet) -> None:
    core.join(info("w"))
    core.submit("j", spec(("read", 1), ("fit", 1)))
    core.finish(core.tokens()[0])
    before, held = list(held_by_jobs(core.state)), held_by_jobs(core.state)
    core.run_all()
    assert set(before) <= set(held)
    assert before


def test_the_oldest_attempt_says_since_when_something_may_have_been_put(core: Fleet) -> None:
    assert in_hand_since(core.state) is None
    core.join(info("w", slots=2))
    core.submit("j", spec(("fit", 1)))
    began = core.wall
    core.sleep(5.0, beating=("w",))
    core.submit("k", spec(("fit", 1), recipe="k"))
    assert in_hand_since(core.state) == began
    core.finish(core.tokens("j")[0])
    assert in_hand_since(core.state) == began + 5.0


def test_an_ended_job_holds_its_outputs_or_what_it_was_sent() -> None:
    resolved = Resolved(dataset=(blob("d"),), upload=blob("u"))
    model = ModelContent(sha256="m", parts=(blob("m"),), features=(), target="")
    dataset = DatasetContent(refs=(blob("n"),), rows=1, target="", columns=[])
    result = JobResult(outputs=(blob("o"),), model=model, dataset=dataset)
    assert list(held_by_ended(JobState.SUCCEEDED, resolved, result)) == [blob("o")]
    for state in (JobState.FAILED, JobState.CANCELLED):
        assert list(held_by_ended(state, resolved, None)) == [blob("u")]
    assert list(held_by_ended(JobState.FAILED, Resolved(dataset=(blob("d"),)), None)) == []


def test_results_within_their_bounds_stay() -> None:
    assert forgotten(known("a", 10, blob("x")), known("b", 999, blob("y"))) == ""


def test_results_unused_for_long_go() -> None:
    assert forgotten(known("a", 10, blob("x")), known("b", 1000, blob("y")), known("c", 2000)) == "bc"


def test_the_least_recently_used_make_room() -> None:
    results = [known(key, ago, blob(key, 400)) for key, ago in (("c", 30), ("a", 10), ("b", 20))]
    assert forgotten(*results, bounds=Bounds(age=1000.0, size=800, count=100)) == "c"
    assert forgotten(*results, bounds=Bounds(age=1000.0, size=10_000, count=1)) == "bc"
    assert forgotten(*results, bounds=Bounds(age=0.0, size=10_000, count=100)) == "abc"


def test_a_shared_blob_counts_once() -> None:
    results = [known("a", 10, blob("x", 600)), known("b", 20, blob("x", 600))]
    assert forgotten(*results, bounds=Bounds(age=1000.0, size=1000, count=100)) == ""


def test_parts_of_models_stay_known_and_cost_nothing() -> None:
    results = [known("a", 5000, blob("part", 900)), known("b", 5000, blob("part"), blob("x")), known("c", 5000)]
    assert forgotten(*results, registered={"part"}) == "bc"
    half = [known("a", 10, blob("part", 900), blob("x", 200)), known("b", 20, blob("y", 700))]
    tight = Bounds(age=1000.0, size=1000, count=100)
    assert forgotten(*half, registered={"part"}, bounds=tight) == ""
    assert forgotten(*half, bounds=tight) == "ab"


def test_results_of_a_running_job_stay() -> None:
    assert forgotten(known("a", 5000, blob("x"), job="running"), known("b", 5000, blob("y")), active={"running"}) == "b"
