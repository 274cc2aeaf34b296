"""Boosted trees, fitted in one task: gradient_boosting and hist_gradient_boosting, and their regressors.

The rule: reporting a stage reads the model and never changes it, so the fit equals scikit-learn's own.
"""

from collections.abc import Callable, Iterable
from typing import Any

from tensorfleet.algorithms import whole
from tensorfleet.algorithms.algorithm import Algorithm, Goal
from tensorfleet.algorithms.common import (
    CCP_ALPHA,
    CLASS_WEIGHT,
    FRACTION,
    MAX_DEPTH,
    MAX_FEATURES,
    MAX_LEAF_NODES,
    MIN_IMPURITY_DECREASE,
    MIN_SAMPLES_LEAF,
    MIN_SAMPLES_SPLIT,
    MIN_WEIGHT_FRACTION_LEAF,
    MONOTONIC_CST,
    N_ESTIMATORS,
    NOT_NEGATIVE,
    NULL,
    OFF,
    OPEN_FRACTION,
    POSITIVE,
    RANDOM_STATE,
    VERBOSE,
)
from tensorfleet.algorithms.parameters import Choice, Flag, Integer, ListOf, Parameter, Real, Text, one_of
from tensorfleet.models import metrics
from tensorfleet.operators import Context, Operator, Outcome


def fit(context: Context) -> Outcome:
    """Fits gradient_boosting and reports each stage's accuracy and loss while it does; see `whole.fit_whole`."""
    algorithm = _BY_NAME[str(context.params["algorithm"])]

    def fit_and_report(estimator: Any, train: Any, rows: Any) -> None:
        estimator.fit(train["X"], train["y"], monitor=_monitor(context, algorithm.goal, rows))

    return whole.fit_whole(context, algorithm, fit_and_report)


def fit_histogram(context: Context) -> Outcome:
    """Fits hist_gradient_boosting, then reports each stage's accuracy and loss: it has no hook for the time between."""
    algorithm = _BY_NAME[str(context.params["algorithm"])]

    def fit_and_report(estimator: Any, train: Any, rows: Any) -> None:
        estimator.fit(train["X"], train["y"])
        classifies = algorithm.goal == "classification"
        stages: Iterable[Any] = (estimator.staged_predict_proba if classifies else estimator.staged_predict)(rows["X"])
        for step, said in enumerate(stages):
            _report(context, algorithm.goal, rows["y"], said, getattr(estimator, "classes_", None), step)

    return whole.fit_whole(context, algorithm, fit_and_report)


def _monitor(context: Context, goal: Goal, rows: Any) -> Callable[[int, Any, Any], bool]:
    """scikit-learn's callback after each stage. It keeps the rows' raw predictions and adds each stage's trees."""
    import numpy as np
    from sklearn.ensemble._gradient_boosting import predict_stage

    X = np.ascontiguousarray(rows["X"], dtype=np.float32)
    raw: list[Any] = []

    def monitor(stage: int, model: Any, _: Any) -> bool:
        if not raw:
            raw.append(np.ascontiguousarray(model._raw_predict_init(X)))
        predict_stage(model.estimators_, stage, X, model.learning_rate, raw[0])
        flat = raw[0].ravel() if raw[0].shape[1] == 1 else raw[0]
        said = model._loss.predict_proba(flat) if goal == "classification" else flat
        _report(context, goal, rows["y"], said, getattr(model, "classes_", None), stage)
        return False

    return monitor


def _report(context: Context, goal: Goal, y: Any, said: Any, classes: Any, step: int) -> None:
    for series, value in metrics.progress(goal, y, said, classes).items():
        context.report(series, step, value)


