"""Operator `data.prepare@1`: a dataset's blocks as the training and validation matrices, and how rows become such.

The rule: the rows of both, and their order, are those of scikit-learn's `train_test_split` on the same rows; only
training rows teach the preprocessing.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from tensorfleet import bundle
from tensorfleet.data import blocks, checks, manifest, preprocessing, rows, typed
from tensorfleet.data.manifest import Manifest
from tensorfleet.data.sources import find_target
from tensorfleet.errors import BadInput
from tensorfleet.model import Value
from tensorfleet.operators import Context, Input, Outcome

Array = np.ndarray[Any, Any]

CLASSIFICATION = "classification"


class Dataset(Struct, frozen=True):
    """A manifest, its digest, and its rows, mapped."""

    manifest: Manifest
    digest: str
    table: pa.Table


class Wanted(Struct, frozen=True):
    """The operator's parameters, with the target found."""

    target: str
    features: list[str]
    types: list[str]
    task: str
    validation_split: float
    seed: int
    scale: bool
    single: bool
    ids: bool = False

    @property
    def images(self) -> bool:
        return typed.IMAGE in self.types


class Part(NamedTuple):
    """The training or the validation rows: raw (none of images), what is predicted, and which rows of the dataset they
    are (n,)."""

    frame: Any
    y: Array
    rows: Array

    def of(self, indices: Array | slice) -> "Part":
        frame = None if self.frame is None else self.frame.iloc[indices]
        return Part(frame, self.y[indices], self.rows[indices])


def prepare(context: Context) -> Outcome:
    """params: {"target", "exclude", "validation_split", "seed", "task", "scale", "single",
    "training_inputs"}; and "ids" where train and validation shall tell their "rows".

    inputs: [manifest, block, …, (validation manifest, block, …)]. outputs: [train, validation, preparation].
    rows: int64 (n,), which rows of the dataset they are; those of a validation dataset are counted on from there.
    Of images there is no X: the rows say where they are in the blocks. BadInput where the data cannot be trained on,
    with the reasons of `checks.py`.
    """
    params = context.params
    count = int(params.get("training_inputs") or len(context.inputs))  # type: ignore[arg-type]
    data = _dataset(context.inputs[:count])
    other = _dataset(context.inputs[count:]) if len(context.inputs) > count else None
    wanted = _wanted(data, params)
    y = target_values(data, wanted)
    check(data, wanted, y, list(params.get("exclude") or []), other is None)  # type: ignore[arg-type]
    frame = None if wanted.images else rows.of_table(data.table, wanted.features)
    whole = Part(frame, y, np.arange(len(y)))
    if other is None:
        train, rest = split(y, wanted)
        parts = whole.of(train), whole.of(rest)
    else:
        parts = whole, _validation(data, other, wanted)
    content = _located(data, other, wanted) if wanted.images else _columns(wanted, *parts)
    return _outcome(data, wanted, *parts, content)


def split(y: Array, wanted: Wanted) -> tuple[Array | slice, Array]:
    """The training and the validation rows' indices, as `train_test_split` draws them."""
    from sklearn.model_selection import train_test_split

    count, share = len(y), wanted.validation_split
    if share == 0:
        return slice(None), np.empty(0, dtype=np.intp)
    held_out = int(np.ceil(share * count))
    if held_out >= count:
        raise BadInput(
            f"a validation split of {share} leaves no row of {count:,} to train on; take a smaller one",
            reason="TOO_FEW_ROWS",
        )
    stratify = y if wanted.task == CLASSIFICATION and stratifiable(y, count - held_out, held_out) else None
    train, rest = train_test_split(np.arange(count), test_size=share, random_state=wanted.seed, stratify=stratify)
    return train, rest


def stratifiable(y: Array, training: int, validation: int) -> bool:
    """True where every class has two rows at least, and both sides have room for one of each."""
    counts = np.unique(y, return_counts=True)[1]
    return bool(counts.min() >= 2 and min(training, validation) >= len(counts))


def target_values(data: Dataset, wanted: Wanted) -> Array:
    """What is predicted, (n,): labels as they are for a classifier, float64 for a regressor."""
    column = data.table.column(wanted.target)
    kind = typed.column_type(column.type)
    if kind == typed.IMAGE:
        checks.raise_first([checks.pictured(wanted.target)])
    if wanted.images and column.null_count == len(column):
        checks.raise_first([checks.unlabelled(wanted.target)])
    if column.null_count:
        first = pc.index(pc.is_null(column), True).as_py() + 1
        raise BadInput(
            f"column {wanted.target!r} is to be predicted and has no value in {column.null_count:,} of {len(column):,} "
            f"rows, first in row {first:,}; remove those rows",
            reason="TARGET_MISSING_VALUES",
        )
    if kind == typed.TEXT:
        return np.array(column.to_pylist(), dtype=np.str_)
    if wanted.task == CLASSIFICATION and kind in (typed.INTEGER, typed.FLAG):
        return np.asarray(column.to_numpy())
    return typed.numbers(column, kind)


def check(data: Dataset, wanted: Wanted, y: Array, exclude: Sequence[str], splits: bool) -> None:
    """BadInput for what `checks.findings` calls an error; its warnings are printed."""
    described = data.manifest
    found = checks.findings(described.columns, described.rows, target=wanted.target, task=wanted.task, exclude=exclude)
    takes = ("table", "image") if wanted.ids else ("table",)
    untaken = checks.untaken(
        described.columns, takes, exclude, who="this algorithm", instead="one for images, as cnn is"
    )
    checks.raise_first([*found, *([untaken] if untaken else [])])
    if wanted.task == CLASSIFICATION and y.dtype.kind == "f" and (y != np.floor(y)).any():
        checks.raise_first([checks.continuous(wanted.target, "holds real numbers, which are no classes")])
    for finding in found:
        if finding.reason != "CLASS_TOO_SMALL":
            print(f"warning: {finding.message}", file=sys.stderr)
    if wanted.task == CLASSIFICATION and splits and wanted.validation_split:
        labels, counts = np.unique(y, return_counts=True)
        if (counts == 1).any():
            small = checks.small_classes(wanted.target, [str(label) for label in labels[counts == 1]])
            print(f"warning: {small.message}", file=sys.stderr)


