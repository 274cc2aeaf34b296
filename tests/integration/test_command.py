"""The command as a process: what it imports, and how it ends when it is interrupted."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tensorfleet.sdk.processes import is_alive
from tensorfleet.sdk.seat import read_seat

ROOT = Path(__file__).parents[2]
TENSORFLEET = [sys.executable, "-m", "clients.cli.main"]
LONG = "synthetic:classification?rows=20000&features=30&classes=3&seed=1"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TENSORFLEET_")}
    return {**kept, "PYTHONPATH": str(ROOT), "TENSORFLEET_HOME": str(tmp_path / "home")}


def imported(code: str, environment: dict[str, str]) -> set[str]:
    program = f"import sys; {code}; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in told.stdout.split()}


def test_the_help_imports_nothing_slow(environment: dict[str, str]) -> None:
    assert not {"grpc", "google", "numpy", "pandas", "sklearn", "pyarrow"} & imported(
        "import clients.cli.commands", environment
    )


def test_training_on_a_fleet_imports_no_numerics_here(environment: dict[str, str]) -> None:
    modules = (
        "import tensorfleet.client, tensorfleet.local, clients.cli.live, clients.cli.connection, clients.cli.train"
    )
    assert not {"numpy", "pandas", "sklearn", "pyarrow", "scipy"} & imported(modules, environment)


def started(arguments: list[str], until: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*TENSORFLEET, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if until in line:
            return process
    raise AssertionError(f"it ended before it said {until!r}: {process.stderr and process.stderr.read()}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_is_cancelled_and_leaves_nothing(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    process = started(["train", LONG, "-p", "n_estimators=500", "--workers", "2"], "prepare: ", environment)
    seat = read_seat(tmp_path / "home")
    assert seat is not None
    left = descendants(process.pid)
    assert seat.pid in left
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "Interrupted" in err
    assert not [pid for pid in left if is_alive(pid)]
    told = subprocess.run(
        [*TENSORFLEET, "jobs", "list", "-o", "json"], env=environment, capture_output=True, check=True
    )
    (job,) = json.loads(told.stdout)
    assert job["state"] == "cancelled"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_standing_fleet_ends_cleanly(environment: dict[str, str], number: signal.Signals) -> None:
    process = started(["up", "--workers", "1", "--listen", "127.0.0.1:0"], "Stop", environment)
    left = descendants(process.pid)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == 0
    assert not [pid for pid in left if is_alive(pid)]


def test_a_training_in_this_process_makes_the_fleets_model(environment: dict[str, str]) -> None:
    def digest(*flags: str) -> str:
        arguments = ["train", "iris", "-p", "n_estimators=12", "-o", "json", *flags]
        told = subprocess.run([*TENSORFLEET, *arguments], env=environment, capture_output=True, text=True, check=True)
        sha256: str = json.loads(told.stdout)["model"]["sha256"]
        return sha256

    assert digest("--direct") == digest("--workers", "2")


def test_a_file_goes_all_the_way_to_predictions(environment: dict[str, str], tmp_path: Path) -> None:
    rows = "".join(
        f"{index % 7},{index % 3},{'red' if index % 2 else 'blue'},{'a' if index % 2 else 'b'}\n" for index in range(60)
    )
    (tmp_path / "data.csv").write_text("x,y,color,label\n" + rows)
    data, out = str(tmp_path / "data.csv"), tmp_path / "predictions.csv"
    train = [*TENSORFLEET, "train", data, "-a", "decision_tree", "--name", "colors", "-o", "json"]
    subprocess.run(train, env=environment, check=True, capture_output=True)
    predict = [*TENSORFLEET, "predict", "colors", data, "--out", str(out), "-o", "json"]
    told = json.loads(subprocess.run(predict, env=environment, check=True, capture_output=True).stdout)
    assert (told["rows"], told["classes"]) == (60, ["a", "b"])
    assert told["predictions"][:4] == ["b", "a", "b", "a"]
    assert out.read_text().splitlines()[0] == '"prediction","probability_a","probability_b"'


def descendants(pid: int) -> list[int]:
    """Every process that came of a process and still runs."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found
