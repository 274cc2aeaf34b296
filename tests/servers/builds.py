"""Builds the servers that the tests talk to, once a machine: Go modules by `go`, a Java library by `mvn`.

The rule: what is built is kept by version in `$XDG_CACHE_HOME/tensorfleet/servers`, and only a whole build is there.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"


class BuildError(Exception):
    """A tool is missing, or it failed."""


def cache() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "tensorfleet" / "servers"


def ferretdb() -> Path:
    """The program that serves MongoDB's protocol over SQLite files."""
    source = HERE / "ferretdb"
    stamp = sha256(b"".join((source / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))).hexdigest()[:12]

    def build(place: Path) -> None:
        _run(["go", "build", "-o", str(place / "ferretdb"), "."], source)

    return _built(f"ferretdb-{stamp}", build) / "ferretdb"


def mongo_java() -> tuple[Path, Path]:
    """The source that serves MongoDB's protocol from memory, and the folder of the libraries that it needs."""
    source = HERE / "mongo-java"
    stamp = sha256((source / "pom.xml").read_bytes()).hexdigest()[:12]

    def build(place: Path) -> None:
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
        _run(["mvn", "-q", "-B", goal, f"-DoutputDirectory={place}"], source)

    return source / "Server.java", _built(f"mongo-java-{stamp}", build)


def versitygw() -> Path:
    """The program that serves S3 over a directory."""
    return _go_program(VERSITYGW)


def grpcurl() -> Path:
    return _go_program(GRPCURL)


def found_grpcurl() -> str | None:
    """The program where it is installed or was built; nothing is built here."""
    name, version = GRPCURL.rpartition("/")[2].split("@")
    built = cache() / f"{name}-{version}" / name
    return str(built) if built.exists() else shutil.which(name)


def _go_program(module: str) -> Path:
    name, version = module.rpartition("/")[2].split("@")

    def build(place: Path) -> None:
        _run(["go", "install", module], HERE, GOBIN=str(place))

    return _built(f"{name}-{version}", build) / name


def _built(name: str, build: Callable[[Path], None]) -> Path:
    place = cache() / name
    if not place.exists():
        cache().mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache()))
        try:
            build(fresh)
            fresh.chmod(0o755)
            if not place.exists():
                fresh.rename(place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return place


def _run(command: list[str], directory: Path, **environment: str) -> None:
    if shutil.which(command[0]) is None:
        raise BuildError(f"{command[0]} is not installed: `apt-get install golang-go maven default-jdk-headless`")
    done = subprocess.run(
        command, cwd=directory, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{done.stderr or done.stdout}")
