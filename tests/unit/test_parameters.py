"""Hyperparameters: what is taken, what is turned into what, and that every table says what scikit-learn says."""

import math
from importlib import import_module
from inspect import signature
from typing import Any

import pytest

from tensorfleet import catalog
from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.parameters import (
    Choice,
    Flag,
    Integer,
    Json,
    Kind,
    ListOf,
    MappingOf,
    Null,
    OneOf,
    Parameter,
    Real,
    Text,
    Unacceptable,
    coerce,
    one_of,
)

FEATURES = one_of(Integer(1), Real(0.0, 1.0, open_low=True), Choice(("sqrt", "log2")), Null())

OURS = {"random_state": 42, ("logistic_regression", "max_iter"): 1000}
"""Defaults that are not scikit-learn's."""

LEFT_OUT = {
    ("word", "precomputed"),  # a dataset has rows, not kernels or distances
    ("word", "pyfunc"),
    ("class_weight", "list"),  # one for each of many outputs
    ("alpha", "list"),
    ("monotonic_cst", "mapping"),  # by names of columns, which a prepared matrix no longer has
}
"""What scikit-learn takes and a spec does not, besides functions and objects, which no spec can hold."""

WIDER = {
    "n_jobs": {Integer(high=-1), Integer(1), Null()},  # 0 passes scikit-learn's check, and fails in joblib
}
"""What is declared otherwise than scikit-learn does."""


@pytest.mark.parametrize(
    ("kind", "given", "taken"),
    [
        (Integer(1), "64", 64),
        (Integer(1), 64.0, 64),
        (Integer(1), "64.0", 64),
        (Real(), "0.5", 0.5),
        (Real(), 1, 1.0),
        (Real(), "inf", math.inf),
        (Flag(), "true", True),
        (Flag(), "False", False),
        (one_of(Integer(1), Null()), "null", None),
        (one_of(Integer(1), Null()), "none", None),
        (FEATURES, 1, 1),
        (FEATURES, 1.0, 1.0),
        (FEATURES, "1", 1),
        (FEATURES, "1.0", 1.0),
        (FEATURES, "sqrt", "sqrt"),
        (FEATURES, " log2 ", "log2"),
        (Text(), "64", "64"),
        (ListOf(Integer(-1, 1)), [1, 0.0, "-1"], [1, 0, -1]),
        (ListOf(Integer(-1, 1)), "[1, 0]", [1, 0]),
        (MappingOf(Real(0.0)), {"a": 1, "b": "0.5"}, {"a": 1.0, "b": 0.5}),
        (one_of(MappingOf(Real(0.0)), Null()), '{"a": 2}', {"a": 2.0}),
        (Json(), '{"b": 1,\n "a": [2]}', '{"a":[2],"b":1}'),
        (Json(), {"b": 1, "a": [2]}, '{"a":[2],"b":1}'),
    ],
)
def test_values_become_the_parameters_own_type_where_nothing_is_lost(kind: Kind, given: Any, taken: Any) -> None:
    assert repr(coerce(kind, given)) == repr(taken)  # 1 and 1.0 are equal, and not the same


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (Integer(1), 0, "a whole number of at least 1"),
        (Integer(1), 1.5, "a whole number of at least 1"),
        (Integer(1), True, "a whole number"),
        (Integer(0, 9), 10, "a whole number from 0 to 9"),
        (Integer(1), "many", "a whole number"),
        (Integer(1), None, "a whole number"),
        (Real(0.0, 1.0, open_low=True), 0.0, r"a real number in \(0, 1\]"),
        (Real(0.0, 1.0, open_high=True), 1.0, r"a real number in \[0, 1\)"),
        (Real(), math.nan, "a real number"),
        (Real(), 2**53 + 1, "a real number"),
        (Real(), False, "a real number"),
        (Flag(), 1, "true or false"),
        (Flag(), "maybe", "true or false"),
        (Choice(("a", "b")), "c", "one of a, b"),
        (FEATURES, 2.0, r"a whole number of at least 1, or a real number in \(0, 1\], or one of sqrt, log2, or null"),
        (ListOf(Integer()), [1, "x"], "a list"),
        (ListOf(Integer()), 1, "a list"),
        (MappingOf(Real(0.0)), {"a": -1}, "a mapping"),
        (Null(), 0, "null"),
        (Json(), "model.json", "a JSON object, or its text"),
        (Json(), "[1]", "a JSON object, or its text"),
    ],
)
def test_other_values_are_refused_with_what_was_expected(kind: Kind, given: Any, expected: str) -> None:
    with pytest.raises(Unacceptable, match=f"expected {expected}"):
        coerce(kind, given)


def test_long_values_are_shown_short() -> None:
    with pytest.raises(Unacceptable) as refused:
        coerce(Integer(), "x" * 1000)
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize(
    "algorithm",
    [item for item in catalog.algorithms().values() if item.estimator.startswith("sklearn.")],
    ids=lambda algorithm: algorithm.name,
)
def test_the_tables_say_what_scikit_learn_says(algorithm: Algorithm) -> None:
    module, _, name = algorithm.estimator.rpartition(".")
    estimator = getattr(import_module(module), name)
    theirs = signature(estimator).parameters
    assert set(algorithm.parameters) == set(theirs)
    for parameter, ours in algorithm.parameters.items():
        default = OURS.get((algorithm.name, parameter), OURS.get(parameter, theirs[parameter].default))
        assert ours.default == default, parameter
        assert ours.coerce(ours.default) == ours.default, parameter
        assert _ours(parameter, ours) == _theirs(parameter, estimator._parameter_constraints[parameter]), parameter


def _ours(name: str, parameter: Parameter) -> set[Any]:
    """What a parameter takes, as comparable values."""
    kinds = parameter.kind.kinds if isinstance(parameter.kind, OneOf) else (parameter.kind,)
    found: set[Any] = set()
    for kind in kinds:
        if isinstance(kind, Choice):
            found |= {("word", word) for word in kind.words if word != "deprecated" and name != "estimator"}
        else:
            found.add({MappingOf: "mapping", ListOf: "list"}.get(type(kind), kind))
    return found


def _theirs(name: str, constraints: list[Any]) -> set[Any]:
    """The same of scikit-learn's constraints."""
    from sklearn.utils._param_validation import Interval, StrOptions

    if name in WIDER:
        return WIDER[name]
    found: set[Any] = set()
    for constraint in constraints:
        if isinstance(constraint, StrOptions):
            found |= {("word", word) for word in constraint.options}
        elif isinstance(constraint, Interval):
            found.add(_interval(constraint))
        else:
            found |= NAMED.get(constraint, set()) if isinstance(constraint, str | type | None) else set()
    return {kind for kind in found if kind not in LEFT_OUT and (name, kind) not in LEFT_OUT}


NAMED: dict[Any, set[Any]] = {
    "boolean": {Flag()},
    "random_state": {Integer(0, 2**32 - 1), Null()},
    "verbose": {Flag(), Integer(0)},
    None: {Null()},
    "array-like": {"list"},
    dict: {"mapping"},
    list: {"list"},
    tuple: {"list"},
    str: {Text()},
}


def _interval(interval: Any) -> Integer | Real:
    from numbers import Integral

    low, high = interval.left, interval.right
    if interval.type is Integral:
        return Integer(low, high)
    return Real(
        -math.inf if low is None else float(low),
        math.inf if high is None else float(high),
        open_low=interval.closed in ("right", "neither"),
        open_high=interval.closed in ("left", "neither"),
    )
