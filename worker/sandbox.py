"""What a slot process is held in: its parent's life, its memory, its processors' threads, its GPUs.

The rule: everything here is set before the first task runs, and nothing here imports numerics or grpc.
"""

import os
import re
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tensorfleet.processes import advise_unneeded, prctl

PR_SET_CHILD_SUBREAPER = 36
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "BLIS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
"""Set before numerics are imported: a BLAS that made threads could not be forked. `execute` widens it for each task."""
ARROW = {"JE_ARROW_MALLOC_CONF": "background_thread:false", "ARROW_DEFAULT_MEMORY_POOL": "system"}
"""pyarrow's own allocators start a thread, and reserve so much at once that a memory limit would mean little."""


def adopt_orphans() -> None:
    """Makes what slots leave behind this process's children, so that it can end and reap them."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def limit_memory(allowance: int) -> None:
    """Lets this process allocate that many bytes beyond what it has now; the next one raises MemoryError.

    RLIMIT_DATA counts private writable memory alone. RLIMIT_AS would count mapped inputs and libraries as well, and
    those cost nothing that the machine could not take back.
    """
    limit = _data_bytes() + allowance
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def offer_to_kernel() -> None:
    """Makes this process the one that the kernel ends first when memory runs out, before the agent and the rest."""
    with suppress(OSError):  # without it the kernel still prefers the largest
        Path("/proc/self/oom_score_adj").write_text("700")


def no_core_dump() -> None:
    """A crash in training is expected, and leaves no gigabytes of memory image behind."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def pin_threads() -> None:
    """Has numerics that this process imports from here on, and whatever it forks, make no threads."""
    os.environ.update({**ONE_THREAD, **ARROW})


def give_back_code() -> None:
    """Has the kernel forget where this process's libraries are in memory, as far as they are files and never written.

    They stay in the page cache, and whoever runs them finds them again, page by page: a process that is forked does so
    anyhow. For one that only forks they are half of what it seems to hold.
    """
    for start, end in _clean_files(Path("/proc/self/smaps").read_text().splitlines()):
        advise_unneeded(start, end - start)


def _clean_files(smaps: list[str]) -> Iterator[tuple[int, int]]:
    """The mappings of files that cannot be written, and of which no page was: its own copy would be lost."""
    place: tuple[int, int] | None = None
    for row in smaps:
        mapping = _MAPPING.match(row)
        if mapping is not None:
            readable = mapping["mode"] in ("r--p", "r-xp") and mapping["path"].startswith("/")
            place = (int(mapping["start"], 16), int(mapping["end"], 16)) if readable else None
        elif row.startswith("Anonymous:") and place is not None and row.split()[1] == "0":
            yield place


_MAPPING = re.compile(r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<mode>\S{4}) \S+ \S+ \S+ *(?P<path>.*)")


def gpus_of_slot(number: int, slots: int, gpus: int) -> str | None:
    """CUDA_VISIBLE_DEVICES of a slot: its share of the GPUs that the worker may use, which the worker's own may name;
    None where there are none."""
    if gpus <= 0:
        return None
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    names = named if len(named) == gpus else [str(gpu) for gpu in range(gpus)]
    return ",".join(names[gpu] for gpu in range(gpus) if gpu % slots == number % slots)


def oom_kills() -> int:
    """How many processes the kernel has ended for want of memory, as far as this control group can see."""
    for path, line in _OOM_COUNTERS:
        try:
            for name, number in (row.split(maxsplit=1) for row in path.read_text().splitlines() if " " in row):
                if name == line:
                    return int(number)
        except (OSError, ValueError):
            continue
    return 0


_OOM_COUNTERS = (
    (Path("/sys/fs/cgroup/memory.events"), "oom_kill"),
    (Path("/sys/fs/cgroup/memory/memory.oom_control"), "oom_kill"),
    (Path("/proc/vmstat"), "oom_kill"),
)


def _data_bytes() -> int:
    for row in Path("/proc/self/status").read_text().splitlines():
        if row.startswith("VmData:"):
            return int(row.split()[1]) * 1024
    return 0
