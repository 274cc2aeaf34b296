"""Which files of a folder are images of which class: one folder a class, or images alone, to be predicted.

The rule: images come by the classes' names and then by their paths, both in the order of their characters, so a folder
and an archive of it are the same dataset. Nothing here opens a file, and no numerics are imported.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from msgspec import Struct

from tensorfleet.counts import counted, either
from tensorfleet.data import sources
from tensorfleet.errors import BadInput

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
"""Of files that are taken for images."""


class Sample(Struct, frozen=True, order=True):
    """A file of a class, by its path from the dataset's folder. label: empty where there are no classes."""

    label: str
    path: str


def samples(path: Path, name: str, labelled: bool = True) -> list[Sample]:
    """The images below a folder, in order. name: the folder's, for errors. labelled: see `ordered`.

    BadInput: FORMAT_UNKNOWN where it is a file, FOLDER_MISSING, FOLDER_UNREADABLE, CLASS_NAME, NO_IMAGES.
    """
    if path.is_file():
        raise BadInput(sources.unknown_format(name.rstrip("/")), reason="FORMAT_UNKNOWN")

    def stop(error: OSError) -> None:
        reason = "FOLDER_MISSING" if isinstance(error, FileNotFoundError) else "FOLDER_UNREADABLE"
        raise BadInput(f"{name}: {error.filename} cannot be read: {error.strerror}", reason=reason)

    found, classes = [], []
    for folder, names, files in os.walk(path, onerror=stop):
        inner = Path(folder).relative_to(path)
        names[:] = [each for each in names if not each.startswith(".")]
        classes += names if folder == str(path) else []
        found += [(inner / file).as_posix() for file in files]
    return ordered(found, name, classes if labelled else (), labelled)


def root(files: list[str]) -> str:
    """The folder that an archive was made of, where it lies in it as a whole: all classes are in it."""
    tops = {PurePosixPath(file).parts[0] for file in files}
    whole = len(tops) == 1 and all(len(PurePosixPath(file).parts) > 2 for file in files if is_image(file))
    return f"{tops.pop()}/" if whole else ""


def ordered(files: Iterable[str], name: str, classes: Iterable[str] = (), labelled: bool = True) -> list[Sample]:
    """The images among files by their paths. classes: folders that must have some. labelled: where not, every image at
    whatever depth is taken, and none has a label. BadInput as `samples` says."""
    found: list[Sample] = []
    others: list[str] = []
    outside: list[str] = []
    for file in files:
        path = PurePosixPath(file)
        if any(part.startswith(".") for part in path.parts):
            continue
        if not is_image(file):
            others.append(file)
        elif not labelled or len(path.parts) < 2:
            outside.append(file)
        else:
            found.append(Sample(path.parts[0], file))
    if not found and not outside:
        raise BadInput(
            f"{name}: there are no images in it ({', '.join(SUFFIXES)}); a folder of images has one folder a class",
            reason="NO_IMAGES",
        )
    if empty := sorted(set(classes) - {sample.label for sample in found}):
        raise BadInput(
            f"{name}: the folder of class {empty[0]!r} has no images; add some or remove it", reason="NO_IMAGES"
        )
    for label in {sample.label for sample in found}:
        if any("\ud800" <= letter <= "\udfff" for letter in label):
            raise BadInput(f"{name}: the folder {label!r} has a name that is no text; rename it", reason="CLASS_NAME")
    if not found:
        found, outside = [Sample("", file) for file in outside], []
    if skipped := sorted([*others, *outside]):
        left = f"{counted(len(skipped), 'file')} {either(len(skipped), 'is', 'are')} left out"
        print(f"warning: {name}: {left}, such as {skipped[0]}", file=sys.stderr)
    return sorted(found)


def is_image(file: str) -> bool:
    """Whether a file's name is that of an image."""
    return PurePosixPath(file).suffix.lower() in SUFFIXES
