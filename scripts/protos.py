"""Draws the Python stubs in tensorfleet/api/v1 from protos/, or checks that they are drawn from it.

`python scripts/protos.py` writes; `--check` writes nothing, and fails on drift or on a lint finding.
"""

import filecmp
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STUBS = Path("tensorfleet/api/v1")
SITE = Path(sysconfig.get_path("purelib"))


def protoc(*arguments: str) -> None:
    sources = sorted(str(path) for path in (ROOT / "protos").rglob("*.proto"))
    includes = [f"-I{ROOT / 'protos'}", f"-I{SITE / 'grpc_tools/_proto'}", f"-I{SITE}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *includes, *arguments, *sources], check=True)


def draw(into: Path) -> None:
    plugins = [
        f"--plugin=protoc-gen-{name}={Path(sys.executable).parent / f'protoc-gen-{name}'}"
        for name in ("mypy", "mypy_grpc")
    ]
    protoc(
        *plugins,
        f"--python_out={into}",
        f"--grpc_python_out={into}",
        f"--mypy_out=quiet:{into}",
        f"--mypy_grpc_out=quiet:{into}",
    )
    for package in ("tensorfleet/api", "tensorfleet/api/v1"):
        (into / package / "__init__.py").touch()


def lint() -> None:
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={image}")
        buf = Path(sys.executable).parent / "buf"
        ours = [f"--path={path.relative_to(ROOT / 'protos')}" for path in (ROOT / "protos").rglob("*.proto")]
        subprocess.run([buf, "lint", image, "--config", ROOT / "buf.yaml", *ours], check=True, cwd=folder)


def check() -> int:
    lint()
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder))
        fresh = {path.name for path in (Path(folder) / STUBS).iterdir() if path.is_file()}
        kept = {path.name for path in (ROOT / STUBS).iterdir() if path.is_file()}
        _, differ, missing = filecmp.cmpfiles(Path(folder) / STUBS, ROOT / STUBS, sorted(fresh), shallow=False)
        drift = sorted({*differ, *missing, *(kept - fresh)})
    if drift:
        print(f"the stubs are not those of the protos: {', '.join(drift)}; run `make protos`", file=sys.stderr)
        return 1
    return 0


def write() -> int:
    shutil.rmtree(ROOT / STUBS, ignore_errors=True)
    draw(ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(check() if "--check" in sys.argv[1:] else write())
