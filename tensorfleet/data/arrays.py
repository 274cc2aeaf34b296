"""NumPy's files, .npz and .npy: images, or the rows of a table.

The rule: X of two dimensions is a table, of three or four it is images; only plain arrays are read, and never a pickle.
Whole numbers are pixels as they are, from 0 to 255; real numbers are so too, or from 0 to 1 where none is larger.
"""

import math
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import Struct

from tensorfleet.data import image_files, typed
from tensorfleet.data.image_files import Wanted
from tensorfleet.data.images import Images, Part
from tensorfleet.data.sources import TABLE_OPTIONS, TARGET
from tensorfleet.errors import BadInput

Array = np.ndarray[Any, Any]

FEATURES = ("X", "x", "images", "x_train", "X_train", "train_images")
TARGETS = ("y", "Y", "labels", "y_train", "Y_train", "train_labels", "target")

WHITE = 255

PART_BYTES = 16 * 1024 * 1024
"""Bytes that are read of an array at once."""


class Stored(Struct, frozen=True):
    """An array in a file. parts: its rows in order, anew at each call."""

    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"
    parts: Callable[[], Iterator[Array]]

    def whole(self) -> Array:
        """All of it, in this machine's own order of bytes, which Arrow needs."""
        array = np.concatenate([np.empty((0, *self.shape[1:]), self.dtype), *self.parts()])
        return array.astype(np.float64 if array.dtype.str[1:] == "f16" else array.dtype.newbyteorder("="), copy=False)


def read(path: Path, name: str, wanted: Wanted, labelled: bool = True) -> "pa.Table | Images":
    """A file's images, or its rows in the stored types.

    name: the file's, which tells the format. labelled: where not, images need no labels and have none. BadInput:
    NUMPY_MALFORMED, NUMPY_ARRAYS, IMAGE_SHAPE, IMAGE_VALUES, TABLE_OPTIONS, and those of `typed.typed`.
    """
    form = name.rpartition(".")[2].lower()
    with _told(name):
        X, y = _archived(path, name) if form == "npz" else _beside(path, name)
    if X.dtype.kind not in "buif":
        raise BadInput(f"{name}: its rows are of type {X.dtype}; expected an array of numbers", reason="NUMPY_ARRAYS")
    labels = None if y is None else _labels(y, X, name)
    if len(X.shape) in (1, 2):
        if wanted != Wanted() or not labelled:
            raise BadInput(f"{name}: {TABLE_OPTIONS}", reason="TABLE_OPTIONS")
        return _table(X, labels, name)
    if not labelled:
        labels = np.full(X.shape[0], "")
    if labels is None:
        raise BadInput(
            f"{name}: images need labels beside them: an array {' or '.join(TARGETS[:3])} in an .npz, or "
            f"{_labels_beside(Path(name))} beside an .npy",
            reason="NUMPY_ARRAYS",
        )
    return Images(_shape(X, wanted, name), _parts(X, labels, wanted, name), form, name)


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise BadInput(f"{name}: there is no file {error.filename}", reason="FILE_MISSING") from None
        raise BadInput(
            f"{name}: it is no file of NumPy's that can be read: {error}", reason="NUMPY_MALFORMED"
        ) from error


def _archived(path: Path, name: str) -> tuple[Stored, Stored | None]:
    with zipfile.ZipFile(path) as archive:
        names = [file.removesuffix(".npy") for file in archive.namelist() if file.endswith(".npy")]
    features = next((each for each in FEATURES if each in names), None)
    if features is None:
        raise BadInput(
            f"{name}: it has no array {', '.join(FEATURES[:-1])} or {FEATURES[-1]}; it has "
            f"{', '.join(names) or 'none at all'}",
            reason="NUMPY_ARRAYS",
        )
    target = next((each for each in TARGETS if each in names), None)
    return _member(path, features), _member(path, target) if target else None


def _beside(path: Path, name: str) -> tuple[Stored, Stored | None]:
    labels = _labels_beside(path)
    return _mapped(path), _mapped(labels) if labels.is_file() else None


def _labels_beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}_labels.npy")


def _mapped(path: Path) -> Stored:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    step = _step(array.shape, array.dtype)
    return Stored(
        array.shape, array.dtype, lambda: (array[start : start + step] for start in range(0, len(array), step))
    )


