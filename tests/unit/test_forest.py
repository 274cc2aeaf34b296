"""Forests by ranges of trees are scikit-learn's own forests, bit for bit."""

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification, make_regression

from tensorfleet import bundle, catalog
from tensorfleet.algorithms.forest import _recalled, fit
from tensorfleet.direct import object_path
from tensorfleet.model import JobResult, JobSpec, Point, TaskResult
from tensorfleet.operators import Context, Input
from tensorfleet.testing import training

ROWS = 150

GRID: dict[str, dict[str, Any]] = {
    "defaults": {},
    "bootstrapped": {"bootstrap": True},
    "all rows": {"bootstrap": False},
    "few rows": {"bootstrap": True, "max_samples": 40},
    "a share of rows": {"bootstrap": True, "max_samples": 0.5},
    "more rows than there are": {"bootstrap": True, "max_samples": 1.5},
    "one feature": {"max_features": 1},
    "all features": {"max_features": 1.0},
    "sqrt": {"max_features": "sqrt"},
    "log2": {"max_features": "log2"},
    "no limit of features": {"max_features": None},
    "leaves of five": {"min_samples_leaf": 5},
    "leaves of a share": {"min_samples_leaf": 0.05, "min_samples_split": 0.1},
    "weighty leaves": {"min_weight_fraction_leaf": 0.05},
    "shallow": {"max_depth": 2},
    "few leaves": {"max_leaf_nodes": 6},
    "pruned": {"ccp_alpha": 0.02, "min_impurity_decrease": 0.001},
    "monotonic": {"monotonic_cst": [1, 0, -1, 0, 0, 0]},
    "out of bag": {"bootstrap": True, "oob_score": True},
    "out of bag of few": {"bootstrap": True, "oob_score": True, "max_samples": 0.5, "min_samples_leaf": 3},
    "another seed": {"random_state": 7},
    "one whole range": {"n_estimators": 5},
    "a part of a range": {"n_estimators": 3},
    "many jobs": {"n_jobs": 2, "warm_start": True},
}

CLASSIFIERS: dict[str, dict[str, Any]] = {
    "entropy": {"criterion": "entropy"},
    "log_loss": {"criterion": "log_loss"},
    "balanced": {"class_weight": "balanced"},
    "balanced, bootstrapped": {"class_weight": "balanced", "bootstrap": True},
    "balanced subsamples": {"class_weight": "balanced_subsample", "bootstrap": True},
    "balanced subsamples of all": {"class_weight": "balanced_subsample", "bootstrap": False},
    "balanced, out of bag": {"class_weight": "balanced", "bootstrap": True, "oob_score": True},
    "weights": {"class_weight": {"0": 1.0, "1": 5.0}, "bootstrap": True, "max_samples": 0.7},
}

REGRESSORS: dict[str, dict[str, Any]] = {
    "absolute error": {"criterion": "absolute_error"},
    "poisson": {"criterion": "poisson"},
}

CASES = [
    pytest.param(family + suffix, case, id=f"{family}{suffix}-{name}")
    for family in ("random_forest", "extra_trees")
    for suffix, more in (("", CLASSIFIERS), ("_regressor", REGRESSORS))
    for name, case in (GRID | more).items()
]


def data(goal: str) -> tuple[Any, Any]:
    if goal == "classification":
        # Three classes have no monotonic trees in scikit-learn.
        return make_classification(ROWS, 6, n_informative=4, n_classes=2, weights=[0.8], flip_y=0.1, random_state=0)  # type: ignore[no-any-return]
    X, y = make_regression(ROWS, 6, n_informative=4, noise=5.0, random_state=0)
    return X, np.abs(y)


def own(name: str, parameters: dict[str, Any]) -> Any:
    """scikit-learn's own estimator, unfitted."""
    module, _, attribute = catalog.algorithm(name).estimator.rpartition(".")
    given = {"random_state": 42, **parameters}
    if isinstance(given.get("class_weight"), dict):
        given["class_weight"] = {int(label): weight for label, weight in given["class_weight"].items()}
    return getattr(import_module(module), attribute)(**given)


def fitted(name: str, parameters: dict[str, Any], objects: Path, ready: TaskResult) -> tuple[JobResult, Any]:
    spec, violations = catalog.validate(JobSpec(algorithm=name, dataset="rows", hyperparameters=parameters))
    assert not violations
    return training.train(spec, ready, objects)


