"""The fitted ColumnTransformer that turns raw rows into a model's matrix.

The rule: it is scikit-learn's classes alone, and no functions, so it loads wherever scikit-learn does. It takes a
DataFrame that has the features in any order and among others, or a bare array (of numbers or of objects) in the order
of the features. Flags count as 0 and 1, times are seconds since 1970.

Numbers: a missing value becomes the median of the training rows; scaled where asked. Text: a missing value is a
category of its own, and a category that training did not see is all zeros.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tensorfleet.data.typed import TEXT
from tensorfleet.errors import BadInput

Array = np.ndarray[Any, Any]


def fitted(rows: pd.DataFrame, types: Sequence[str], *, scale: bool) -> ColumnTransformer:
    """The transformer fitted on raw training rows (n, features), of the given column types.

    Equal to a fit on all rows, but fitted on a few: medians and categories are all that it learns, and a frame whose
    every value is the column's median, with each category once, has the same. scikit-learn's own median over masked
    arrays would take most of a preparation's time. The scaler is then fitted on all rows.
    """
    text = [position for position, kind in enumerate(types) if kind == TEXT]
    numbers = [position for position, kind in enumerate(types) if kind != TEXT]
    transformer = ColumnTransformer(_branches(numbers, text, scale), sparse_threshold=0)
    transformer.fit(_stand_in(rows, numbers, text))
    if scale and numbers:
        branch = transformer.named_transformers_["numbers"]
        # Sums depend on the layout: rows in a row, as the arrays are that people give to scikit-learn.
        branch["scale"].fit(np.ascontiguousarray(branch[:-1].transform(rows.iloc[:, numbers])))
    return transformer


def matrix(transformer: ColumnTransformer, rows: pd.DataFrame, single: bool = False) -> Array:
    """Raw rows prepared: (n, columns), C-contiguous, float64, or float32 where `single`.

    BadInput for numbers that are beyond float32.
    """
    if rows.empty:
        columns = max(columns.stop for columns in transformer.output_indices_.values())
        return np.empty((0, columns), np.float32 if single else np.float64)
    prepared = np.ascontiguousarray(transformer.transform(rows), dtype=np.float64)
    if not single:
        return prepared
    largest = float(np.finfo(np.float32).max)
    if prepared.size and max(prepared.max(), -prepared.min()) > largest:
        raise BadInput(
            f"a feature has a number beyond {largest:.2g}, which this algorithm cannot compute with; scale or drop it",
            reason="BEYOND_FLOAT32",
        )
    return prepared.astype(np.float32)


def described(transformer: ColumnTransformer, features: Sequence[str]) -> list[dict[str, Any]]:
    """What a fitted transformer does, column by column as they come out of it, in plain data.

    Of a number: what stands for a missing one, and the mean and scale that it is brought to, where it is. Of a text:
    its category, which is 1 where it is that, else 0; None is what is missing.
    """
    told: list[dict[str, Any]] = []
    for name, branch, positions in transformer.transformers_:
        names = [features[position] for position in positions]
        if name == "numbers":
            told += _numbers_described(branch, names)
        elif name == "text":
            for column, categories in zip(names, branch["encode"].categories_, strict=True):
                told += [{"column": column, "category": value or None} for value in categories.tolist()]
    return told


def _numbers_described(branch: Pipeline, names: Sequence[str]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = [
        {"column": name, "missing": float(value)}
        for name, value in zip(names, branch["impute"].statistics_, strict=True)
    ]
    if "scale" in branch.named_steps:
        for one, mean, scale in zip(told, branch["scale"].mean_, branch["scale"].scale_, strict=True):
            one |= {"mean": float(mean), "scale": float(scale)}
    return told


def _branches(numbers: list[int], text: list[int], scale: bool) -> list[tuple[str, Pipeline, list[int]]]:
    branches = []
    if numbers:
        steps = [
            ("array", _array(len(numbers))),
            ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
        ]
        branches.append(("numbers", Pipeline([*steps, *([("scale", StandardScaler())] if scale else [])]), numbers))
    if text:
        branches.append(("text", Pipeline(_text_steps(len(text))), text))
    return branches


def _text_steps(count: int) -> list[tuple[str, Any]]:
    # NaN first: the imputer that looks for None refuses NaN.
    return [
        ("array", _array(count)),
        ("impute_nan", SimpleImputer(strategy="constant", fill_value="", keep_empty_features=True)),
        (
            "impute_none",
            SimpleImputer(missing_values=None, strategy="constant", fill_value="", keep_empty_features=True),
        ),
        ("encode", OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
    ]


def _array(count: int) -> ColumnTransformer:
    """Passes its columns on as a bare array. What follows then never sees names, and so never warns that it was fitted
    with names and is given an array, or the other way round."""
    return ColumnTransformer([("columns", "passthrough", list(range(count)))])


def _stand_in(rows: pd.DataFrame, numbers: list[int], text: list[int]) -> pd.DataFrame:
    categories = {position: _categories(rows.iloc[:, position]) for position in text}
    length = max((len(values) for values in categories.values()), default=1)
    medians = _medians(rows.iloc[:, numbers].to_numpy(dtype=np.float64))
    columns = {position: np.full(length, median) for position, median in zip(numbers, medians, strict=True)}
    for position, values in categories.items():
        padded = np.empty(length, dtype=object)
        padded[:] = values + values[-1:] * (length - len(values))
        columns[position] = padded
    frame = pd.DataFrame({position: columns[position] for position in sorted(columns)})
    return frame.set_axis(rows.columns, axis=1)


def _categories(column: "pd.Series[Any]") -> list[str]:
    values = [None if pd.isna(value) else value for value in column.unique()]
    return sorted({value for value in values if value is not None}) + ([None] if None in values else [])


def _medians(values: Array) -> Array:
    """Medians by column (features,); NaN where a column has no value."""
    medians = np.full(values.shape[1], np.nan)
    some = ~np.isnan(values).all(axis=0)
    if some.all() and not np.isnan(values.sum()):
        return np.asarray(np.median(values, axis=0))
    medians[some] = np.nanmedian(values[:, some], axis=0)
    return medians
