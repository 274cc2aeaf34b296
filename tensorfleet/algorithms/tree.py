"""Single decision trees, fitted in one task: decision_tree and its regressor.

The rule: parameters and defaults are those of `sklearn.tree`, with random_state 42.
"""

from tensorfleet.algorithms.algorithm import Algorithm, Goal
from tensorfleet.algorithms.common import (
    CCP_ALPHA,
    CLASS_WEIGHT,
    CLASSIFIER_CRITERION,
    MAX_DEPTH,
    MAX_FEATURES,
    MAX_LEAF_NODES,
    MIN_IMPURITY_DECREASE,
    MIN_SAMPLES_LEAF,
    MIN_SAMPLES_SPLIT,
    MIN_WEIGHT_FRACTION_LEAF,
    MONOTONIC_CST,
    RANDOM_STATE,
    REGRESSOR_CRITERION,
)
from tensorfleet.algorithms.parameters import Choice, Parameter
from tensorfleet.operators import Operator


def _parameters(goal: Goal) -> dict[str, Parameter]:
    classifies = goal == "classification"
    return {
        "criterion": CLASSIFIER_CRITERION if classifies else REGRESSOR_CRITERION,
        "splitter": Parameter(Choice(("best", "random")), "best"),
        "max_depth": MAX_DEPTH,
        "min_samples_split": MIN_SAMPLES_SPLIT,
        "min_samples_leaf": MIN_SAMPLES_LEAF,
        "min_weight_fraction_leaf": MIN_WEIGHT_FRACTION_LEAF,
        "max_features": Parameter(MAX_FEATURES, None),
        "random_state": RANDOM_STATE,
        "max_leaf_nodes": MAX_LEAF_NODES,
        "min_impurity_decrease": MIN_IMPURITY_DECREASE,
        **({"class_weight": CLASS_WEIGHT} if classifies else {}),
        "ccp_alpha": CCP_ALPHA,
        "monotonic_cst": MONOTONIC_CST,
    }


ALGORITHMS = (
    Algorithm(
        name="decision_tree",
        aliases=("decision_tree_classifier",),
        estimator="sklearn.tree.DecisionTreeClassifier",
        goal="classification",
        display="DecisionTree",
        operator="whole.fit@1",
        parameters=_parameters("classification"),
    ),
    Algorithm(
        name="decision_tree_regressor",
        estimator="sklearn.tree.DecisionTreeRegressor",
        goal="regression",
        display="DecisionTree",
        operator="whole.fit@1",
        parameters=_parameters("regression"),
    ),
)
OPERATORS: dict[str, Operator] = {}
