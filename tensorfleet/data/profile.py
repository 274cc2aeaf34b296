"""What a column holds, in figures, for people and for the checks before training.

The rule: figures are plain JSON data; numbers that JSON cannot say (infinite ones) are counted and otherwise left out.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tensorfleet.data.sources import IMAGE, LABEL
from tensorfleet.data.typed import FLAG, TEXT, column_type, numbers
from tensorfleet.data.typed import IMAGE as IMAGE_TYPE

MAX_DISTINCT = 1_000
MAX_VALUES = 20
MAX_VALUE_LENGTH = 80
AT_ONCE = 1 << 20
"""Pixels that are counted at once: NumPy makes 8 bytes of each."""


def profile(table: pa.Table) -> list[dict[str, Any]]:
    """The columns of a typed table, in order, each with name, type, missing, distinct, minimum, maximum, mean, values.

    distinct counts up to 1,000. values: the 20 most frequent as {"value", "count"}. infinite: only where there are any.
    """
    return [_column(name, column) for name, column in zip(table.column_names, table.columns, strict=True)]


class OfImages:
    """The columns of images and their labels, whose blocks are seen one by one.

    The column of the images has `shape`, and for each channel the `mean` and the `deviation` of all its pixels.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self._counts = np.zeros((shape[2], 256), np.int64)
        self._labels: list[pa.Array] = []

    def watched(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            self._labels += table.column(LABEL).chunks
            for image in table.column(IMAGE).chunks:
                self._count(image.to_numpy_ndarray())
            yield table

    def columns(self) -> list[dict[str, Any]]:
        seen, values = np.flatnonzero(self._counts.sum(axis=0)), np.arange(256)
        counts = self._counts.sum(axis=1)
        means = self._counts @ values / counts
        deviations = np.sqrt(np.maximum(self._counts @ values**2 / counts - means**2, 0))
        image = {
            "name": IMAGE,
            "type": IMAGE_TYPE,
            "shape": list(self._shape),
            "missing": 0,
            "minimum": float(seen[0]),
            "maximum": float(seen[-1]),
            "mean": float(means.mean()),
            "channels": [
                {"mean": float(mean), "deviation": float(deviation)}
                for mean, deviation in zip(means, deviations, strict=True)
            ],
        }
        return [image, *profile(pa.table({LABEL: pa.chunked_array(self._labels)}))]

    def _count(self, pixels: "np.ndarray[Any, Any]") -> None:
        step = max(1, AT_ONCE // pixels[0].size)
        for start in range(0, len(pixels), step):
            part = pixels[start : start + step]
            for channel, counts in enumerate(self._counts):
                counts += np.bincount(part[..., channel].reshape(-1), minlength=256)


def _column(name: str, column: pa.ChunkedArray) -> dict[str, Any]:
    kind = column_type(column.type)
    distinct, values = _frequent(column)
    figures: dict[str, Any] = {"name": name, "type": kind, "missing": column.null_count, "distinct": distinct}
    if kind not in (TEXT, FLAG):
        figures.update(_spread(column, kind))
    return {**figures, "values": values}


def _frequent(column: pa.ChunkedArray) -> tuple[int, list[dict[str, Any]]]:
    counted = pa.Table.from_struct_array(pc.value_counts(column.drop_null()))
    top = pc.select_k_unstable(counted, MAX_VALUES, [("counts", "descending"), ("values", "ascending")])
    pairs = zip(*(counted.column(name).take(top).to_pylist() for name in ("values", "counts")), strict=True)
    # Of nothing but single values none is frequent.
    values = [
        {"value": _shown(value), "count": count}
        for value, count in pairs
        if count > 1 or counted.num_rows <= MAX_VALUES
    ]
    return min(counted.num_rows, MAX_DISTINCT), values


def _spread(column: pa.ChunkedArray, kind: str) -> dict[str, Any]:
    present = numbers(column.drop_null(), kind)
    finite = present[np.isfinite(present)]
    figures: dict[str, Any] = {}
    if len(finite) < len(present):
        figures["infinite"] = len(present) - len(finite)
    if not len(finite):
        return figures
    with np.errstate(over="ignore"):
        mean = float(finite.mean())
    figures.update(minimum=float(finite.min()), maximum=float(finite.max()))
    if np.isfinite(mean):
        figures["mean"] = mean
    return figures


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 1] + "…"
