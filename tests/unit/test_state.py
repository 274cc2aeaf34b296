"""The state of estimators: equal fits have equal bytes, and nothing that is not on the lists is ever called."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification, make_regression
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from tensorfleet import bundle, catalog
from tensorfleet.algorithms.building import build
from tensorfleet.models import state

NAMES = [item.name for item in catalog.algorithms().values() if item.estimator.startswith("sklearn.")]


def fits(seed: int = 0) -> dict[str, Any]:
    """One fit of every algorithm of scikit-learn's, with one thread: two would wait for each other."""
    with threadpool_limits(1):
        return {name: fit(name, seed) for name in NAMES}


def fit(name: str, seed: int) -> Any:
    algorithm = catalog.algorithm(name)
    make = make_classification if algorithm.goal == "classification" else make_regression
    X, y = make(80, 5, random_state=seed)
    small = {"n_estimators": 5, "max_iter": 5 if "boosting" in name else 200}
    given = algorithm.defaults() | {count: value for count, value in small.items() if count in algorithm.parameters}
    return build(algorithm, given, y).fit(X, y)


@cache
def once() -> dict[str, Any]:
    return fits()


def digest(value: Any) -> str:
    return hashlib.sha256(b"".join(bundle.encode(state.dump(value)))).hexdigest()


def digests() -> dict[str, str]:
    return {name: digest(estimator) for name, estimator in fits().items()}


def again(value: Any) -> Any:
    return state.restore(bundle.decode(b"".join(bundle.encode(state.dump(value)))))


def test_independent_fits_have_equal_bytes_in_any_process() -> None:
    here = digests()
    assert digests() == here
    program = (
        "import importlib.util, json, sys; spec = importlib.util.spec_from_file_location('states', sys.argv[1]);"
        "states = importlib.util.module_from_spec(spec); spec.loader.exec_module(states);"
        "print(json.dumps(states.digests()))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", program, __file__], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == here
    assert len(set(here.values())) == len(here)


def test_other_rows_give_other_bytes() -> None:
    one, other = fits(), fits(seed=1)
    assert all(digest(one[name]) != digest(other[name]) for name in one)


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_back_predicts_the_same_and_needs_nothing_of_ours(name: str) -> None:
    estimator = once()[name]
    back = again(estimator)
    X = np.random.RandomState(0).normal(size=(50, 5))
    assert vars(back).keys() == vars(estimator).keys()
    assert np.array_equal(back.predict(X), estimator.predict(X))
    assert digest(back) == digest(estimator)
    pickled = pickle.dumps(back)
    assert b"tensorfleet" not in pickled
    assert np.array_equal(pickle.loads(pickled).predict(X), estimator.predict(X))


def test_preprocessing_comes_back() -> None:
    rows = np.array([[1.0, "a"], [np.nan, "b"], [3.0, None]], dtype=object)
    numbers = Pipeline([("impute", SimpleImputer()), ("scale", StandardScaler())])
    filled = SimpleImputer(strategy="most_frequent", missing_values=None)
    text = Pipeline([("impute", filled), ("code", OneHotEncoder())])
    transformer = ColumnTransformer([("numbers", numbers, [0]), ("text", text, [1])]).fit(rows)
    assert np.array_equal(again(transformer).transform(rows), transformer.transform(rows))
    assert again(transformer).output_indices_ == transformer.output_indices_


@pytest.mark.parametrize(
    "value",
    [
        (1, (2.5, "x"), None),
        {1: "a", "b": [True, b"\0"], (1, 2): slice(0, None, 2)},
        {3, 1, 2},
        frozenset({"x"}),
        np.float32,
        np.int64(7),
        np.dtype("<f4"),
        ("object", "os.system", {}),
    ],
    ids=repr,
)
def test_plain_values_come_back(value: Any) -> None:
    back = again(value)
    assert back == value
    assert type(back) is type(value)


def test_random_streams_go_on_where_they_were() -> None:
    random, generator = np.random.RandomState(3), np.random.default_rng(3)
    random.normal(), generator.normal()
    copies = again([random, generator])
    assert copies[0].normal() == random.normal()
    assert copies[1].normal() == generator.normal()


def test_arrays_come_back_as_they_were_and_can_be_written_to() -> None:
    columns, words = np.asfortranarray(np.ones((3, 2))), np.array([["a", None], [1.5, "b"]], dtype=object)
    back, back_words = again([columns, words])
    assert back.flags.f_contiguous
    assert back.flags.writeable
    assert np.array_equal(back_words, words)


HOSTILE: list[Any] = [
    ("object", "os.system", {}),
    ("object", "builtins.eval", {}),
    ("object", "subprocess.Popen", {"args": "true"}),
    ("object", "sklearn.utils.parallel.Parallel", {}),
    ("object", "sklearn.utils._bunch.Bunch", {}),
    ("object", "sklearn.base.os.system", {}),
    ("object", "sklearn.ensemble.RandomForestClassifier", {}),  # an alias: the class says it is in _forest
    ("object", "sklearn.no.such.Thing", {}),
    ("object", "sklearn..tree._classes.DecisionTreeClassifier", {}),
    ("object", 5, {}),
    ("class", "builtins.eval"),
    ("class", "os._wrap_close"),
    ("class", "numpy.load"),
    ("class", "sklearn.utils.fixes.parse_version"),
    ("made", "os.system", "true"),
    ("made", "sklearn._loss._loss.np", "true"),
    ("made", "sklearn.utils._testing.set_random_state", 1),
    ("stateful", "sklearn.neighbors._kd_tree.newObj", ()),
    ("stateful", "sklearn.tree._tree.Tree", {}),
    ("generator", {"bit_generator": "RandomState"}),
    ("function", "os.system"),
    ("eval", "1 + 1"),
    (),
    (1, 2),
    ("list", ("object", "os.system", {})),
]


@pytest.mark.parametrize("tree", HOSTILE, ids=repr)
def test_what_is_not_on_the_lists_is_refused(tree: Any) -> None:
    with pytest.raises(state.Refused):
        state.restore(tree)
    with pytest.raises(state.Refused):
        state.restore([{"deep": tree}])


@pytest.mark.parametrize("value", [os.system, len, lambda: 0, object(), 1j, np.array([object()]), os.stat_result])
def test_what_cannot_be_said_is_refused_when_it_is_dumped(value: Any) -> None:
    with pytest.raises(state.Refused, match="a model cannot hold"):
        state.dump(value)


def test_an_estimator_that_holds_a_function_is_refused() -> None:
    with pytest.raises(state.Refused):
        state.dump(FunctionTransformer(func=os.system))