@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores")
@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_equals_scikit_learns_own(name: str, parameters: dict[str, Any], tmp_path: Path) -> None:
    X, y = data(catalog.algorithm(name).goal)
    parameters = {"n_estimators": 12, **parameters}
    _, pipe = fitted(name, parameters, tmp_path, training.prepared(tmp_path, X[:120], y[:120], X[120:], y[120:]))
    ours = pipe[-1]
    theirs = own(name, parameters).fit(X[:120], y[:120])
    assert vars(ours).keys() == vars(theirs).keys()
    assert ours.get_params() == theirs.get_params()
    assert np.array_equal(ours.set_params(n_jobs=1).predict(X), theirs.set_params(n_jobs=1).predict(X))
    assert [tree.random_state for tree in ours.estimators_] == [tree.random_state for tree in theirs.estimators_]
    for one, other in zip(ours.estimators_, theirs.estimators_, strict=True):
        assert one.tree_.__getstate__()["nodes"].tobytes() == other.tree_.__getstate__()["nodes"].tobytes()
        assert np.array_equal(one.tree_.value, other.tree_.value)
    for fact in ("n_classes_", "oob_score_", "oob_decision_function_", "oob_prediction_", "feature_importances_"):
        if hasattr(theirs, fact):
            assert np.array_equal(getattr(ours, fact), getattr(theirs, fact))
    if hasattr(theirs, "predict_proba"):
        assert np.array_equal(ours.predict_proba(X), theirs.predict_proba(X))


def test_the_metrics_are_those_of_the_model(tmp_path: Path) -> None:
    from sklearn.metrics import log_loss

    X, y = data("classification")
    ready = training.prepared(tmp_path, X[:120], y[:120], X[120:], y[120:])
    result, pipe = fitted("random_forest", {"n_estimators": 13, "min_samples_leaf": 4}, tmp_path, ready)
    assert result.metrics["accuracy"] == pipe.score(X[120:], y[120:])
    assert result.metrics["train_accuracy"] == pipe.score(X[:120], y[:120])
    assert result.metrics["log_loss"] == log_loss(y[120:], pipe.predict_proba(X[120:]))
    assert not result.missing_metrics


def test_the_sum_of_a_large_range_is_kept_instead_of_its_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = data("classification")
    ready = training.prepared(tmp_path, X[:120], y[:120], X[120:], y[120:])
    apart, _ = fitted("random_forest", {"n_estimators": 13}, tmp_path, ready)
    monkeypatch.setattr("tensorfleet.algorithms.members.STACK_LIMIT", 0)
    summed, _ = fitted("random_forest", {"n_estimators": 13}, tmp_path, ready)
    assert summed.metrics == pytest.approx(apart.metrics)
    assert summed.model == apart.model


def test_many_classes(tmp_path: Path) -> None:
    X, y = make_classification(ROWS, 8, n_informative=6, n_classes=5, random_state=0)
    _, pipe = fitted("random_forest", {"class_weight": "balanced"}, tmp_path, training.prepared(tmp_path, X, y))
    theirs = own("random_forest", {"class_weight": "balanced"}).fit(X, y)
    assert np.array_equal(pipe.predict_proba(X), theirs.predict_proba(X))


def test_each_range_reports_its_accuracy_and_loss_at_its_last_tree(tmp_path: Path) -> None:
    X, y = data("classification")
    ready = training.prepared(tmp_path, X[:120], y[:120], X[120:], y[120:])
    points: list[Point] = []
    spec = JobSpec(algorithm="random_forest", hyperparameters={"n_estimators": 12})
    training.train(spec, ready, tmp_path, lambda stage, index, point: points.append(point))
    assert [(point.series, point.step) for point in points] == [
        (series, step) for step in (4, 9, 11) for series in ("accuracy", "loss")
    ]
    first = own("random_forest", {"n_estimators": 5}).fit(X[:120], y[:120])
    assert points[0].value == first.score(X[120:], y[120:])


def test_more_trees_keep_the_parts_of_fewer(tmp_path: Path) -> None:
    X, y = data("regression")
    ready = training.prepared(tmp_path, X, y)
    parts = {}
    for count in (12, 20):
        result, _ = fitted("random_forest_regressor", {"n_estimators": count}, tmp_path, ready)
        assert result.model is not None
        parts[count] = result.model.parts[2:]
    assert parts[12][:2] == parts[20][:2]
    assert len(parts[20]) == 4


