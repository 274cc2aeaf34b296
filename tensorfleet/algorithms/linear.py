"""Linear models, fitted in one task: logistic_regression, linear_regression and ridge.

The rule: parameters and defaults are those of `sklearn.linear_model`, with random_state 42 and, for the logistic
regression, max_iter 1000.
"""

from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.common import (
    CLASS_WEIGHT,
    N_JOBS,
    NOT_NEGATIVE,
    NULL,
    OFF,
    ON,
    POSITIVE,
    POSITIVE_OR_INFINITE,
    RANDOM_STATE,
    VERBOSE,
)
from tensorfleet.algorithms.parameters import Choice, Integer, Parameter, Real, one_of
from tensorfleet.operators import Operator

_LOGISTIC = {
    "penalty": Parameter(one_of(Choice(("deprecated", "l1", "l2", "elasticnet")), NULL), "deprecated"),
    "C": Parameter(POSITIVE_OR_INFINITE, 1.0),
    "l1_ratio": Parameter(one_of(Real(0.0, 1.0), NULL), 0.0),
    "dual": OFF,
    "tol": Parameter(NOT_NEGATIVE, 1e-4),
    "fit_intercept": ON,
    "intercept_scaling": Parameter(POSITIVE, 1.0),
    "class_weight": CLASS_WEIGHT,
    "random_state": RANDOM_STATE,
    "solver": Parameter(
        Choice(("lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga")),
        "lbfgs",
    ),
    "max_iter": Parameter(Integer(0), 1000),
    "verbose": VERBOSE,
    "warm_start": OFF,
    "n_jobs": N_JOBS,
}

_LINEAR = {
    "fit_intercept": ON,
    "copy_X": ON,
    "tol": Parameter(NOT_NEGATIVE, 1e-6),
    "n_jobs": N_JOBS,
    "positive": OFF,
}

_RIDGE = {
    "alpha": Parameter(NOT_NEGATIVE, 1.0),
    "fit_intercept": ON,
    "copy_X": ON,
    "max_iter": Parameter(one_of(Integer(1), NULL), None),
    "tol": Parameter(NOT_NEGATIVE, 1e-4),
    "solver": Parameter(
        Choice(("auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga", "lbfgs")),
        "auto",
    ),
    "positive": OFF,
    "random_state": RANDOM_STATE,
}

ALGORITHMS = (
    Algorithm(
        name="logistic_regression",
        aliases=("logistic_regression_classifier",),
        estimator="sklearn.linear_model.LogisticRegression",
        goal="classification",
        display="LogisticRegression",
        operator="whole.fit@1",
        scale=True,
        parameters=_LOGISTIC,
    ),
    Algorithm(
        name="linear_regression",
        aliases=("linear_regression_regressor",),
        estimator="sklearn.linear_model.LinearRegression",
        goal="regression",
        display="LinearRegression",
        operator="whole.fit@1",
        parameters=_LINEAR,
    ),
    Algorithm(
        name="ridge",
        aliases=("ridge_regressor",),
        estimator="sklearn.linear_model.Ridge",
        goal="regression",
        display="Ridge",
        operator="whole.fit@1",
        scale=True,
        parameters=_RIDGE,
    ),
)
OPERATORS: dict[str, Operator] = {}