def _member(path: Path, name: str) -> Stored:
    """An array of an .npz, which is a ZIP archive of .npy files."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        shape, fortran, dtype = _header(file)

    def parts() -> Iterator[Array]:
        if fortran:
            with np.load(path, allow_pickle=False) as loaded:
                yield loaded[name]
            return
        step, width = _step(shape, dtype), int(np.prod(shape[1:])) * dtype.itemsize
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            _header(file)
            for start in range(0, shape[0], step):
                rows = min(step, shape[0] - start)
                data = file.read(rows * width)
                yield np.frombuffer(data, dtype, rows * width // dtype.itemsize).reshape(rows, *shape[1:])
            file.read(1)  # so that the archive's own check of all bytes is done

    return Stored(shape, dtype, parts)


def _header(file: Any) -> tuple[tuple[int, ...], bool, "np.dtype[Any]"]:
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = reader(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    return shape, fortran, dtype


def _step(shape: Sequence[int], dtype: "np.dtype[Any]") -> int:
    return max(1, PART_BYTES // max(1, int(np.prod(shape[1:])) * dtype.itemsize))


def _labels(y: Stored, X: Stored, name: str) -> Array:
    if not X.shape or (y.shape not in ((X.shape[0],), (X.shape[0], 1))):
        hint = "; give class numbers, as argmax(axis=1) makes them" if len(y.shape) == 2 else ""
        raise BadInput(
            f"{name}: X has the shape {X.shape} and y {y.shape}; expected one label a row{hint}", reason="NUMPY_ARRAYS"
        )
    with _told(name):
        labels = y.whole().reshape(-1)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if labels.dtype.kind not in "buifU":
        raise BadInput(
            f"{name}: its labels are of type {labels.dtype}; expected numbers or text", reason="NUMPY_ARRAYS"
        )
    return labels


def _table(X: Stored, labels: Array | None, name: str) -> pa.Table:
    with _told(name):
        rows = X.whole()
    columns = rows.reshape(len(rows), math.prod(rows.shape[1:])).T
    named = {f"feature_{index}": pa.array(np.ascontiguousarray(column)) for index, column in enumerate(columns)}
    return typed.typed(pa.table(named if labels is None else {**named, TARGET: pa.array(labels)}), name)


def _shape(X: Stored, wanted: Wanted, name: str) -> tuple[int, int, int]:
    shape = (*X.shape, 1)[:4] if len(X.shape) in (3, 4) else (0, 0, 0, 0)
    _, height, width, channels = shape
    if channels not in (1, 3) or not height * width:
        last = "; channels come last" if len(X.shape) == 4 and X.shape[1] in (1, 3) else ""
        raise BadInput(
            f"{name}: X has the shape {X.shape}; expected rows x columns for a table, or for images "
            f"rows x height x width or rows x height x width x channels, which are 1 or 3{last}",
            reason="IMAGE_SHAPE",
        )
    if not X.shape[0]:
        raise BadInput(f"{name}: it has no rows", reason="NO_ROWS")
    return wanted.height or height, wanted.width or width, wanted.channels or channels


def _parts(X: Stored, labels: Array, wanted: Wanted, name: str) -> Iterator[Part]:
    times, start = _times(X, name), 0
    with _told(name):
        for part in X.parts():
            pixels = part if X.dtype.kind in "iu" else np.rint(part * times)
            images = pixels.astype(np.uint8, copy=False).reshape(*part.shape[:3], -1)
            yield Part(image_files.reshaped(images, wanted), labels[start : start + len(part)])
            start += len(part)


def _times(X: Stored, name: str) -> int:
    """What a value is to be multiplied with to be a pixel. BadInput where values are no pixels."""
    if X.dtype in (np.uint8, np.bool_):
        return 1 if X.dtype == np.uint8 else WHITE
    most = 0.0
    with _told(name):
        for part in X.parts():
            low, high = float(part.min()), float(part.max())
            if not (low >= 0 and high <= WHITE):  # so also where one is no number
                raise BadInput(
                    f"{name}: it has pixels from {low:g} to {high:g}; expected 0 to 255, or real numbers from 0 to 1",
                    reason="IMAGE_VALUES",
                )
            most = max(most, high)
    if X.dtype.kind in "iu" or most > 1:
        return 1
    print(f"{name}: its pixels are real numbers from 0 to 1, and are taken times {WHITE}", file=sys.stderr)
    return WHITE
