"""Images in folders, one folder a class, on disk or in a ZIP archive.

The rule: `classes.py` says which they are and in which order; one shape is that of all, and what differs is told.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tensorfleet.data import classes, image_files
from tensorfleet.data.classes import Sample
from tensorfleet.data.image_files import Wanted
from tensorfleet.data.images import Images, Part
from tensorfleet.errors import BadInput

Array = np.ndarray[Any, Any]

FORMAT = "images"
"""What a manifest says was read."""

MAX_FILE = 256 * 1024 * 1024
"""Bytes of one file in an archive, at most, once unpacked."""

Read: TypeAlias = Callable[[str], bytes | Path]
"""`read(path)`: the bytes of a file by its path in the folder, or where it is."""


def of_folder(path: Path, name: str, wanted: Wanted, labelled: bool = True) -> Images:
    """The images of a folder. name: the folder's, for errors. labelled: see `classes.ordered`.

    BadInput: IMAGES_DIFFER, and those of `classes` and `image_files`.
    """
    return _images(classes.samples(path, name, labelled), lambda file: path / file, name, wanted)


def of_archive(path: Path, name: str, wanted: Wanted, labelled: bool = True) -> Images:
    """The images of a ZIP archive of such a folder, or of the folder's content. BadInput, also ZIP_MALFORMED."""
    try:
        archive = zipfile.ZipFile(path)
        listed = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise BadInput(f"{name}: it is no ZIP archive that can be read: {error}", reason="ZIP_MALFORMED") from error

    def read(file: str) -> bytes:
        entry = listed[root + file]
        if entry.file_size > MAX_FILE:
            raise BadInput(f"{name}: {file} is larger than {MAX_FILE:,} bytes", reason="ZIP_MALFORMED")
        try:
            return archive.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
            raise BadInput(f"{name}: {file} cannot be unpacked: {error}", reason="ZIP_MALFORMED") from error

    files = [file for file in listed if not file.startswith("__MACOSX/")]
    root = classes.root(files)
    found = classes.ordered((file.removeprefix(root) for file in files), name, labelled=labelled)
    return _images(found, read, name, wanted)


def _images(found: list[Sample], read: Read, name: str, wanted: Wanted) -> Images:
    label = name.rstrip("/")
    first = image_files.decode(read(found[0].path), f"{label}/{found[0].path}", wanted)

    def parts() -> Iterator[Part]:
        for sample in found:
            pixels = image_files.decode(read(sample.path), f"{label}/{sample.path}", wanted)
            if pixels.shape != first.shape:
                raise _differ(label, found[0].path, first, sample.path, pixels)
            yield Part(pixels[None], [sample.label], [_text(sample.path)])

    return Images(first.shape, parts(), FORMAT, name)


def _text(path: str) -> str:
    """A path as text, whatever bytes the file system has in it."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _differ(name: str, one: str, first: Array, two: str, second: Array) -> BadInput:
    options = []
    if first.shape[:2] != second.shape[:2]:
        options.append("`?size=64` or `?size=64x48` (width x height), to scale them all")
    if first.shape[2] != second.shape[2]:
        options.append("`?channels=1` or `3`, to have them all grey or in colour")
    return BadInput(
        f"{name}: {one} is {_described(first)}, and {two} is {_described(second)}; the images of a dataset have one "
        f"shape: add to its name {', and '.join(options)}",
        reason="IMAGES_DIFFER",
    )


def _described(pixels: Array) -> str:
    height, width, channels = pixels.shape
    return f"{width} x {height} pixels and {'grey' if channels == 1 else 'in colour'}"
