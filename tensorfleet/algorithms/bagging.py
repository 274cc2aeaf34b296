"""Bagging, spread by ranges of its estimators: bagging and its regressor.

The rule: the ensemble equals scikit-learn's own, estimator for estimator. Source: `sklearn.ensemble._bagging`.
"""

from collections.abc import Mapping
from typing import Any

from tensorfleet.algorithms import members
from tensorfleet.algorithms.algorithm import Algorithm, Members
from tensorfleet.algorithms.common import FRACTION, N_JOBS, NULL, OFF, ON, RANDOM_STATE, VERBOSE
from tensorfleet.algorithms.parameters import Choice, Integer, Parameter, one_of
from tensorfleet.model import Value
from tensorfleet.operators import Context, Operator, Outcome

RANGE = 4
"""Estimators of a range; there are 10 by default."""


def fit(context: Context) -> Outcome:
    """Fits one range of estimators; see `members.fit_range`."""
    algorithm = _BY_NAME[str(context.params["algorithm"])]
    predict = _probabilities if algorithm.goal == "classification" else _values
    return members.fit_range(context, algorithm, predict, lambda X: X)


def complete(ensemble: Any, X: Any, y: Any, count: int, fitted: dict[str, list[Any]] | None) -> None:
    """All that scikit-learn's fit sets besides the estimators, by its own code; with them, also the out-of-bag score.

    scikit-learn refuses to score out of bag what it grew by a warm start, so that step is taken by itself.
    """
    import numpy as np
    from sklearn.utils import check_random_state

    warm, out_of_bag = ensemble.warm_start, ensemble.oob_score
    ensemble.set_params(warm_start=True, oob_score=False)
    ensemble.estimators_ = [None] * count if fitted is None else fitted["estimators_"]
    ensemble.estimators_features_ = [None] * count if fitted is None else fitted["estimators_features_"]
    members.quietly_fitted(ensemble, X, y)
    ensemble._seeds = check_random_state(ensemble.random_state).randint(np.iinfo(np.int32).max, size=count)
    ensemble.set_params(warm_start=warm, oob_score=out_of_bag)
    if out_of_bag:
        ensemble._set_oob_score(X, ensemble._validate_y(y))


def rules(parameters: Mapping[str, Value]) -> dict[str, str]:
    """Bags are there only where rows are drawn with replacement."""
    wrong = parameters["oob_score"] and not parameters["bootstrap"]
    return {"oob_score": "needs bootstrap to be true"} if wrong else {}


def _probabilities(ensemble: Any, member: int, X: Any) -> Any:
    from sklearn.ensemble._bagging import _parallel_predict_proba

    estimators, features = ensemble.estimators_, ensemble.estimators_features_
    return _parallel_predict_proba([estimators[member]], [features[member]], X, ensemble.n_classes_)


def _values(ensemble: Any, member: int, X: Any) -> Any:
    return ensemble.estimators_[member].predict(X[:, ensemble.estimators_features_[member]])


def _parameters(bases: tuple[str, ...]) -> dict[str, Parameter]:
    return {
        "estimator": Parameter(one_of(NULL, Choice(bases)), None),
        "n_estimators": Parameter(Integer(1), 10),
        "max_samples": Parameter(one_of(NULL, Integer(1), FRACTION), None),
        "max_features": Parameter(one_of(Integer(1), FRACTION), 1.0),
        "bootstrap": ON,
        "bootstrap_features": OFF,
        "oob_score": OFF,
        "warm_start": OFF,
        "n_jobs": N_JOBS,
        "random_state": RANDOM_STATE,
        "verbose": VERBOSE,
    }


_SPREAD = Members(size=RANGE, complete=complete, attributes=("estimators_", "estimators_features_"))

ALGORITHMS = (
    Algorithm(
        name="bagging",
        aliases=("bagging_classifier",),
        estimator="sklearn.ensemble.BaggingClassifier",
        goal="classification",
        display="Bagging",
        operator="bagging.fit@1",
        parameters=_parameters(("decision_tree", "knn", "logistic_regression", "svm")),
        members=_SPREAD,
        rules=rules,
    ),
    Algorithm(
        name="bagging_regressor",
        estimator="sklearn.ensemble.BaggingRegressor",
        goal="regression",
        display="Bagging",
        operator="bagging.fit@1",
        parameters=_parameters(
            ("decision_tree_regressor", "knn_regressor", "linear_regression", "ridge", "svm_regressor")
        ),
        members=_SPREAD,
        rules=rules,
    ),
)
OPERATORS: dict[str, Operator] = {"bagging.fit@1": fit}
_BY_NAME = {algorithm.name: algorithm for algorithm in ALGORITHMS}