def test_what_does_not_change_a_tree_does_not_change_its_task(tmp_path: Path) -> None:
    X, y = data("classification")
    ready = training.prepared(tmp_path, X, y)
    models = []
    for more in ({}, {"oob_score": True, "n_jobs": 2, "verbose": 1, "warm_start": True}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result, _ = fitted("random_forest", {"n_estimators": 10, **more}, tmp_path, ready)
        assert result.model is not None
        models.append(result.model)
    assert models[0].parts[1:] == models[1].parts[1:]
    assert models[0].sha256 != models[1].sha256


@pytest.mark.parametrize("labels", [["a", "b"], [10, 20], [False, True], [-1.0, 1.0]], ids=str)
def test_the_model_tells_the_datasets_own_labels(labels: list[Any], tmp_path: Path) -> None:
    X, y = data("classification")
    named = np.array(labels)[y]
    weights = {str(labels[0]): 1.0, str(labels[1]): 3.0}
    parameters = {"n_estimators": 7, "class_weight": weights}
    _, pipe = fitted("extra_trees", parameters, tmp_path, training.prepared(tmp_path, X, named))
    theirs = own("extra_trees", {"n_estimators": 7}).set_params(class_weight=dict(zip(labels, weights.values())))  # noqa: B905
    assert np.array_equal(pipe.predict(X), theirs.fit(X, named).predict(X))
    assert pipe[-1].classes_.dtype == named.dtype
    assert pipe[-1].class_weight == theirs.class_weight


def test_weights_of_a_label_that_is_none_are_refused(tmp_path: Path) -> None:
    from tensorfleet.errors import BadInput

    X, y = data("classification")
    with pytest.raises(BadInput, match=r"class_weight names 'two', which is no class; the classes are 0, 1"):
        fitted("random_forest", {"class_weight": {"two": 1.0}}, tmp_path, training.prepared(tmp_path, X, y))


def test_what_scikit_learn_refuses_is_bad_input(tmp_path: Path) -> None:
    from tensorfleet.errors import BadInput

    X, y = data("regression")
    ready = training.prepared(tmp_path, X, y - 1000)
    with pytest.raises(BadInput, match="Poisson") as refused:
        fitted("random_forest_regressor", {"criterion": "poisson"}, tmp_path, ready)
    assert refused.value.reason == "FIT_REFUSED"


@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores")
@pytest.mark.parametrize("rows", ["whole", "with gaps", "alike with other labels"])
@pytest.mark.parametrize(("name", "parameters"), [case for case in CASES if "regressor" not in case.values[0]])
def test_training_rows_are_remembered_as_the_trees_predict_them(
    name: str, parameters: dict[str, Any], rows: str
) -> None:
    X, y = data("classification")
    X = X.astype(np.float32)
    if rows == "with gaps" and "monotonic_cst" not in parameters:
        X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    if rows == "alike with other labels":
        X[1::2] = X[::2]
    forest = own(name, {"n_estimators": 6, **parameters}).fit(X, y)
    said = _recalled(forest, X, y)
    for member in range(len(forest.estimators_)):
        assert np.array_equal(said(forest, member, X), forest.estimators_[member].predict_proba(X))


@pytest.mark.parametrize("mixed", [False, True])
def test_predictions_are_counted_where_no_leaf_mixes_classes(mixed: bool, tmp_path: Path) -> None:
    X, y = data("classification")
    ready = training.prepared(tmp_path, X[:120], y[:120], X[120:], y[120:])
    leaves = 9 if mixed else 1
    params = {
        "algorithm": "random_forest",
        "hyperparameters": {"min_samples_leaf": leaves, "random_state": 42},
        "start": 5,
        "stop": 8,
    }
    inputs = [Input(object_path(tmp_path, ref.digest)) for ref in ready.outputs[:2]]
    made = fit(Context(params=params, inputs=inputs, report=lambda *point: None))
    said = bundle.decode(b"".join(made.outputs[1]))
    theirs = own("random_forest", {"n_estimators": 8, "min_samples_leaf": leaves}).fit(X[:120], y[:120])
    for name, part in (("train", X[:120]), ("validation", X[120:])):
        assert said[name].dtype == (np.float64 if mixed else np.uint8)
        assert np.array_equal(said[name], [tree.predict_proba(part) for tree in theirs.estimators_[5:]])
