"""A fleet whose objects are in S3: workers without keys, an orchestrator out of the bytes' way, a store that dies."""

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from tensorfleet import AsyncClient
from tensorfleet.config import STORE_VARIABLES
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.sdk.events import AttemptFailed, Event, TasksSucceeded
from tensorfleet.sdk.processes import Child
from tests.campaign.proxy import Proxy
from tests.servers import programs
from tests.servers.running import required

DATASET = "synthetic:classification?rows=20000&features=30&classes=3&seed=1"
FOREST: dict[str, Any] = {"algorithm": "random_forest", "hyperparameters": {"n_estimators": 40, "max_depth": 10}}
MIB = 1 << 20


@pytest.fixture(autouse=True)
def no_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*STORE_VARIABLES, "TENSORFLEET_SERVER", "TENSORFLEET_HOME"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def bucket_at(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket of the test's own, in which fleets that start meanwhile keep their objects."""
    environment = {
        "S3_ENDPOINT_URL": url,
        "S3_BUCKET": f"fleet-{uuid.uuid4().hex[:12]}",
        "AWS_ACCESS_KEY_ID": programs.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": programs.SECRET_KEY,
        "AWS_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3 = boto3.resource("s3", endpoint_url=url)
    bucket = s3.Bucket(environment["S3_BUCKET"])
    bucket.create()
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()
    s3.meta.client.close()


async def trained(folder: Path) -> str:
    """What a fleet over a directory makes of it."""
    async with AsyncLocalFleet(folder, workers=1) as fleet, AsyncClient(fleet.address) as client:
        return (await (await client.train(DATASET, **FOREST)).result()).sha256


@asynccontextmanager
async def worker_behind(proxy: Proxy, folder: Path) -> AsyncIterator[Child]:
    flags = ["--server", proxy.address, "--id", "far", "--slots", "2", "--home", str(folder / "far")]
    child = Child("far", "worker", flags, folder / "logs")
    try:
        yield child
    finally:
        await child.stop(5.0)


async def test_bytes_pass_the_orchestrator_by_and_workers_hold_no_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await trained(tmp_path / "near")
    with bucket_at(required().s3, monkeypatch) as bucket:
        async with AsyncLocalFleet(tmp_path / "home", workers=0) as fleet, AsyncClient(fleet.address) as client:
            proxy = Proxy(int(fleet.address.rpartition(":")[2]))
            await proxy.start()
            async with worker_behind(proxy, tmp_path) as worker:
                job = await client.train(DATASET, **FOREST)
                assert (await job.result()).sha256 == expected
                environment = Path(f"/proc/{worker.pid}/environ").read_text()
            await proxy.stop()
        stored = sum(found.size for found in bucket.objects.all())
    assert programs.SECRET_KEY not in environment
    assert stored > 8 * MIB
    assert proxy.carried < MIB
    assert not list((tmp_path / "home").glob("objects/**/*"))


async def test_a_worker_with_no_way_to_the_store_has_its_bytes_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is at an address that only the orchestrator's machine knows: here, one that a worker's cannot name."""
    expected = await trained(tmp_path / "near")
    hosts = "127.0.0.1 localhost store.only-here\n"
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs to give programs an /etc/hosts of their own")
    (tmp_path / "hosts").write_text(hosts)
    url = required().s3.replace("127.0.0.1", "store.only-here")
    with bucket_at(required().s3, monkeypatch) as bucket:
        monkeypatch.setenv("S3_ENDPOINT_URL", url)
        within = ["unshare", "--mount", "--", "sh", "-c", f'mount --bind {tmp_path}/hosts /etc/hosts; exec "$@"', "sh"]
        home = tmp_path / "home"
        address = f"127.0.0.1:{programs.free_port()}"
        flags = ["--home", str(home), "--listen", address]
        orchestrator = Child("orchestrator", "orchestrator", flags, tmp_path / "logs", within=within)
        proxy = Proxy(int(address.rpartition(":")[2]))
        await proxy.start()
        try:
            async with AsyncClient(address) as client, worker_behind(proxy, tmp_path) as worker:
                job = await client.train(DATASET, **FOREST)
                assert (await job.result()).sha256 == expected
                said = worker.log.read_text()
        finally:
            await orchestrator.stop(5.0)
            await proxy.stop()
        stored = sum(found.size for found in bucket.objects.all())
    assert proxy.carried > stored > 8 * MIB
    assert said.count("blobs go through the orchestrator") in (1, 2)


async def test_the_store_is_killed_in_the_middle_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    required()
    expected = await trained(tmp_path / "near")
    server = programs.s3(tmp_path / "s3")
    server.start()
    try:
        with bucket_at(server.url, monkeypatch):
            async with AsyncLocalFleet(tmp_path / "home", workers=2) as fleet, AsyncClient(fleet.address) as client:
                events: list[Event] = []
                job = await client.train(DATASET, **FOREST)
                away: asyncio.Task[None] | None = None
                async for event in job.watch():
                    events.append(event)
                    if away is None and sum(map(_fits, events)) >= 2:
                        server.kill()
                        away = asyncio.create_task(_until_missed(tmp_path / "home" / "logs", server))
                assert away is not None
                await away
                assert (await job.result()).sha256 == expected
    finally:
        server.kill()
    assert not [event for event in events if isinstance(event, AttemptFailed)]
    done = [(event.stage, index) for event in events if isinstance(event, TasksSucceeded) for index in event.indexes]
    assert len(done) == len(set(done)) == job.tasks.total


def _fits(event: Event) -> int:
    return len(event.indexes) if isinstance(event, TasksSucceeded) and event.stage == "fit" else 0


async def _until_missed(logs: Path, server: programs.Server) -> None:
    """Starts the store again once somebody could not reach it."""
    while not any("could not be" in log.read_text() for log in logs.glob("*.log")):
        await asyncio.sleep(0.02)
    await asyncio.to_thread(server.start)
