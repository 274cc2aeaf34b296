"""The local fleet with real processes: it keeps them alive, joins, takes over, and leaves none behind."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from tensorfleet import AsyncClient, Client
from tensorfleet.errors import Unavailable
from tensorfleet.local import AsyncLocalFleet, LocalFleet
from tensorfleet.sdk.processes import is_alive
from tensorfleet.sdk.seat import read_seat
from tests.integration.processes import children, gone
from tests.servers.programs import free_port


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENSORFLEET_SERVER", raising=False)
    monkeypatch.delenv("TENSORFLEET_HOME", raising=False)


def test_a_fleet_leaves_no_process_behind(tmp_path: Path) -> None:
    with LocalFleet(tmp_path, workers=2) as fleet, Client(fleet.address) as client:
        fleet.workers_ready(2)
        assert fleet.owned
        assert sorted(fleet.worker_pids) == ["worker-1", "worker-2"]
        assert {worker.pid for worker in client.workers.list()} == set(fleet.worker_pids.values())
        pids = [fleet.orchestrator_pid, *fleet.worker_pids.values()]
        assert all(pid and is_alive(pid) for pid in pids)
    assert not any(pid and is_alive(pid) for pid in pids)
    assert read_seat(tmp_path) is None
    assert (tmp_path / "logs" / "worker-1.log").exists()


async def test_a_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    async with AsyncLocalFleet(tmp_path, workers=1) as fleet, AsyncClient(fleet.address) as client:
        await fleet.workers_ready(1)
        killed = await fleet.kill_worker()
        await gone(killed)
        model = await (await client.train("iris", hyperparameters={"n_estimators": 5})).result()
        assert len(model.sha256) == 64
        assert killed not in fleet.worker_pids.values()


async def test_workers_share_what_loads_the_numerics_and_go_on_where_it_dies(tmp_path: Path) -> None:
    async with AsyncLocalFleet(tmp_path, workers=2) as fleet, AsyncClient(fleet.address) as client:
        await fleet.workers_ready(2)
        (shared,) = zygotes(os.getpid())
        assert not any(zygotes(pid) for pid in fleet.worker_pids.values())
        first = await (await client.train("iris", hyperparameters={"n_estimators": 5})).result()
        workers = fleet.worker_pids
        os.kill(shared, signal.SIGKILL)
        await gone(shared)
        second = await (await client.train("iris", hyperparameters={"n_estimators": 20})).result()
        assert (len(first.sha256), len(second.sha256)) == (64, 64)
        assert fleet.worker_pids == workers
        left = [pid for worker in workers.values() for pid in zygotes(worker)]
        assert left
    for pid in left:
        await gone(pid)


def zygotes(parent: int) -> list[int]:
    return [pid for pid in children(parent) if b"worker.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_an_orchestrator_that_dies_is_started_again_at_its_address(tmp_path: Path) -> None:
    async with AsyncLocalFleet(tmp_path, workers=0) as fleet, AsyncClient(fleet.address) as client:
        before, address = await client.status(), fleet.address
        await fleet.restart_orchestrator()
        after = await client.status()
    assert fleet.address == address
    assert after.term > before.term


async def test_a_home_has_one_orchestrator_and_its_workers_are_enough(tmp_path: Path) -> None:
    async with AsyncLocalFleet(tmp_path, workers=1) as owner:
        await owner.workers_ready(1)
        async with AsyncLocalFleet(tmp_path, workers=2) as guest, AsyncClient(guest.address) as client:
            assert (guest.owned, guest.address) == (False, owner.address)
            await (await client.train("iris", hyperparameters={"n_estimators": 5})).result()
            assert guest.worker_pids == {}
        assert owner.orchestrator_pid
        assert is_alive(owner.orchestrator_pid)


async def test_a_guest_brings_workers_where_there_are_none(tmp_path: Path) -> None:
    async with AsyncLocalFleet(tmp_path, workers=0) as owner:
        async with AsyncLocalFleet(tmp_path, workers=1) as guest, AsyncClient(guest.address) as client:
            await (await client.train("iris", hyperparameters={"n_estimators": 5})).result()
            assert list(guest.worker_pids) == [f"worker-1-{os.getpid()}"]
        assert owner.orchestrator_pid


async def test_a_guest_takes_over_and_the_watch_goes_on(tmp_path: Path) -> None:
    owner = await AsyncLocalFleet(tmp_path, workers=1).start()
    async with AsyncLocalFleet(tmp_path, workers=1) as guest, AsyncClient(guest.address) as client:
        await owner.workers_ready(1)
        job = await client.train("digits", hyperparameters={"n_estimators": 60})
        cursors = []
        async for event in job.watch():
            cursors.append(event.cursor)
            if len(cursors) == 5:
                await owner.stop()
        assert guest.owned
        assert len(cursors) == len(set(cursors))
        assert len((await job.result()).sha256) == 64


async def test_two_that_start_at_once_end_up_with_one_orchestrator(tmp_path: Path) -> None:
    import asyncio

    one, other = AsyncLocalFleet(tmp_path, workers=1), AsyncLocalFleet(tmp_path, workers=1)
    await asyncio.gather(one.start(), other.start())
    try:
        assert one.owned != other.owned
        assert one.address == other.address
        async with AsyncClient(one.address) as client:
            await (await client.train("iris", hyperparameters={"n_estimators": 5})).result()
    finally:
        await asyncio.gather(one.stop(), other.stop())
    assert read_seat(tmp_path) is None


async def test_a_fleet_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="insecure"):
        await AsyncLocalFleet(tmp_path, workers=0, listen="0.0.0.0:0").start()


async def test_workers_go_along_where_the_port_was_taken_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = [other.getsockname()[1], free_port()]
        monkeypatch.setattr("tensorfleet.local.reserved", lambda listen: f"127.0.0.1:{ports.pop(0)}")
        async with AsyncLocalFleet(tmp_path, workers=1) as fleet:
            assert not ports
            await asyncio.wait_for(fleet.workers_ready(1), 30.0)


async def test_a_stale_seat_is_no_seat(tmp_path: Path) -> None:
    fleet = await AsyncLocalFleet(tmp_path, workers=0).start()
    seat = (tmp_path / "orchestrator.json").read_bytes()
    await fleet.stop()
    (tmp_path / "orchestrator.json").write_bytes(seat)
    async with AsyncLocalFleet(tmp_path, workers=0) as again:
        assert again.owned
        assert again.orchestrator_pid not in (None, int(seat.split(b'"pid":')[1].split(b",")[0].strip(b" }")))


async def test_a_stopped_orchestrator_is_started_again_too(tmp_path: Path) -> None:
    async with AsyncLocalFleet(tmp_path, workers=0) as fleet, AsyncClient(fleet.address) as client:
        await fleet.restart_orchestrator(signal.SIGTERM)
        assert (await client.status()).term == 2


async def test_a_store_that_is_away_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("MONGODB_URL", f"mongodb://fleet:hunter2@{place}/own?serverSelectionTimeoutMS=100")
    with pytest.raises(Unavailable) as told:
        await AsyncLocalFleet(tmp_path / "home", workers=0).start()
    assert f"MongoDB at {place}, database 'own'" in told.value.message
    assert "Traceback" not in told.value.message
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
