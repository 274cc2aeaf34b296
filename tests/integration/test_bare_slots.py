"""Slots without numerics, and slots that rest: a process is there when it is needed, and has what is needed there."""

import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.processes import gone
from tests.integration.test_slots import Bench
from worker import slots as module
from worker.launch import launch_zygote
from worker.messages import Died, Succeeded
from worker.slots import Limits, Slots

NOTHING = "noop.run@1"


@pytest_asyncio.fixture
async def made(tmp_path: Path, probes: None) -> AsyncIterator[Callable[[], Bench]]:
    benches: list[Bench] = []

    def make() -> Bench:
        benches.append(Bench(Slots(Limits(slots=1), launch_zygote()), tmp_path))
        return benches[-1]

    yield make
    for bench in benches:
        await bench.slots.close()


async def there(bench: Bench) -> int:
    """The process of the only slot, once it has one."""
    await bench.until(lambda: bool(bench.pids.get(0)))
    return bench.pids[0]


def has_numerics(pid: int) -> bool:
    return "sklearn" in Path(f"/proc/{pid}/maps").read_text()


async def test_what_needs_no_numerics_runs_without_them_and_the_rest_with(
    made: Callable[[], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRELOAD_AFTER", math.inf)
    bench = made()
    first, second = bench.start(NOTHING)[1], bench.start(NOTHING)[1]
    bare = await there(bench)
    assert isinstance(await first, Succeeded)
    assert isinstance(await second, Succeeded)
    assert bench.pids[0] == bare
    assert not has_numerics(bare)
    done = await bench.run("draw")
    assert isinstance(done, Succeeded)
    assert has_numerics(bench.pids[0])
    await gone(bare)
    warm = bench.pids[0]
    assert isinstance(await bench.run(NOTHING), Succeeded)
    assert bench.pids[0] == warm


async def test_a_bare_process_goes_once_the_numerics_are_there_and_the_next_has_them(
    made: Callable[[], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRELOAD_AFTER", 0.5)
    bench = made()
    task = bench.start(NOTHING)[1]
    bare = await there(bench)
    assert isinstance(await task, Succeeded)
    await bench.until(lambda: bench.pids[0] == 0)
    await gone(bare)
    assert isinstance(await bench.run(NOTHING), Succeeded)
    assert has_numerics(await there(bench))


async def test_what_needs_numerics_finds_no_room_behind_what_runs_without(
    made: Callable[[], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRELOAD_AFTER", math.inf)
    bench = made()
    running, task = bench.start(NOTHING, points=1, seconds=600.0)
    pid = await there(bench)
    await bench.begun(running)  # else it is not lost with its process, but waits for the next
    token = bench.make("draw")
    assert bench.give(0, token) == 0
    bench.slots.stop(0)
    assert isinstance(await task, Died)
    await gone(pid)
    await bench.until(lambda: bench.given.get(0) == [])
    assert bench.give(0, token) == 1
    assert isinstance(await bench.outcomes[token], Succeeded)


async def test_what_waits_for_a_process_can_be_taken_back(
    made: Callable[[], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRELOAD_AFTER", math.inf)
    bench = made()
    await bench.until(lambda: 0 in bench.given)
    token = bench.make("draw")
    assert bench.give(0, token) == 1
    assert bench.take_back(0) == [token]
    assert isinstance(await bench.run(NOTHING), Succeeded)
    assert bench.give(0, token) == 1
    assert isinstance(await bench.outcomes[token], Succeeded)


async def test_a_process_that_rests_is_let_go_and_another_comes_when_it_is_needed(
    made: Callable[[], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST", 0.1)
    bench = made()
    task = bench.start("draw")[1]
    pid = await there(bench)
    assert isinstance(await task, Succeeded)
    await bench.until(lambda: bench.pids[0] == 0)
    await gone(pid)
    assert bench.slots.pids()[1:] == []
    assert isinstance(await bench.run("draw"), Succeeded)


async def test_a_process_that_works_is_not_let_go(made: Callable[[], Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST", 0.02)
    bench = made()
    task = bench.start(NOTHING, seconds=0.5)[1]
    pid = await there(bench)
    assert isinstance(await task, Succeeded)
    assert bench.pids[0] in (pid, 0)
