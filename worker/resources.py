"""What this machine has, and what tells its numerics from another machine's.

The rule: nothing numeric is imported to find out; package metadata and /proc are read instead.
"""

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tensorfleet.capabilities import ENGINES
from tensorfleet.model import Resources

PACKAGES = ("numpy", "scipy", "scikit-learn", "pandas", "pyarrow")
FLAGS = (
    "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16", "avx512_vnni",
    "amx_tile", "asimd", "sve", "sve2",
)  # fmt: skip
"""Processor features by which the numeric libraries choose their kernels."""
KERNEL_CHOICES = ("OPENBLAS_CORETYPE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES")
"""Environment variables that change that choice."""
BUILDS = ("", "-cpu", "-gpu", "-intel", "-rocm")
"""What the names of packages end in that bring the same engine."""


def machine() -> Resources:
    """Processors, memory in bytes and GPUs of this machine, as far as this process may use them."""
    return Resources(cpus=len(os.sched_getaffinity(0)), memory=_memory(), gpus=_gpus())


def capabilities() -> list[str]:
    """The larger engines that are installed here, as `name==version`; the name alone where no package tells it."""
    found = [name for name in ENGINES if importlib.util.find_spec(name) is not None]
    return [f"{name}=={version}" if (version := _version_of_engine(name)) else name for name in found]


def _version_of_engine(name: str) -> str:
    known = (_version(name + build) for build in BUILDS)
    return next((version for version in known if version != "none"), "")


def fingerprint() -> str:
    """Tells numerics apart: equal where the same task gives the same bits. Begins readably."""
    versions = {name: _version(name) for name in PACKAGES}
    facts = [
        *(f"{name}={number}" for name, number in versions.items()),
        f"python={sys.version_info.major}.{sys.version_info.minor}",
        f"machine={platform.machine()}",
        f"libc={' '.join(platform.libc_ver())}",
        f"model={_cpu_field('vendor_id')}/{_cpu_field('cpu family')}/{_cpu_field('model')}",
        f"flags={' '.join(_known_flags(_cpu_field('flags', 'Features').split()))}",
        *(f"{name}={os.environ.get(name, '')}" for name in KERNEL_CHOICES),
    ]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
    return f"sklearn{versions['scikit-learn']}-numpy{versions['numpy']}-{platform.machine()}-{digest}"


def memory_in_use(pids: Iterable[int]) -> int:
    """Bytes that these processes hold. What forked processes share is counted once, in the first of them."""
    total = 0
    for position, pid in enumerate(pids):
        try:
            _, resident, shared = (int(pages) for pages in Path(f"/proc/{pid}/statm").read_text().split()[:3])
        except (OSError, ValueError):
            continue  # it ended since
        total += resident if position == 0 else max(resident - shared, 0)
    return total * os.sysconf("SC_PAGE_SIZE")


def load_average() -> float:
    return os.getloadavg()[0]


def _memory() -> int:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            total = min(total, int(limit.read_text()))
        except (OSError, ValueError):
            continue  # there is no such limit
    return total


def _gpus() -> int:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return len([gpu for gpu in chosen.split(",") if gpu.strip() not in ("", "-1")])
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def _version(package: str) -> str:
    """An installed package's version, from the name of the folder of its metadata; `importlib.metadata` would read
    more, and load a tenth of what an agent does."""
    named = re.compile(rf"{package.replace('-', '[-_.]')}-(?P<version>[^-]+)\.dist-info", re.IGNORECASE)
    for place in sys.path:
        try:
            found = [each for path in Path(place or ".").iterdir() if (each := named.fullmatch(path.name))]
        except OSError:
            continue  # an archive, or not there
        if found:
            return found[0]["version"]
    return "none"


def _known_flags(flags: Iterable[str]) -> list[str]:
    found = set(flags)
    return [flag for flag in FLAGS if flag in found]


def _cpu_field(*names: str) -> str:
    """The first processor's entry of any of these names in /proc/cpuinfo."""
    try:
        rows = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    for row in rows:
        name, _, value = row.partition(":")
        if name.strip() in names:
            return value.strip()
    return ""
