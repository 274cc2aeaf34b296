"""Images of a dataset: how its blocks hold them, and how they are mapped.

The rule: all images of a dataset have one shape (height, width, channels), 8 bits a value, and lie in a block as
Arrow's fixed-shape tensors, row after row from a multiple of 64 bytes on; so they are mapped and never copied. The file
of each is beside them, and no column of the dataset: nothing is learned from it.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from msgspec import Struct

from tensorfleet.data.sources import FILE, IMAGE, LABEL
from tensorfleet.data.typed import typed

Array = np.ndarray[Any, Any]

BLOCK_BYTES = 64 * 1024 * 1024
"""Bytes of a block's pixels, at most, but for a block of a single image."""

MAX_BLOCK_ROWS = 65_536


class Part(NamedTuple):
    """Some images: uint8 (rows, height, width, channels), a label a row, and the file of each, or nothing where they
    were no files: the same for all parts."""

    pixels: Array
    labels: Sequence[Any] | Array
    files: Sequence[str] = ()


class Images(Struct, frozen=True):
    """Images that are read as they are asked for.

    shape: height, width and channels of each. parts: once, in order. format: what the manifest says of it. name: for
    errors.
    """

    shape: tuple[int, int, int]
    parts: Iterable[Part]
    format: str
    name: str


def block_rows(shape: Sequence[int]) -> int:
    """Images of a shape in a block, a power of two: fixed by the dataset, never by the number of workers."""
    fitting = max(1, BLOCK_BYTES // int(np.prod(shape)))
    return int(min(MAX_BLOCK_ROWS, 1 << (fitting.bit_length() - 1)))


def stored(shape: Sequence[int]) -> pa.DataType:
    """The Arrow type of images of a shape."""
    return pa.fixed_shape_tensor(pa.uint8(), list(shape))


def column(pixels: Array) -> pa.Array:
    """Images (rows, height, width, channels), uint8, as a column; nothing is copied."""
    dtype = stored(pixels.shape[1:])
    values = pa.array(np.ascontiguousarray(pixels).reshape(-1))
    width = dtype.storage_type.list_size
    return pa.ExtensionArray.from_storage(dtype, pa.FixedSizeListArray.from_arrays(values, width))


def blocks(images: Images) -> Iterator[pa.Table]:
    """The rows of each block as a table, overwritten when the next one is asked for, so that one is in memory."""
    room, pixels, labels = block_rows(images.shape), np.empty((0, *images.shape), np.uint8), _Labels(images.name)
    filled, files = 0, list[str]()
    for values, named, paths in images.parts:
        start = 0
        while start < len(values):
            if not len(pixels):
                pixels = np.empty((room, *images.shape), np.uint8)
            taken = min(len(values) - start, room - filled)
            pixels[filled : filled + taken] = values[start : start + taken]
            labels.add(named[start : start + taken])
            files += paths[start : start + taken]
            start, filled = start + taken, filled + taken
            if filled == room:
                yield _block(pixels, labels.take(), files)
                filled, files = 0, []
    if filled:
        yield _block(pixels[:filled], labels.take(), files)


def _block(pixels: Array, labels: pa.ChunkedArray, files: list[str]) -> pa.Table:
    columns = {IMAGE: column(pixels), LABEL: labels}
    return pa.table({**columns, FILE: pa.array(files, pa.string())} if files else columns)


class _Labels:
    """The labels of the block in hand."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._parts: list[pa.Array] = []

    def add(self, labels: Sequence[Any] | Array) -> None:
        self._parts.append(pa.array(labels))

    def take(self) -> pa.ChunkedArray:
        parts, self._parts = self._parts, []
        return typed(pa.table({LABEL: pa.chunked_array(parts)}), self._name).column(LABEL)


def pixels(paths: Sequence[Path]) -> list[Array]:
    """The images of each block: uint8 (rows, height, width, channels), mapped from its file, read-only.

    ValueError where a file is no block, or has no images.
    """
    return [_mapped(path) for path in paths]


def files(path: Path) -> list[str] | None:
    """The files that the images of a block were; None where they were none."""
    with pa.memory_map(str(path)) as file:
        block = pa.ipc.open_file(file)
        return block.read_all().column(FILE).to_pylist() if FILE in block.schema.names else None


def _mapped(path: Path) -> Array:
    block = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    images = [column for column in block.columns if isinstance(column.type, pa.FixedShapeTensorType)]
    if not images:
        raise ValueError(f"{path} is a block of columns, and has no images")
    array: Array = images[0].chunk(0).to_numpy_ndarray()
    return array
