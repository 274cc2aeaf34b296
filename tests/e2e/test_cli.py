"""The command as scripts use it: one JSON object, exit codes, nothing left behind."""

import asyncio
import json
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tensorfleet.client import AsyncClient, AsyncJob
from tensorfleet.local import AsyncLocalFleet

LONG = "synthetic:classification?rows=30000&features=30&classes=5&seed=0"


class Command:
    """`tensorfleet …` in a folder of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.words = words

    async def start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "clients.cli.main",
            *self.words,
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self) -> tuple[int, str, str]:
        process = await self.start()
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()


async def read(folder: Path, *words: str) -> Any:
    code, out, err = await Command(folder, *words, "--output", "json").run()
    assert code == 0, err
    return json.loads(out)


def programs(home: Path) -> list[int]:
    """Processes whose command line or environment names this home."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                words = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if str(home).encode() in words:
                found.append(int(process.name))
    return found


async def test_train_prints_one_object_and_leaves_nothing(tmp_path: Path) -> None:
    told = await read(tmp_path, "train", "iris", "--algorithm", "random_forest", "-p", "n_estimators=12")
    assert told["state"] == "succeeded"
    assert set(told["model"]) == {"name", "version", "display_name", "algorithm", "sha256"}
    assert told["tasks"]["total"] == told["tasks"]["run"] > 0
    assert told["tasks"]["reused"] == 0
    assert 0.8 < told["metrics"]["accuracy"] <= 1
    assert told["seconds"] > 0
    assert programs(tmp_path) == []
    again = await read(tmp_path, "train", "iris", "--algorithm", "random_forest", "-p", "n_estimators=12")
    assert again["model"]["sha256"] == told["model"]["sha256"]
    assert again["tasks"]["run"] == 0
    direct = await read(tmp_path, "train", "iris", "--algorithm", "random_forest", "-p", "n_estimators=12", "--direct")
    assert direct["model"]["sha256"] == told["model"]["sha256"]