def _dataset(inputs: Sequence[Input]) -> Dataset:
    data = inputs[0].path.read_bytes()
    described = manifest.decode(data)
    table = blocks.read([item.path for item in inputs[1:]], described.names)
    return Dataset(described, manifest.digest(data), table)


def _wanted(data: Dataset, params: Any) -> Wanted:
    names = data.manifest.names
    target = find_target(names, str(params.get("target") or data.manifest.target))
    left_out = {target, *(params.get("exclude") or [])}
    features = [name for name in names if name not in left_out]
    kinds = {column["name"]: str(column["type"]) for column in data.manifest.columns}
    return Wanted(
        target=target,
        features=features,
        types=[kinds[name] for name in features],
        task=str(params["task"]),
        validation_split=float(params["validation_split"]),
        seed=int(params["seed"]),
        scale=bool(params["scale"]),
        single=bool(params["single"]),
        ids=bool(params.get("ids")),
    )


def _validation(data: Dataset, other: Dataset, wanted: Wanted) -> Part:
    """The rows of the validation dataset, which must have the same columns."""
    if wanted.target not in other.manifest.names:
        raise BadInput(
            f"the validation dataset has no column {wanted.target!r} to predict", reason="TARGET_MISSING_COLUMN"
        )
    y = target_values(other, wanted)
    kinds = {column["name"]: str(column["type"]) for column in other.manifest.columns}
    for name, kind in zip(wanted.features, wanted.types, strict=True):
        if name in kinds and kind != typed.TEXT and kinds[name] == typed.TEXT:
            raise BadInput(
                f"column {name!r} holds text in the validation dataset, and {kind} values in the training dataset",
                reason="COLUMN_TYPE",
            )
    frame = None if wanted.images else rows.of_table(other.table, wanted.features, wanted.types)
    first = data.manifest.rows
    return Part(frame, y, np.arange(first, first + len(y)))


class Content(NamedTuple):
    """What the parts and the preparation hold besides labels, and the columns that a model sees."""

    training: dict[str, Array]
    validation: dict[str, Array]
    preparation: dict[str, Any]
    features: int


def _columns(wanted: Wanted, training: Part, validation: Part) -> Content:
    """The matrices of a table, and the transformer that makes them."""
    from tensorfleet.models import state

    transformer = preprocessing.fitted(training.frame, wanted.types, scale=wanted.scale)
    X, held_out = (preprocessing.matrix(transformer, part.frame, wanted.single) for part in (training, validation))
    return Content({"X": X}, {"X": held_out}, {"transformer": state.dump(transformer)}, X.shape[1])


def _located(data: Dataset, other: Dataset | None, wanted: Wanted) -> Content:
    """Where images are: in the blocks of the training dataset, then in those of the validation dataset."""
    (column,) = wanted.features
    shapes = [_shape(each.manifest, column) for each in (data, other) if each is not None]
    if shapes[0] != shapes[-1]:
        one, two = (" x ".join(map(str, shape)) for shape in (shapes[0], shapes[-1]))
        raise BadInput(
            f"the validation dataset's images are {two} (height, width, channels), and those to train on {one}; "
            "add one of them with another ?size= or ?channels=",
            reason="IMAGE_SHAPE",
        )
    every = [block.rows for each in (data, other) if each is not None for block in each.manifest.blocks]
    image = {"column": column, "shape": shapes[0], "block_rows": every}
    return Content({}, {}, {"transformer": None, "image": image}, math.prod(shapes[0]))


def _shape(described: Manifest, column: str) -> list[int]:
    found = next((each for each in described.columns if each["name"] == column), None)
    if found is None or found["type"] != typed.IMAGE:
        raise BadInput(f"the validation dataset has no images in a column {column!r}", reason="COLUMN_TYPE")
    return list(found["shape"])


def _outcome(data: Dataset, wanted: Wanted, training: Part, validation: Part, content: Content) -> Outcome:
    classes = _classes(training.y, wanted)
    preparation = {
        **content.preparation,
        "features": wanted.features,
        "types": wanted.types,
        "target": wanted.target,
        "classes": classes,
    }
    summary: dict[str, Value] = {
        "training_rows": len(training.y),
        "validation_rows": len(validation.y),
        "features": content.features,
        "classes": len(classes),
        "target": wanted.target,
        "dataset_digest": data.digest,
    }
    return Outcome(
        [
            bundle.encode({**content.training, "y": training.y, **_ids(training, wanted)}),
            bundle.encode({**content.validation, "y": validation.y, **_ids(validation, wanted)}),
            bundle.encode(preparation),
        ],
        {**summary, "image": wanted.images} if wanted.ids else summary,
    )


def _ids(part: Part, wanted: Wanted) -> dict[str, Array]:
    return {"rows": part.rows.astype(np.int64, copy=False)} if wanted.ids else {}


def _classes(y: Array, wanted: Wanted) -> list[str]:
    if wanted.task != CLASSIFICATION:
        return []
    labels = np.unique(y)
    if len(labels) < 2:
        raise BadInput(
            f"the {len(y):,} training rows hold one class of column {wanted.target!r} alone, {str(labels[0])!r}; "
            "a classifier needs two: give more rows or a smaller validation split",
            reason="TARGET_ONE_CLASS",
        )
    return [str(label) for label in labels]
