"""What a client sends of a path: a file as it is, and of images, a folder or one, a ZIP archive.

The rule: an archive's bytes depend on the files' names and content alone, and it is never there as a whole: its files
are read one after another while it goes up, and again when it has to be sent again.
"""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from tensorfleet.data import classes
from tensorfleet.errors import BadInput
from tensorfleet.rpc.channels import CHUNK_BYTES

WHOLE = CHUNK_BYTES - 1024
"""Bytes of a file that fit in a message."""
PART = CHUNK_BYTES // 2 - 8192
"""Bytes of an archive's files that are read at once: as many that wait, and what the archive says of the files, fit."""

Chunks: TypeAlias = Callable[[], Iterator[bytes]]
"""Gives the bytes in parts that fit in a message, from the beginning at each call."""


class Content(NamedTuple):
    """What goes up: the file's name, which tells its format, and its bytes."""

    name: str
    chunks: Chunks


def of_path(path: Path, labelled: bool = True) -> Content:
    """A file, an .npy with its labels as an .npz, the images of a folder, or one image. BadInput where there is nothing
    of it. labelled: see `classes.ordered`.
    """
    if path.is_dir():
        name = path.resolve().name
        found = [(sample.path, path / sample.path) for sample in classes.samples(path, name, labelled)]
        return Content(f"{name}.zip", lambda: _archive(found))
    if not path.is_file():
        raise BadInput(f"there is no file or folder {str(path)!r}", reason="NO_SUCH_FILE")
    if classes.is_image(path.name):
        return Content(f"{path.stem}.zip", lambda: _archive([(path.name, path)]))
    labels = path.with_name(f"{path.stem}_labels.npy")
    if path.suffix.lower() == ".npy" and labels.is_file():
        return Content(f"{path.stem}.npz", lambda: _archive([("X.npy", path), ("y.npy", labels)]))
    return Content(path.name, lambda: _read(path))


def cut(content: bytes) -> Iterator[bytes]:
    """Bytes in parts."""
    return (content[start : start + WHOLE] for start in range(0, len(content), WHOLE))


def _read(path: Path, size: int = WHOLE) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(size):
            yield chunk


def _archive(files: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """A ZIP archive of files by their names in it, which are not packed tighter: images are already."""
    sink: Any = _Sink()  # all of a file that an archive that is only written needs
    with zipfile.ZipFile(sink, "w") as archive:
        for name, path in files:
            entry = zipfile.ZipInfo(name)  # of 1980, as far as the archive knows
            entry.file_size = path.stat().st_size
            with archive.open(entry, "w") as packed:
                for chunk in _read(path, PART):
                    packed.write(chunk)
                    if sink.waiting >= PART:
                        yield sink.take()
    yield from cut(sink.take())


class _Sink:
    """A file that holds what was written until it is taken."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self.waiting = 0

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        self.waiting += len(data)
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken, self._written, self.waiting = b"".join(self._written), [], 0
        return taken
