"""The peers' interpreters: each in a virtual environment of its own, at the versions in `requirements/`.

The rule: what is built is kept by its requirements in `$XDG_CACHE_HOME/tensorfleet/peers`, and only a whole build is
there. Ours is the interpreter that runs this.
"""

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
PEERS = ("ray", "dask", "celery")


def cache() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "tensorfleet" / "peers"


def interpreter(peer: str) -> Path:
    """The Python that has a peer; builds its environment where it is not there."""
    if peer not in PEERS:
        return Path(sys.executable)
    wanted = REQUIREMENTS / f"{peer}.txt"
    place = cache() / f"{peer}-{sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]}"
    python, whole = place / "bin" / "python", place / "whole"
    if not whole.exists():
        sys.stderr.write(f"installing {peer} into {place}\n")
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--require-hashes", "-r", str(wanted)], check=True)
        whole.touch()
    return python


def need_redis() -> None:
    """Installs Debian's redis-server where this user may; SystemExit, saying how, where not."""
    if shutil.which("redis-server"):
        return
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "redis-server"]
    if os.geteuid() or not shutil.which("apt-get"):
        raise SystemExit(f"redis-server is missing: sudo {' '.join(install)}")
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL)


def ready() -> set[str]:
    """Everything that the turns need, from now on without a network; and the variants that have to be left out."""
    for peer in PEERS:
        interpreter(peer)
    need_redis()
    from tests.servers import builds

    try:
        builds.ferretdb()
    except builds.BuildError as error:
        sys.stderr.write(f"left out: the fleet's documents in FerretDB, since {error}\n")
        return {"mongodb"}
    return set()
