"""Bagging by ranges of estimators is scikit-learn's own, estimator for estimator."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import BaggingClassifier, BaggingRegressor

from tensorfleet import catalog
from tensorfleet.algorithms.building import build
from tensorfleet.model import JobSpec
from tensorfleet.testing import training

GRID: dict[str, dict[str, Any]] = {
    "defaults": {},
    "few rows": {"max_samples": 30},
    "a share": {"max_samples": 0.5, "max_features": 0.5},
    "without replacement": {"bootstrap": False, "max_samples": 0.6},
    "drawn features": {"bootstrap_features": True, "max_features": 4},
    "out of bag": {"oob_score": True, "n_estimators": 30},
    "out of bag of few": {"oob_score": True, "n_estimators": 30, "max_samples": 0.5, "max_features": 3},
    "a whole range": {"n_estimators": 4},
    "a part of a range": {"n_estimators": 3},
    "many": {"n_estimators": 13, "n_jobs": 2, "warm_start": True},
    "nearest neighbours": {"estimator": "knn"},
    "support vectors": {"estimator": "svm", "max_samples": 0.5, "n_estimators": 6},
}


def data(name: str) -> tuple[Any, Any]:
    if name == "bagging":
        return make_classification(120, 6, n_informative=4, n_classes=3, random_state=0)  # type: ignore[no-any-return]
    return make_regression(120, 6, noise=5.0, random_state=0)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["bagging", "bagging_regressor"])
@pytest.mark.parametrize("parameters", GRID.values(), ids=GRID.keys())
def test_equals_scikit_learns_own(name: str, parameters: dict[str, Any], tmp_path: Path) -> None:
    X, y = data(name)
    if name == "bagging_regressor" and "estimator" in parameters:
        parameters = {**parameters, "estimator": parameters["estimator"] + "_regressor"}
    spec, violations = catalog.validate(JobSpec(algorithm=name, dataset="rows", hyperparameters=parameters))
    assert not violations
    result, pipe = training.train(spec, training.prepared(tmp_path, X[:90], y[:90], X[90:], y[90:]), tmp_path)
    given = {"random_state": 42, **parameters, "n_jobs": None}
    if "estimator" in given:
        base = catalog.algorithm(given["estimator"])
        given["estimator"] = build(base, base.defaults(), y)
    theirs = (BaggingClassifier if name == "bagging" else BaggingRegressor)(**given).fit(X[:90], y[:90])
    ours = pipe[-1].set_params(n_jobs=None)  # with more jobs scikit-learn adds in another order
    assert vars(ours).keys() == vars(theirs).keys()
    assert np.array_equal(ours.predict(X), theirs.predict(X))
    assert np.array_equal(ours._seeds, theirs._seeds)
    for fact in ("estimators_samples_", "estimators_features_"):
        assert all(np.array_equal(*pair) for pair in zip(getattr(ours, fact), getattr(theirs, fact), strict=True))
    for fact in ("oob_score_", "oob_decision_function_", "oob_prediction_"):
        if hasattr(theirs, fact):
            assert np.array_equal(getattr(ours, fact), getattr(theirs, fact))
    if name == "bagging":
        assert np.array_equal(ours.predict_proba(X), theirs.predict_proba(X))
        assert result.metrics["accuracy"] == theirs.score(X[90:], y[90:])
    else:
        assert result.metrics["r2"] == theirs.score(X[90:], y[90:])
