"""Forests of trees, spread by ranges of trees: random_forest and extra_trees, and their regressors.

The rule: the forest equals scikit-learn's own, tree for tree. Source: `sklearn.ensemble._forest.BaseForest.fit`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tensorfleet.algorithms import members
from tensorfleet.algorithms.algorithm import Algorithm, Goal, Members
from tensorfleet.algorithms.common import (
    CCP_ALPHA,
    CLASSIFIER_CRITERION,
    FLAG,
    MAX_DEPTH,
    MAX_FEATURES,
    MAX_LEAF_NODES,
    MIN_IMPURITY_DECREASE,
    MIN_SAMPLES_LEAF,
    MIN_SAMPLES_SPLIT,
    MIN_WEIGHT_FRACTION_LEAF,
    MONOTONIC_CST,
    N_ESTIMATORS,
    N_JOBS,
    NULL,
    OFF,
    POSITIVE,
    RANDOM_STATE,
    REGRESSOR_CRITERION,
    VERBOSE,
    WEIGHTS,
)
from tensorfleet.algorithms.parameters import Choice, Integer, Parameter, one_of
from tensorfleet.model import Value
from tensorfleet.operators import Context, Operator, Outcome

RANGE = 5
"""Trees of a range. Few, so that slots end together: 100 and 200 trees share out evenly among 2, 4, 5 or 10 slots. Not
fewer, since each range reads and checks the matrix anew, which at 100,000 x 54 takes about 2% of five trees' time."""


def fit(context: Context) -> Outcome:
    """Grows one range of trees; see `members.fit_range`."""
    algorithm = _BY_NAME[str(context.params["algorithm"])]
    if algorithm.goal == "classification":
        return members.fit_range(context, algorithm, _probabilities, _single, _recalled)
    return members.fit_range(context, algorithm, _values, _single)


def complete(forest: Any, X: Any, y: Any, count: int, grown: dict[str, list[Any]] | None) -> None:
    """Sets all that scikit-learn's fit would, by its own code; given the trees, also the out-of-bag score."""
    warm, forest.warm_start = forest.warm_start, True
    forest.estimators_ = [None] * count if grown is None else grown["estimators_"]
    members.quietly_fitted(forest, X, y)
    forest.warm_start = warm


def rules(parameters: Mapping[str, Value]) -> dict[str, str]:
    """Bags are there only where rows are drawn; scikit-learn would say so when all trees are grown."""
    if parameters["bootstrap"]:
        return {}
    wrong = {"oob_score": parameters["oob_score"], "max_samples": parameters["max_samples"] is not None}
    return {name: "needs bootstrap to be true" for name, given in wrong.items() if given}


def _single(X: Any) -> Any:
    import numpy as np

    return np.ascontiguousarray(X, dtype=np.float32)


def _probabilities(forest: Any, member: int, X: Any) -> Any:
    return forest.estimators_[member].predict_proba(X, check_input=False)


def _recalled(forest: Any, X: Any, y: Any) -> members.Contribution:
    """What `_probabilities` says of the training rows, and only those walk down a tree that it was not grown from.

    A row that a tree was grown from lies in a leaf with rows of its own class alone, where no leaf mixes classes.
    """
    import numpy as np
    from sklearn.ensemble._forest import _generate_unsampled_indices

    own = np.zeros((len(y), len(forest.classes_)))
    own[np.arange(len(y)), np.searchsorted(forest.classes_, y)] = 1.0

    def contribution(forest: Any, member: int, X: Any) -> Any:
        tree = forest.estimators_[member]
        # Weights may leave rows out that were drawn; what is monotonic may say less of a leaf than its rows do.
        if forest.class_weight is not None or forest.monotonic_cst is not None or _mixes(tree.tree_):
            return _probabilities(forest, member, X)
        said = own.copy()
        if forest.bootstrap:
            unseen = _generate_unsampled_indices(tree.random_state, len(X), forest._n_samples_bootstrap, None)
            said[unseen] = tree.predict_proba(X[unseen], check_input=False)
        return said

    return contribution


def _mixes(tree: Any) -> bool:
    """Whether some leaf has rows of several classes."""
    return bool(tree.impurity[tree.children_left == tree.children_right].any())


def _values(forest: Any, member: int, X: Any) -> Any:
    return forest.estimators_[member].predict(X, check_input=False)


def _parameters(goal: Goal, bootstrap: bool) -> dict[str, Parameter]:
    classifies = goal == "classification"
    weights = Parameter(one_of(Choice(("balanced", "balanced_subsample")), WEIGHTS, NULL), None)
    return {
        "n_estimators": N_ESTIMATORS,
        "criterion": CLASSIFIER_CRITERION if classifies else REGRESSOR_CRITERION,
        "max_depth": MAX_DEPTH,
        "min_samples_split": MIN_SAMPLES_SPLIT,
        "min_samples_leaf": MIN_SAMPLES_LEAF,
        "min_weight_fraction_leaf": MIN_WEIGHT_FRACTION_LEAF,
        "max_features": Parameter(MAX_FEATURES, "sqrt" if classifies else 1.0),
        "max_leaf_nodes": MAX_LEAF_NODES,
        "min_impurity_decrease": MIN_IMPURITY_DECREASE,
        "bootstrap": Parameter(FLAG, bootstrap),
        "oob_score": OFF,
        "n_jobs": N_JOBS,
        "random_state": RANDOM_STATE,
        "verbose": VERBOSE,
        "warm_start": OFF,
        **({"class_weight": weights} if classifies else {}),
        "ccp_alpha": CCP_ALPHA,
        "max_samples": Parameter(one_of(NULL, POSITIVE, Integer(1)), None),
        "monotonic_cst": MONOTONIC_CST,
    }


def _pair(name: str, display: str, bootstrap: bool) -> tuple[Algorithm, Algorithm]:
    spread = Members(size=RANGE, complete=complete)
    make: Callable[..., Algorithm] = lambda goal, suffix, **names: Algorithm(  # noqa: E731
        estimator=f"sklearn.ensemble.{display}{suffix}",
        goal=goal,
        display=display,
        operator="forest.fit@1",
        parameters=_parameters(goal, bootstrap),
        single=True,
        members=spread,
        rules=rules,
        **names,
    )
    return (
        make("classification", "Classifier", name=name, aliases=(f"{name}_classifier",)),
        make("regression", "Regressor", name=f"{name}_regressor"),
    )


ALGORITHMS = (*_pair("random_forest", "RandomForest", True), *_pair("extra_trees", "ExtraTrees", False))
OPERATORS: dict[str, Operator] = {"forest.fit@1": fit}
_BY_NAME = {algorithm.name: algorithm for algorithm in ALGORITHMS}
