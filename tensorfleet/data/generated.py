"""The rows of built-in and generated datasets.

The rule: the same name gives the same rows. Built-in rows are scikit-learn's bundled ones with their own labels; a
generator draws from its seed alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorfleet.data.builtin import BUILTIN, CALIFORNIA
from tensorfleet.data.sources import GENERATORS, TARGET, Source, SourceKind

if TYPE_CHECKING:
    import pyarrow as pa

Array = np.ndarray[Any, Any]


def table(source: Source) -> "pa.Table":
    """The rows of a built-in (n, features + 1) or of a generator, the target last."""
    if source.kind is SourceKind.BUILTIN and source.name != "california":
        return _bundled(source.name)
    if source.name == "california":
        defaults = {name: parameter.default for name, parameter in GENERATORS["california"].items()}
        return _california({**defaults, **source.params})
    if source.name == "classification":
        return _classification(source.params)
    return _regression(source.params)


def _bundled(name: str) -> "pa.Table":
    from sklearn import datasets

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return _columns(BUILTIN[name].features, np.asarray(X, dtype=np.float64), y)


def _classification(params: Mapping[str, int | float]) -> "pa.Table":
    from sklearn.datasets import make_classification

    rows, features, classes, seed = (int(params[name]) for name in ("rows", "features", "classes", "seed"))
    # Half of the features tell the classes apart, or as many as it takes to give each class a corner of its own.
    informative = max(math.ceil(math.log2(classes)), (features + 1) // 2)
    X, y = make_classification(
        rows,
        features,
        n_informative=informative,
        n_redundant=min(features - informative, features // 5),
        n_classes=classes,
        n_clusters_per_class=2 if 2 * classes <= 2**informative else 1,
        random_state=seed,
    )
    return _columns(_numbered(features), X, y.astype(np.int64))


def _regression(params: Mapping[str, int | float]) -> "pa.Table":
    from sklearn.datasets import make_regression

    rows, features, seed = (int(params[name]) for name in ("rows", "features", "seed"))
    X, y = make_regression(
        rows, features, n_informative=(features + 1) // 2, noise=float(params["noise"]), random_state=seed
    )
    return _columns(_numbered(features), X, y)


def _california(params: Mapping[str, int | float]) -> "pa.Table":
    """House prices in 100,000 dollars that depend on their block as California's do: mostly on income, rooms and
    nearness to the coast, with noise and with prices cut off at 5. Drawn, not copied; the names are those of the
    1990 census data (Pace and Barry, 1997).
    """
    import pyarrow as pa

    rows, draw = int(params["rows"]), np.random.default_rng(int(params["seed"]))
    income = np.clip(draw.lognormal(1.2, 0.45, rows), 0.5, 15.0)
    age = draw.integers(1, 53, rows)
    bedrooms = np.clip(draw.normal(1.07, 0.1, rows), 0.5, 3.0)
    rooms = np.clip(3.2 + 0.55 * income + draw.normal(0.0, 0.9, rows), 1.0, 20.0)
    people = np.clip(draw.lognormal(7.0, 0.7, rows), 3, 35_000).astype(np.int64)
    household = np.clip(draw.lognormal(1.05, 0.25, rows), 0.7, 12.0)
    latitude = draw.uniform(32.5, 42.0, rows)
    inland = draw.exponential(1.2, rows)
    longitude = np.clip(-117.0 - 0.85 * (latitude - 32.5) + inland, -124.4, -114.3)
    price = (
        0.45 * income - 0.25 * np.sqrt(inland) + 0.006 * age + 0.4 * (bedrooms - 1.0) - 0.2 * (household - 2.9) + 0.45
    )
    price = np.clip(price + draw.normal(0.0, 0.35, rows), 0.15, 5.0)
    values = [income, age, rooms, bedrooms, people, household, latitude, longitude, price]
    return pa.table([pa.array(column) for column in values], names=[*CALIFORNIA, TARGET])


def _numbered(count: int) -> list[str]:
    return [f"feature_{index}" for index in range(count)]


def _columns(features: Sequence[str], X: Array, y: Array) -> "pa.Table":
    import pyarrow as pa

    by_column = np.ascontiguousarray(X.T)
    return pa.table([*(pa.array(column) for column in by_column), pa.array(y)], names=[*features, TARGET])
