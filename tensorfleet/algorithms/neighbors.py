"""Nearest neighbours, fitted in one task: knn and its regressor.

The rule: parameters and defaults are those of `sklearn.neighbors`; metrics that need a function or a matrix of
distances are left out.
"""

from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.common import N_JOBS, NULL, POSITIVE_OR_INFINITE
from tensorfleet.algorithms.parameters import Choice, Integer, ListOf, MappingOf, Parameter, Real, one_of
from tensorfleet.operators import Operator

METRICS = (
    *("braycurtis", "canberra", "chebyshev", "cityblock", "correlation", "cosine", "dice", "euclidean", "hamming"),
    *("haversine", "infinity", "jaccard", "l1", "l2", "mahalanobis", "manhattan", "minkowski", "nan_euclidean", "p"),
    *("rogerstanimoto", "russellrao", "seuclidean", "sokalmichener", "sokalsneath", "sqeuclidean", "yule"),
)

_PARAMETERS = {
    "n_neighbors": Parameter(one_of(Integer(1), NULL), 5),
    "weights": Parameter(one_of(Choice(("uniform", "distance")), NULL), "uniform"),
    "algorithm": Parameter(Choice(("auto", "ball_tree", "kd_tree", "brute")), "auto"),
    "leaf_size": Parameter(Integer(1), 30),
    "p": Parameter(one_of(POSITIVE_OR_INFINITE, NULL), 2.0),
    "metric": Parameter(Choice(METRICS), "minkowski"),
    "metric_params": Parameter(one_of(MappingOf(one_of(Real(), ListOf(Real()))), NULL), None),
    "n_jobs": N_JOBS,
}

ALGORITHMS = (
    Algorithm(
        name="knn",
        aliases=("knn_classifier",),
        estimator="sklearn.neighbors.KNeighborsClassifier",
        goal="classification",
        display="KNN",
        operator="whole.fit@1",
        scale=True,
        parameters=_PARAMETERS,
    ),
    Algorithm(
        name="knn_regressor",
        estimator="sklearn.neighbors.KNeighborsRegressor",
        goal="regression",
        display="KNN",
        operator="whole.fit@1",
        scale=True,
        parameters=_PARAMETERS,
    ),
)
OPERATORS: dict[str, Operator] = {}
