"""What callers hand in, as plain data: NumPy scalars, DataFrames, arrays and rows.

The rule: pandas and NumPy are never imported here; whoever hands one in has them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tensorfleet.data import classes, sources
from tensorfleet.errors import BadInput, InvalidRequest
from tensorfleet.model import FieldViolation, Value

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

DatasetLike: TypeAlias = "str | Path | pd.DataFrame"
"""A dataset's name, a source such as `synthetic:…` or `file://…`, a path, or a DataFrame."""

Rows: TypeAlias = "pd.DataFrame | np.ndarray[Any, Any] | Sequence[Sequence[Value]] | Sequence[Mapping[str, Value]]"
"""Rows to predict: a DataFrame, an array, lists in the order of the features, or one mapping a row. Of images: an array
of pixels (n, h, w[, c]), or mappings with the column `image`, of which a file's bytes are in base64."""

SUFFIXES = (*(f".{form}" for form in sources.FORMATS), *classes.SUFFIXES)


def plain(value: Any, name: str) -> Value:
    """A value as plain data. InvalidRequest naming the field where it is none."""
    if value is None or type(value) in (bool, int, float, str):
        return value  # type: ignore[no-any-return]
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars
        return plain(value.tolist(), name)
    if isinstance(value, bool | int | float | str):
        return next(kind(value) for kind in (int, float, str) if isinstance(value, kind))
    expected = f"expected a plain value (number, text, flag, list or None), and got {type(value).__name__}"
    raise InvalidRequest([FieldViolation(name, expected)])


def is_frame(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "to_parquet")


def path_of(dataset: str) -> Path | None:
    """The path of a file or a folder that a dataset's text means; None where it is a name or a source.

    BadInput where it looks like a path and nothing is there.
    """
    if "://" in dataset or dataset.startswith("synthetic:"):
        return None
    named = sources.split_options(dataset)[0]
    path = Path(named).expanduser()
    if "/" not in named and path.suffix.lower() not in SUFFIXES:
        return None
    if not path.exists():
        told = f"there is no file or folder {named!r}. Is the path right, seen from {Path.cwd()}?"
        raise BadInput(told, reason="NO_SUCH_FILE")
    return path


def weights_file(model: str | Path) -> Path | None:
    """The file of weights that a model's text means; None where it names one of the registry.

    BadInput where it looks like a file and there is none.
    """
    path = Path(model).expanduser()
    if isinstance(model, str) and path.suffix.lower() not in (".keras", ".h5"):
        return None
    if not path.is_file():
        told = f"there is no file {str(model)!r}. Is the path right, seen from {Path.cwd()}?"
        raise BadInput(told, reason="NO_SUCH_FILE")
    return path


def source_of(dataset: str) -> str:
    """What workers on this machine read for a path; a name or a source stays as it is."""
    path = path_of(dataset) if dataset else None
    if path is None:
        return dataset
    place = path.absolute().as_uri() + ("/" if path.is_dir() else "")
    return sources.with_options(place, sources.split_options(dataset)[1])


def as_taken(dataset: str, image_shape: Sequence[int]) -> str:
    """A path or a source as a model of images takes it: of its size, in its colours, all of them and without labels, as
    far as the text does not say otherwise. What is no images, and whatever else a model takes, stays as it is.
    """
    named, options = sources.split_options(dataset)
    if not image_shape or not _holds_images(named):
        return dataset
    height, width, channels = image_shape
    wanted = {"size": f"{width}x{height}", "channels": str(channels), sources.LABELS: "none"}
    said = dict(pair.split("=", 1) for pair in options.split("&") if pair)
    return sources.with_options(named, "&".join(f"{name}={value}" for name, value in {**wanted, **said}.items()))


def _holds_images(named: str) -> bool:
    if sources.is_source(named):
        source = sources.parse(named)
        return source.kind is not sources.SourceKind.SYNTHETIC and _images_by_name(source.name)
    return Path(named).expanduser().is_dir() or _images_by_name(named)


def _images_by_name(name: str) -> bool:
    form = sources.file_format(name)
    return name.endswith("/") or classes.is_image(name) or (form is not None and form[0] in sources.IMAGE_FORMATS)


def rows_of(rows: Rows) -> tuple[list[str], list[list[Value]]]:
    """Columns, empty where the rows are in the order of the model's features, and the rows as lists."""
    given: Any = rows
    if isinstance(given, str | Path):
        told = "expected rows, and got text; `client.predict(model, dataset)` predicts a file, a folder or a dataset"
        raise InvalidRequest([FieldViolation("rows", told)])
    if is_frame(given):
        known = given.astype(object).where(given.notna(), None)
        return [str(column) for column in given.columns], _listed(known.to_numpy().tolist())
    if hasattr(given, "tolist"):
        return [], _listed([[image] for image in given.tolist()] if given.ndim > 2 else given.tolist())
    if len(given) and isinstance(given[0], Mapping):
        columns = list(dict.fromkeys(str(name) for row in given for name in row))
        return columns, _listed([[row.get(name) for name in columns] for row in given])
    return [], _listed(given)


def _listed(rows: Any) -> list[list[Value]]:
    values = plain(list(rows), "rows")
    if not isinstance(values, list) or any(not isinstance(row, list) for row in values):
        raise InvalidRequest([FieldViolation("rows", "expected rows: a table, a list of lists, or a list of mappings")])
    return values
