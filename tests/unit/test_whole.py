"""Models fitted in one task are scikit-learn's own; boosting reports each stage, and is not changed by it."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification, make_regression
from sklearn.metrics import log_loss

from tensorfleet import catalog
from tensorfleet.errors import BadInput
from tensorfleet.model import JobResult, JobSpec, Point
from tensorfleet.testing import training

CASES: list[tuple[str, dict[str, Any]]] = [
    ("decision_tree", {}),
    ("decision_tree", {"class_weight": {"0": 2.0}, "max_leaf_nodes": 5}),
    ("decision_tree_regressor", {"criterion": "absolute_error", "splitter": "random"}),
    ("svm", {}),
    ("svm", {"C": "inf", "max_iter": 90, "class_weight": "balanced", "decision_function_shape": "ovo"}),
    ("svm_regressor", {"C": 10, "kernel": "poly", "max_iter": 50}),
    ("gradient_boosting", {"n_estimators": 12}),
    ("gradient_boosting", {"n_estimators": 30, "subsample": 0.5, "n_iter_no_change": 2, "init": "zero"}),
    ("gradient_boosting_regressor", {"n_estimators": 12, "loss": "huber"}),
    ("gradient_boosting_regressor", {"n_estimators": 12, "loss": "quantile", "max_features": "sqrt"}),
    ("hist_gradient_boosting", {"max_iter": 8}),
    ("hist_gradient_boosting", {"max_iter": 8, "early_stopping": True, "class_weight": "balanced"}),
    ("hist_gradient_boosting_regressor", {"max_iter": 8, "loss": "quantile", "quantile": 0.3}),
    ("hist_gradient_boosting_regressor", {"max_iter": 8, "interaction_cst": "pairwise", "max_features": 0.5}),
    ("knn", {}),
    ("knn", {"algorithm": "ball_tree", "metric": "manhattan", "weights": "distance"}),
    ("knn_regressor", {"algorithm": "kd_tree", "p": 3}),
    ("knn_regressor", {"metric": "cosine"}),
    ("logistic_regression", {}),
    ("logistic_regression", {"solver": "saga", "l1_ratio": 0.5}),
    ("linear_regression", {}),
    ("linear_regression", {"positive": True}),
    ("ridge", {}),
    ("ridge", {"solver": "sag", "alpha": "0.1"}),
]


def data(name: str) -> tuple[Any, Any]:
    if catalog.algorithm(name).goal == "classification":
        return make_classification(150, 6, n_informative=4, n_classes=3, random_state=0)  # type: ignore[no-any-return]
    return make_regression(150, 6, noise=5.0, random_state=0)  # type: ignore[no-any-return]


def fitted(
    name: str, parameters: dict[str, Any], objects: Path, rows: tuple[Any, Any], points: list[Point] | None = None
) -> tuple[JobResult, Any]:
    (X, y), kept = rows, points if points is not None else []
    spec, violations = catalog.validate(JobSpec(algorithm=name, dataset="rows", hyperparameters=parameters))
    assert not violations
    ready = training.prepared(objects, X[:120], y[:120], X[120:], y[120:])
    return training.train(spec, ready, objects, lambda stage, index, point: kept.append(point))


@pytest.mark.filterwarnings("ignore:Solver terminated early")
@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_equals_scikit_learns_own(name: str, parameters: dict[str, Any], tmp_path: Path) -> None:
    X, y = data(name)
    result, pipe = fitted(name, parameters, tmp_path, (X, y))
    module, _, attribute = catalog.algorithm(name).estimator.rpartition(".")
    theirs = getattr(import_module(module), attribute)()
    theirs.set_params(**pipe[-1].get_params()).fit(X[:120], y[:120])
    assert vars(pipe[-1]).keys() == vars(theirs).keys()
    for method in ("predict", "predict_proba", "decision_function"):
        if hasattr(theirs, method):
            assert np.array_equal(getattr(pipe[-1], method)(X), getattr(theirs, method)(X))
    score = result.metrics["accuracy" if "accuracy" in result.metrics else "r2"]
    assert score == pytest.approx(theirs.score(X[120:], y[120:]), abs=1e-12)


def test_boosting_reports_each_stage_as_scikit_learn_scores_it(tmp_path: Path) -> None:
    for name, count in (("gradient_boosting", "n_estimators"), ("hist_gradient_boosting", "max_iter")):
        (X, y), points = data(name), list[Point]()
        _, pipe = fitted(name, {count: 6}, tmp_path, (X, y), points)
        stages = list(pipe[-1].staged_predict_proba(X[120:]))
        losses = [point.value for point in points if point.series == "loss"]
        assert losses == pytest.approx([log_loss(y[120:], said) for said in stages])
        accuracies = [point.value for point in points if point.series == "accuracy"]
        assert accuracies == [(said.argmax(axis=1) == y[120:]).mean() for said in stages]
        assert [point.step for point in points] == [step for step in range(6) for _ in range(2)]


def test_boosted_regressors_and_two_classes_report_too(tmp_path: Path) -> None:
    X, y = make_classification(150, 6, random_state=0)
    points: list[Point] = []
    _, pipe = fitted("gradient_boosting", {"n_estimators": 3, "loss": "exponential"}, tmp_path, (X, y), points)
    last = [point.value for point in points if point.series == "loss"][-1]
    assert last == pytest.approx(log_loss(y[120:], pipe.predict_proba(X[120:])))
    X, y = data("ridge")
    points.clear()
    _, pipe = fitted("gradient_boosting_regressor", {"n_estimators": 3}, tmp_path, (X, y), points)
    assert points[-1] == Point("loss", 2, pytest.approx(((pipe.predict(X[120:]) - y[120:]) ** 2).mean()))
    assert points[-2] == Point("accuracy", 2, pytest.approx(pipe.score(X[120:], y[120:])))


def test_a_model_without_probabilities_says_which_metrics_are_missing(tmp_path: Path) -> None:
    points: list[Point] = []
    result, _ = fitted("svm", {}, tmp_path, data("svm"), points)
    assert result.missing_metrics["log_loss"] == "the model gives no probabilities"
    assert "roc_auc" in result.missing_metrics
    assert [point.series for point in points] == ["accuracy"]


def test_two_classes_of_a_model_without_probabilities_have_a_roc_auc(tmp_path: Path) -> None:
    result, _ = fitted("svm", {}, tmp_path, make_classification(150, 6, random_state=0))
    assert 0.5 < result.metrics["roc_auc"] <= 1


def test_what_scikit_learn_refuses_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="n_neighbors") as refused:
        fitted("knn", {"n_neighbors": 500}, tmp_path, data("knn"))
    assert refused.value.reason == "FIT_REFUSED"


def test_without_validation_rows_the_metrics_are_those_of_the_training_rows(tmp_path: Path) -> None:
    X, y = data("knn")
    result, pipe = training.train(JobSpec(algorithm="knn"), training.prepared(tmp_path, X, y), tmp_path)
    assert result.model is not None
    assert result.model.metrics_on_training_rows
    assert result.metrics["accuracy"] == result.metrics["train_accuracy"] == pipe.score(X, y)
