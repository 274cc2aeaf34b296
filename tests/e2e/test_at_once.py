"""Two commands on one home in the same instant: one runs the fleet, and hands over where the other is not done."""

import asyncio
import json
from pathlib import Path

import pytest

from tensorfleet.sdk.seat import read_seat
from tests.e2e.test_cli import Command

pytestmark = pytest.mark.stores("local")


async def test_two_trainings_that_start_at_once_share_a_home(tmp_path: Path) -> None:
    words = ("train", "iris", "--workers", "1", "--output", "json", "-p", "n_estimators=20")
    seeds = ("1", "2")
    commands = [Command(tmp_path, *words, "-p", f"random_state={seed}") for seed in seeds]
    processes = await asyncio.gather(*(command.start() for command in commands))
    answers = await asyncio.gather(*(process.communicate() for process in processes))
    for process, (out, err) in zip(processes, answers, strict=True):
        assert process.returncode == 0, err.decode()
        told = json.loads(out)
        assert told["state"] == "succeeded"
        assert told["tasks"]["run"] + told["tasks"]["reused"] == told["tasks"]["total"]
    assert read_seat(tmp_path / ".tensorfleet") is None
