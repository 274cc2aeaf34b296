"""Plans of faults: a seed says all, and each strikes while the job runs."""

from tensorfleet.testing.faults import POSSIBLE, Fault, Setting, plan

TASKS = 15


def test_a_seed_has_one_plan_and_seeds_differ() -> None:
    assert [plan(seed, TASKS) for seed in range(50)] == [plan(seed, TASKS) for seed in range(50)]
    assert len({str(plan(seed, TASKS)) for seed in range(50)}) == 50


def test_plans_cover_every_fault_of_every_setting_and_strike_before_the_job_ends() -> None:
    seen: dict[Setting, set[Fault]] = {setting: set() for setting in Setting}
    for seed in range(400):
        one = plan(seed, TASKS)
        assert 1 <= len(one.strikes) <= 4
        assert all(1 <= strike.after < 2 * TASKS - 1 for strike in one.strikes)
        assert list(one.strikes) == sorted(one.strikes, key=lambda strike: strike.after)
        seen[one.setting] |= {strike.fault for strike in one.strikes}
    assert seen == {setting: set(faults) for setting, faults in POSSIBLE.items()}
    assert set(Fault) == set().union(*POSSIBLE.values())


def test_a_victim_is_one_of_those_there_are() -> None:
    strikes = [strike for seed in range(100) for strike in plan(seed, TASKS).strikes]
    for count in (1, 2, 7):
        assert {strike.choose(count) for strike in strikes} == set(range(count))
