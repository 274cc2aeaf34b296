"""Training and validation rows as the samples that a network is fed: prepared rows, or pixels out of mapped blocks.

The rule: nothing is copied but the rows of a batch, in the order that is asked for.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from msgspec import Struct

from tensorfleet.errors import BadInput
from tensorfleet.operators import Input

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

UNKNOWN = -1
"""The label of a class that the training rows do not have."""


class Taken(Protocol):
    """`take(places)`: the samples at some places of the rows, (n, *shape)."""

    def __call__(self, places: "Array") -> "Array": ...


class Samples(Struct, frozen=True):
    """Rows to train on or to validate with.

    shape: of one sample. y: labels of classes as int32, or float32 values, (n,). rows: ids in the dataset, int64.
    block_rows: rows of each of the dataset's blocks, where these are known.
    """

    shape: tuple[int, ...]
    take: Taken
    y: "Array"
    rows: "Array"
    block_rows: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.y)


class Preparation(Struct, frozen=True):
    """What is common to the training and the validation rows.

    classes: the texts of the labels, in order; empty of a regression. image: the shape of the pixels, the rows of each
    block, and the blocks; None of a table.
    """

    classes: tuple[str, ...]
    blocks: Sequence["Array"] = ()
    block_rows: tuple[int, ...] = ()
    image: tuple[int, ...] = ()


def preparation(prepared: Input, blocks: Sequence[Input]) -> Preparation:
    """Of the preparation's bundle, and the blocks of an image dataset."""
    tree = prepared.bundle()
    image, classes = tree.get("image"), tuple(tree["classes"])
    if image is None:
        return Preparation(classes)
    from tensorfleet.data import images

    pixels = images.pixels([block.path for block in blocks])
    return Preparation(classes, pixels, tuple(image["block_rows"]), tuple(image["shape"]))


def read(part: Input, common: Preparation) -> Samples:
    """The samples of the training's or the validation's bundle."""
    import numpy as np

    tree = part.bundle()
    y = labels(tree["y"], common.classes) if common.classes else np.asarray(tree["y"], dtype=np.float32)
    rows = tree["rows"]
    if common.image:
        return Samples(common.image, _pixels(common, rows), y, rows, common.block_rows)
    X = tree["X"]
    return Samples((int(X.shape[1]),), lambda places: X.take(places, axis=0), y, rows)


def labels(y: "Array", classes: Sequence[str]) -> "Array":
    """The place of each label among the classes, by its text; UNKNOWN where it is none of them."""
    import numpy as np

    known = {name: place for place, name in enumerate(classes)}
    found, inverse = np.unique(y, return_inverse=True)
    places = np.array([known.get(str(label), UNKNOWN) for label in found], dtype=np.int32)
    return places[inverse] if len(found) else np.empty(0, dtype=np.int32)


def class_weights(asked: Any, y: "Array", classes: Sequence[str]) -> "Array | None":
    """What each class weighs, (classes,) as float32: `balanced`, or by the label's text, where 1 is for the others.

    BadInput for the text of no class.
    """
    import numpy as np

    if asked is None or not classes:
        return None
    if asked == "balanced":
        counts = np.bincount(y, minlength=len(classes))
        return (len(y) / (len(classes) * np.maximum(counts, 1))).astype(np.float32)
    unknown = [name for name in asked if name not in classes]
    if unknown:
        known = ", ".join(classes[:10])
        raise BadInput(f"class_weight names {unknown[0]!r}, which is no class; the classes are {known}")
    return np.array([asked.get(name, 1.0) for name in classes], dtype=np.float32)


def spread(y: "Array") -> tuple[float, float]:
    """Offset and scale of a regression's target: its mean and standard deviation, or 1 where that is nothing."""
    import numpy as np

    values = y.astype(np.float64)
    return float(np.float32(values.mean())), float(np.float32(values.std())) or 1.0


def goal_shape(common: Preparation, samples: Samples) -> Mapping[str, Any]:
    """What `architecture.build` is told of the data."""
    return {"shape": samples.shape, "classes": len(common.classes) or None}


def _pixels(common: Preparation, rows: "Array") -> Taken:
    import numpy as np

    ends = np.cumsum(common.block_rows)
    blocks = np.searchsorted(ends, rows, side="right")
    offsets = rows - (ends - common.block_rows)[blocks]

    def take(places: "Array") -> "Array":
        out = np.empty((len(places), *common.image), dtype=np.uint8)
        wanted, within = blocks[places], offsets[places]
        for block in np.unique(wanted):
            own = wanted == block
            out[own] = common.blocks[block][within[own]]
        return out

    return take