def _gradient(goal: Goal) -> dict[str, Parameter]:
    classifies = goal == "classification"
    losses = ("log_loss", "exponential") if classifies else ("squared_error", "absolute_error", "huber", "quantile")
    return {
        "loss": Parameter(Choice(losses), losses[0]),
        "learning_rate": Parameter(NOT_NEGATIVE, 0.1),
        "n_estimators": N_ESTIMATORS,
        "subsample": Parameter(FRACTION, 1.0),
        "criterion": Parameter(Choice(("deprecated", "squared_error")), "deprecated"),
        "min_samples_split": MIN_SAMPLES_SPLIT,
        "min_samples_leaf": MIN_SAMPLES_LEAF,
        "min_weight_fraction_leaf": MIN_WEIGHT_FRACTION_LEAF,
        "max_depth": Parameter(MAX_DEPTH.kind, 3),
        "min_impurity_decrease": MIN_IMPURITY_DECREASE,
        "init": Parameter(one_of(Choice(("zero",)), NULL), None),
        "random_state": RANDOM_STATE,
        "max_features": Parameter(MAX_FEATURES, None),
        **({} if classifies else {"alpha": Parameter(OPEN_FRACTION, 0.9)}),
        "verbose": VERBOSE,
        "max_leaf_nodes": MAX_LEAF_NODES,
        "warm_start": OFF,
        "validation_fraction": Parameter(OPEN_FRACTION, 0.1),
        "n_iter_no_change": Parameter(one_of(Integer(1), NULL), None),
        "tol": Parameter(NOT_NEGATIVE, 1e-4),
        "ccp_alpha": CCP_ALPHA,
    }


def _histogram(goal: Goal) -> dict[str, Parameter]:
    classifies = goal == "classification"
    losses = ("log_loss",) if classifies else ("squared_error", "absolute_error", "gamma", "poisson", "quantile")
    columns = one_of(ListOf(one_of(Integer(0), Flag())), Choice(("from_dtype",)), NULL)
    together = one_of(ListOf(ListOf(Integer(0))), Choice(("pairwise", "no_interactions")), NULL)
    return {
        "loss": Parameter(Choice(losses), losses[0]),
        **({} if classifies else {"quantile": Parameter(one_of(Real(0.0, 1.0), NULL), None)}),
        "learning_rate": Parameter(POSITIVE, 0.1),
        "max_iter": Parameter(Integer(1), 100),
        "max_leaf_nodes": Parameter(MAX_LEAF_NODES.kind, 31),
        "max_depth": MAX_DEPTH,
        "min_samples_leaf": Parameter(Integer(1), 20),
        "l2_regularization": Parameter(NOT_NEGATIVE, 0.0),
        "max_features": Parameter(FRACTION, 1.0),
        "max_bins": Parameter(Integer(2, 255), 255),
        "categorical_features": Parameter(columns, "from_dtype"),
        "monotonic_cst": MONOTONIC_CST,
        "interaction_cst": Parameter(together, None),
        "warm_start": OFF,
        "early_stopping": Parameter(one_of(Choice(("auto",)), Flag()), "auto"),
        "scoring": Parameter(one_of(Text(), NULL), "loss"),
        "validation_fraction": Parameter(one_of(OPEN_FRACTION, Integer(1), NULL), 0.1),
        "n_iter_no_change": Parameter(Integer(1), 10),
        "tol": Parameter(NOT_NEGATIVE, 1e-7),
        "verbose": VERBOSE,
        "random_state": RANDOM_STATE,
        **({"class_weight": CLASS_WEIGHT} if classifies else {}),
    }


def _pair(name: str, display: str, operator: str, parameters: Callable[[Goal], dict[str, Parameter]]) -> Any:
    return (
        Algorithm(
            name=name,
            aliases=(f"{name}_classifier",),
            estimator=f"sklearn.ensemble.{display}Classifier",
            goal="classification",
            display=display,
            operator=operator,
            parameters=parameters("classification"),
        ),
        Algorithm(
            name=f"{name}_regressor",
            estimator=f"sklearn.ensemble.{display}Regressor",
            goal="regression",
            display=display,
            operator=operator,
            parameters=parameters("regression"),
        ),
    )


ALGORITHMS: tuple[Algorithm, ...] = (
    *_pair("gradient_boosting", "GradientBoosting", "boosting.fit@1", _gradient),
    *_pair("hist_gradient_boosting", "HistGradientBoosting", "boosting.fit_histogram@1", _histogram),
)
OPERATORS: dict[str, Operator] = {"boosting.fit@1": fit, "boosting.fit_histogram@1": fit_histogram}
_BY_NAME = {algorithm.name: algorithm for algorithm in ALGORITHMS}
