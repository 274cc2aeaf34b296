"""Support vector machines, fitted in one task: svm and its regressor.

The rule: parameters and defaults are those of `sklearn.svm`, with random_state 42; `precomputed` kernels are left out,
since a dataset has rows and not kernels.
"""

from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.common import (
    CLASS_WEIGHT,
    FLAG,
    NOT_NEGATIVE,
    OFF,
    ON,
    POSITIVE,
    POSITIVE_OR_INFINITE,
    RANDOM_STATE,
)
from tensorfleet.algorithms.parameters import Choice, Integer, Parameter, Real, one_of
from tensorfleet.operators import Operator

_SHARED = {
    "kernel": Parameter(Choice(("linear", "poly", "rbf", "sigmoid")), "rbf"),
    "degree": Parameter(Integer(0), 3),
    "gamma": Parameter(one_of(Choice(("scale", "auto")), NOT_NEGATIVE), "scale"),
    "coef0": Parameter(Real(open_low=True, open_high=True), 0.0),
    "tol": Parameter(POSITIVE, 0.001),
    "C": Parameter(POSITIVE_OR_INFINITE, 1.0),
    "shrinking": ON,
    "cache_size": Parameter(POSITIVE, 200.0),
    "verbose": Parameter(one_of(FLAG, Integer(0)), False),
    "max_iter": Parameter(Integer(-1), -1),
}

ALGORITHMS = (
    Algorithm(
        name="svm",
        aliases=("svm_classifier",),
        estimator="sklearn.svm.SVC",
        goal="classification",
        display="SVM",
        operator="whole.fit@1",
        scale=True,
        parameters={
            **_SHARED,
            "probability": Parameter(one_of(FLAG, Choice(("deprecated",))), "deprecated"),
            "class_weight": CLASS_WEIGHT,
            "decision_function_shape": Parameter(Choice(("ovo", "ovr")), "ovr"),
            "break_ties": OFF,
            "random_state": RANDOM_STATE,
        },
    ),
    Algorithm(
        name="svm_regressor",
        estimator="sklearn.svm.SVR",
        goal="regression",
        display="SVM",
        operator="whole.fit@1",
        scale=True,
        parameters={**_SHARED, "epsilon": Parameter(NOT_NEGATIVE, 0.1)},
    ),
)
OPERATORS: dict[str, Operator] = {}