async def test_a_model_is_listed_named_downloaded_and_used(tmp_path: Path) -> None:
    told = await read(tmp_path, "train", "iris", "--algorithm", "decision_tree", "--name", "flower")
    version = told["model"]["version"]
    code, _, err = await Command(tmp_path, "models", "alias", f"flower@{version}", "production").run()
    assert code == 0, err
    listed = await read(tmp_path, "models", "list")
    assert [(model["name"], model["version"]) for model in listed] == [("flower", version)]
    code, _, err = await Command(tmp_path, "models", "download", "flower@production", "--out", "model.pkl").run()
    assert code == 0, err
    pipeline = pickle.loads((tmp_path / "model.pkl").read_bytes())
    assert pipeline.predict([[5.1, 3.5, 1.4, 0.2]]).tolist() == [0]
    names = ",".join(pipeline[:-1].feature_names_in_)
    (tmp_path / "rows.csv").write_text(f"{names}\n5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3\n")
    code, out, err = await Command(tmp_path, "predict", "flower", "rows.csv", "--output", "json").run()
    assert code == 0, err
    assert "0" in out
    assert programs(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("train", "iris", "--algorithm", "random_forrest"), 2, "random_forest"),
        (("train", "irs", "--algorithm", "svm"), 2, "iris"),
        (("train", "nothing.csv", "--algorithm", "svm"), 2, "nothing.csv"),
        (("train", "iris", "--algorithm", "svm", "-p", "C=-1"), 2, "C"),
        (("train", "iris", "--algorithm", "svm", "--target", "targett"), 2, "target"),
        (("jobs", "get", "job-0", "--server", "127.0.0.1:1"), 3, "127.0.0.1:1"),
        (("models", "get", "nothing"), 2, "nothing"),
        (("trian",), 2, "train"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
async def test_bad_input_says_what_to_do(tmp_path: Path, words: tuple[str, ...], code: int, says: str) -> None:
    got, out, err = await Command(tmp_path, *words).run()
    assert (got, says in err, out) == (code, True, ""), err
    assert "Traceback" not in err


async def test_a_broken_file_tells_its_line(tmp_path: Path) -> None:
    (tmp_path / "broken.csv").write_text("a,b,target\n1,2,0\n1,2\n3,4,1\n")
    got, _, err = await Command(tmp_path, "train", "broken.csv", "--algorithm", "svm").run()
    assert got == 2
    assert "line 3" in err


async def test_bench_measures_a_fleet_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    told = await read(tmp_path, "bench", "--tasks", "100", "--workers", "2")
    assert told["measured"] == {
        "tasks": 100,
        "jobs": 10,
        "single_jobs": 10,
        "round_trips": 2,
        "metric_points": 2000,
        "bytes": 640_000,
    }
    assert (told["metric_points_lost"], told["workers"], told["slots"]) == (0, 2, 2)
    for rate in ("tasks", "jobs", "single_jobs", "metric_points", "bytes"):
        assert told[f"{rate}_per_second"] > 0
    assert 0 < told["round_trip_ms"]["p50"] <= told["round_trip_ms"]["p99"]
    assert set(told["store"]) == {"documents", "objects"}
    assert programs(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.stores("local")
async def test_bench_tells_what_came_when_its_time_is_up(
    tmp_path: Path, fleet: AsyncLocalFleet, client: AsyncClient
) -> None:
    told = await read(tmp_path, "bench", "--tasks", "1000000", "--seconds", "0.2", "--server", fleet.address)
    assert told["measured"]["tasks"] < 1_000_000
    assert told["metric_points_lost"] == 0
    assert await unended(client) == []


@pytest.mark.stores("local")
async def test_a_stopped_bench_leaves_no_job_running(
    tmp_path: Path, fleet: AsyncLocalFleet, client: AsyncClient
) -> None:
    process = await Command(
        tmp_path, "bench", "--tasks", "1000000", "--seconds", "60", "--server", fleet.address
    ).start()
    while not (await client.status()).jobs.get("running") or not await large(client):
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 130
    assert await unended(client) == []


async def large(client: AsyncClient) -> list[AsyncJob]:
    return [job for job in await client.jobs.list() if job.tasks.total == 1_000_000]


async def unended(client: AsyncClient) -> list[AsyncJob]:
    return [job for state in ("queued", "running") for job in await client.jobs.list(filter=f"state={state}")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_a_stopped_train_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    process = await Command(tmp_path, "train", LONG, "--algorithm", "extra_trees", "-p", "n_estimators=5000").start()
    assert process.stdout is not None
    line = b""
    while b"fit" not in line:  # until it trains
        line = await process.stdout.readline()
        assert line, await process.communicate()
    mine = programs(tmp_path)
    assert len(mine) >= 2
    process.send_signal(number)
    await process.communicate()
    if number == signal.SIGINT:
        assert process.returncode == 130
    for pid in mine:
        await gone(pid)


async def gone(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    await ended.wait()
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)


async def test_a_standing_fleet_serves_and_stops_cleanly(tmp_path: Path) -> None:
    up = await Command(tmp_path, "up", "--workers", "2").start()
    try:
        while len(await workers(tmp_path)) < 2:
            pass
        listed = await workers(tmp_path)
        assert {"id", "state", "pid", "host", "slots", "labels", "running"} <= set(listed[0])
        assert {worker["state"] for worker in listed} == {"ready"}
        told = await read(tmp_path, "train", "wine", "--algorithm", "knn")
        assert told["state"] == "succeeded"
        assert [job["id"] for job in await read(tmp_path, "jobs", "list")] == [told["job_id"]]
    finally:
        up.send_signal(signal.SIGTERM)
        await up.communicate()
    assert up.returncode == 0
    assert programs(tmp_path) == []


async def workers(folder: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = await read(folder, "workers", "list")
    return listed
