"""The budget of a task that does nothing: microseconds of processors that it costs, by process, thread and module.

What the kernel counts for each thread is divided by the tasks. With `--py-spy` the same tasks are run once more while
each process is sampled where it holds Python's lock, and what its threads cost is shared out among what was found at
work: a sample belongs to the innermost module of ours, to gRPC or to the event loop. Processors' time depends far less
than rates do on what else runs on the machine.
"""

import argparse
import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from msgspec import Struct

from bench.figures import finish, show
from bench.noops import results, warm_fleet
from bench.peers.sampling import TICKS, descendants
from tensorfleet.api.v1 import jobs_pb2_grpc
from tensorfleet.loops import run
from tensorfleet.rpc.channels import open_channel

OURS = re.compile(r"\((?:orchestrator|worker|tensorfleet|bench|clients)/[\w/]+\.py")
ELSEWHERE = (("gRPC", ("cygrpc", "(grpc/")), ("event loop", ("asyncio/", "selectors.py")))
RATE = 250
STARTED_WITHIN = 2.0
LEAST = 1.0
"""Microseconds a task, from which on a line is shown."""


class Cost(Struct, frozen=True):
    """Of a process, microseconds a task: those of its threads, and how these are shared out among modules."""

    process: str
    threads: dict[str, float]
    modules: dict[str, float] = {}

    @property
    def whole(self) -> float:
        return sum(self.threads.values())


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.budget", description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--single", action="store_true", help="jobs of one task, one after another, not one job")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--py-spy", default=shutil.which("py-spy"), metavar="PROGRAM", help="default: that of the PATH")
    return parser.parse_args(given)


def threads(process: int) -> dict[int, float]:
    """Seconds of processors by thread."""
    spent = {}
    for place in Path(f"/proc/{process}/task").glob("*/stat"):
        fields = place.read_text().rpartition(")")[2].split()
        spent[int(place.parent.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    return spent


def names(processes: Sequence[int]) -> dict[int, str]:
    """What each process is: its module; a slot is forked from the zygote and has the zygote's command line."""
    found = {}
    for process in processes:
        command = Path(f"/proc/{process}/cmdline").read_text().split("\0")
        found[process] = command[command.index("-m") + 1] if "-m" in command else command[0]
    slots = [slot for process in processes if "zygote" in found[process] for slot in descendants(process)]
    return found | dict.fromkeys(slots, "slot") | {os.getpid(): "client"}


@contextmanager
def spent(costs: Counter[str]) -> Iterator[None]:
    """Adds what this program and all that it started cost meanwhile: seconds of processors, by what each process is."""
    processes = [os.getpid(), *descendants(os.getpid())]
    called, before = names(processes), {process: sum(threads(process).values()) for process in processes}
    yield
    for process in processes:
        costs[called[process]] += sum(threads(process).values()) - before[process]  # type: ignore[assignment]


def sampled(path: Path) -> dict[int, Counter[str]]:
    """Samples by thread and module, of a file of py-spy's folded stacks."""
    found: dict[int, Counter[str]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        if number := re.search(r"\((\d+)\)", thread):
            found.setdefault(int(number[1]), Counter())[module_of(frames)] += int(count)
    return found


def module_of(frames: Sequence[str]) -> str:
    """The innermost module of ours, unless that called gRPC and waits for it."""
    for frame in reversed(frames):
        if inside := OURS.search(frame):
            return inside[0][1:]
        for name, marks in ELSEWHERE:
            if any(mark in frame for mark in marks):
                return name
    return "other"


def shared_out(threads: dict[int, float], samples: dict[int, Counter[str]]) -> dict[str, float]:
    """Each thread's cost among the modules that it was found in; what was never found with the lock is put together."""
    modules: Counter[str] = Counter()
    for thread, cost in threads.items():
        counts = samples.get(thread) or Counter({"threads without Python": 1})
        for module, count in counts.items():
            modules[module] += cost * count / counts.total()  # type: ignore[assignment]
    return dict(modules.most_common())


async def measure(options: argparse.Namespace, folder: Path) -> tuple[float, list[Cost]]:
    """Seconds that the tasks took, and what they cost."""

    async def run() -> None:
        if options.single:
            for _ in range(options.tasks):
                await results(stub, 1)
        else:
            await results(stub, options.tasks)

    async with warm_fleet(options.slots) as (fleet, _), open_channel(fleet.address) as channel:
        stub = jobs_pb2_grpc.JobServiceStub(channel)
        await results(stub, 500)
        processes = [os.getpid(), *descendants(os.getpid())]
        called = names(processes)  # before one of them, a slot that rests, is let go
        before, begun = {process: threads(process) for process in processes}, perf_counter()
        await run()
        seconds = perf_counter() - begun
        after = {process: threads(process) for process in processes}
        if options.py_spy:
            spies = [spy(options.py_spy, process, folder) for process in processes]
            await asyncio.sleep(STARTED_WITHIN)
            await run()
            for each in spies:
                each.send_signal(signal.SIGINT)
            await asyncio.gather(*(asyncio.to_thread(each.wait) for each in spies))
        costs = []
        for process, name in called.items():
            spent = {
                thread: (now - before[process].get(thread, 0.0)) / options.tasks * 1e6
                for thread, now in after[process].items()
            }
            modules = shared_out(spent, sampled(folder / str(process))) if options.py_spy else {}
            main, rest = spent.pop(process, 0.0), sum(spent.values())
            costs.append(Cost(name, {"main thread": main, "others": rest}, modules))
    return seconds, costs


def spy(program: str, process: int, folder: Path) -> "subprocess.Popen[bytes]":
    """Samples a process until it is interrupted."""
    how = ["--gil", "--native", "--threads", "--format", "raw", "--rate", str(RATE)]
    command = [program, "record", *how, "--pid", str(process), "--output", str(folder / str(process))]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="tensorfleet-bench-") as folder:
        seconds, costs = run(measure(options, Path(folder)))
    rows = []
    for cost in costs:
        if cost.whole < LEAST:
            continue
        rows.append((cost.process, *(f"{value:.0f}" for value in (cost.whole, *cost.threads.values()))))
        rows += [(f"  {module}", f"{value:.0f}", "", "") for module, value in cost.modules.items() if value >= LEAST]
    rows.append(("all", f"{sum(cost.whole for cost in costs):.0f}", "", ""))
    what = "jobs of one task" if options.single else "tasks of one job"
    show(f"{options.tasks:,} {what}, microseconds each", ["", "all threads", "main thread", "others"], rows)
    finish("budget", tasks=options.tasks, single=options.single, slots=options.slots, seconds=seconds, costs=costs)


if __name__ == "__main__":
    main()
