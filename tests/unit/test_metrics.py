"""Metrics: scikit-learn's figures, and a reason for each that is missing."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as theirs

from tensorfleet.models.metrics import Predicted, measure, progress

RANDOM = np.random.RandomState(0)
CLASSES = np.array(["a", "b", "c"])
Y = CLASSES[RANDOM.randint(3, size=60)]
PROBABILITIES = RANDOM.dirichlet(np.ones(3), size=60)
LABELS = CLASSES[PROBABILITIES.argmax(axis=1)]


def test_a_classifiers_metrics() -> None:
    found = measure("classification", Y, Predicted(LABELS, PROBABILITIES), CLASSES)
    assert found.missing == {}
    assert found.metrics == {
        "accuracy": theirs.accuracy_score(Y, LABELS),
        "precision": theirs.precision_score(Y, LABELS, average="weighted"),
        "recall": theirs.recall_score(Y, LABELS, average="weighted"),
        "f1": theirs.f1_score(Y, LABELS, average="weighted"),
        "roc_auc": theirs.roc_auc_score(Y, PROBABILITIES, multi_class="ovr"),
        "log_loss": theirs.log_loss(Y, PROBABILITIES),
    }


def test_a_regressors_metrics_and_a_prefix() -> None:
    y, said = np.arange(9.0), np.arange(9.0)[::-1].copy()
    found = measure("regression", y, Predicted(said), prefix="train_")
    assert found.metrics == {
        "train_r2": theirs.r2_score(y, said),
        "train_mae": theirs.mean_absolute_error(y, said),
        "train_rmse": theirs.root_mean_squared_error(y, said),
        "train_median_absolute_error": theirs.median_absolute_error(y, said),
    }


@pytest.mark.parametrize(
    ("y", "predicted", "missing"),
    [
        (
            ["a"] * 4,
            Predicted(LABELS[:4], PROBABILITIES[:4]),
            {"roc_auc": "the rows lack some of the classes"},
        ),
        (
            ["a", "z", "b", "c"],
            Predicted(LABELS[:4], PROBABILITIES[:4]),
            {
                "roc_auc": "the rows have a class that the training rows have not",
                "log_loss": "the rows have a class that the training rows have not",
            },
        ),
        (
            ["a", "b", "c", "a"],
            Predicted(LABELS[:4]),
            {"roc_auc": "the model gives no probabilities", "log_loss": "the model gives no probabilities"},
        ),
    ],
    ids=["one class", "a new class", "no probabilities"],
)
def test_what_cannot_be_computed_is_missing_with_its_reason(
    y: list[str], predicted: Predicted, missing: dict[str, str]
) -> None:
    found = measure("classification", np.array(y), predicted, CLASSES)
    assert found.missing == missing
    assert "accuracy" in found.metrics


def test_two_classes_take_the_second_ones_scores() -> None:
    y, classes, scores = np.array([0, 1, 1, 0]), np.array([0, 1]), np.array([-1.0, 2.0, 0.5, 0.7])
    found = measure("classification", y, Predicted(np.array([0, 1, 1, 1]), None, scores), classes)
    assert found.metrics["roc_auc"] == theirs.roc_auc_score(y, scores)
    both = np.column_stack([1 - scores, scores])
    assert measure("classification", y, Predicted(y, both), classes).metrics["roc_auc"] == found.metrics["roc_auc"]


def test_one_row_has_no_r2() -> None:
    found = measure("regression", np.array([1.0]), Predicted(np.array([2.0])))
    assert found.missing == {"r2": "it takes at least two rows"}


def test_figures_that_are_not_finite_are_missing() -> None:
    found = measure("regression", np.array([1e308, -1e308]), Predicted(np.array([-1e308, 1e308])))
    assert "rmse" in found.missing
    assert all(np.isfinite(value) for value in found.metrics.values())


def test_points_of_a_classifier_are_scikit_learns_figures() -> None:
    points = progress("classification", Y, PROBABILITIES, CLASSES)
    assert points["accuracy"] == theirs.accuracy_score(Y, LABELS)
    assert points["loss"] == pytest.approx(theirs.log_loss(Y, PROBABILITIES))
    sure = np.eye(3)[RANDOM.randint(3, size=60)]
    assert progress("classification", Y, sure, CLASSES)["loss"] == pytest.approx(theirs.log_loss(Y, sure))


def test_points_of_a_regressor() -> None:
    y, said = np.arange(9.0), np.arange(9.0) + 0.5
    assert progress("regression", y, said) == pytest.approx({"accuracy": theirs.r2_score(y, said), "loss": 0.25})


@pytest.mark.parametrize(
    ("goal", "y", "said", "left"),
    [
        ("regression", np.ones(3), np.zeros(3), {"loss"}),
        ("classification", np.array(["z"]), np.ones((1, 3)) / 3, {"accuracy"}),
    ],
    ids=["constant", "a new class"],
)
def test_points_that_cannot_be_computed_are_left_out(goal: Any, y: Any, said: Any, left: set[str]) -> None:
    assert set(progress(goal, y, said, CLASSES)) == left
