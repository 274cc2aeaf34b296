"""Raw images as the pixels that a model takes: arrays, files, a request's rows, a dataset's blocks.

The rule: what comes out is uint8 (n, h, w, c) of the shape that the model was trained on, or an error that says both
shapes; a file is decoded and resized as ingest does it, an array is taken as it is.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tensorfleet.data import image_files
from tensorfleet.errors import BadInput

Array = np.ndarray[Any, Any]


def of_any(X: Any, column: str, shape: Sequence[int]) -> Array:
    """Images as callers have them: an array (n, h, w[, c]), or a list of arrays (h, w[, c]), of files' paths or of
    mappings with the column; or one file's path. shape: (h, w, c). BadInput for what is no such image."""
    if isinstance(X, str | Path):
        X = [X]
    if isinstance(X, np.ndarray) and X.dtype.kind in "fiub":
        return _shaped(X, shape)
    if type(X).__module__.partition(".")[0] == "pandas":
        X = X[column].tolist()
    values = [row[column] if isinstance(row, Mapping) else row for row in X]
    return _stacked([_one(value, f"image {number}", shape) for number, value in enumerate(values, 1)], shape)


def of_request(
    columns: Sequence[str] | None, rows: Sequence[Sequence[Any]], column: str, shape: Sequence[int]
) -> Array:
    """Images of a request's rows: pixels as nested lists or as one list, or a file's bytes in base64."""
    names = [column] if columns is None else list(columns)
    if column not in names:
        raise BadInput(f"columns that the model needs are missing: {column!r}", reason="COLUMNS_MISSING")
    place = names.index(column)
    images = []
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise BadInput(f"row {number}: expected {len(names)} values, got {len(row)}", reason="ROW_MALFORMED")
        value = row[place]
        if isinstance(value, str):
            try:
                value = base64.b64decode(value, validate=True)
            except binascii.Error as error:
                told = f"row {number}: expected pixels from 0 to 255, or an image file's bytes in base64"
                raise BadInput(told, reason="VALUE") from error
        images.append(_one(value, f"row {number}", shape))
    return _stacked(images, shape)


def of_block(path: Path, column: str, shape: Sequence[int]) -> Array:
    """The images of a dataset's block, mapped. BadInput where it holds none, or of another shape."""
    import pyarrow as pa

    from tensorfleet.data import images

    with pa.memory_map(str(path)) as file:
        names = pa.ipc.open_file(file).schema.names
    if column not in names:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        told = f"the model takes images of {_known(shape)}, and the dataset has none: its columns are {shown}"
        raise BadInput(told, reason="COLUMNS_MISSING")
    (pixels,) = images.pixels([path])
    try:
        return _shaped(pixels, shape)
    except BadInput as error:
        height, width, channels = shape
        how = f"add the images with ?size={width}x{height}&channels={channels} behind their name"
        raise BadInput(f"{error.message}; {how}", reason=error.reason) from error


def taken(blocks: Sequence[Array], rows: Array) -> Array:
    """Images by their row in the dataset (n, h, w, c), copied out of its blocks."""
    ends = np.cumsum([len(block) for block in blocks])
    places = np.searchsorted(ends, rows, side="right")
    found: Array = np.empty((len(rows), *blocks[0].shape[1:]), np.uint8)
    for place in np.unique(places):
        here = places == place
        found[here] = blocks[place][rows[here] - (ends[place] - len(blocks[place]))]
    return found


def _one(value: Any, name: str, shape: Sequence[int]) -> Array:
    """One image (h, w, c)."""
    if isinstance(value, str | Path | bytes):
        height, width, channels = (int(length) for length in shape)
        given, called = (value, name) if isinstance(value, bytes) else (Path(value), str(value))
        return image_files.decode(given, called, image_files.Wanted(height, width, channels))
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise BadInput(f"{name}: rows of pixels of different lengths", reason="IMAGE_SHAPE") from error
    if array.dtype.kind not in "fiub":
        raise BadInput(f"{name}: expected pixels from 0 to 255, got {value!r:.80}", reason="VALUE")
    if array.ndim == 1 and array.size == np.prod(shape):
        array = array.reshape(tuple(shape))
    try:
        shaped: Array = _shaped(array[np.newaxis], shape)[0]
    except BadInput as error:
        raise BadInput(f"{name}: {error.message}", reason=error.reason) from error
    return shaped


def _shaped(array: Array, shape: Sequence[int]) -> Array:
    """An array (n, h, w[, c]) as uint8 (n, h, w, c)."""
    wanted = tuple(int(length) for length in shape)
    if array.ndim == 3 and wanted[2] == 1:
        array = array[..., np.newaxis]
    if array.ndim != 4 or array.shape[1:] != wanted:
        got = _known(array.shape[1:])
        raise BadInput(f"the model takes images of {_known(shape)}, and got {got}", reason="IMAGE_SHAPE")
    if array.dtype != np.uint8:
        if array.size and not (array.min() >= 0 and array.max() <= 255 and (array == np.floor(array)).all()):
            raise BadInput("expected pixels that are whole numbers from 0 to 255", reason="VALUE")
        array = array.astype(np.uint8)
    return array


def _known(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _stacked(images: Sequence[Array], shape: Sequence[int]) -> Array:
    return np.stack(images) if images else np.empty((0, *shape), np.uint8)
