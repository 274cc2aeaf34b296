"""Ensembles spread by aligned ranges of their members: what one range's task does, and how its parts come together.

The rule: a range's members are those that scikit-learn's own fit draws at those places, so what is put together equals
the estimator fitted in one process. Sources: `sklearn.ensemble._forest`, `sklearn.ensemble._bagging`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tensorfleet import bundle
from tensorfleet.algorithms.algorithm import Algorithm, Members
from tensorfleet.algorithms.building import build
from tensorfleet.errors import BadInput
from tensorfleet.models import metrics, state
from tensorfleet.operators import Context, Outcome

STACK_LIMIT = 4 * 1024 * 1024
"""Bytes up to which each member's predictions are kept apart, so that their sum is taken in scikit-learn's order."""

COUNTED = 255
"""Members up to which a range's sums may be counts of one byte."""

Contribution = Callable[[Any, int, Any], Any]
"""`contribution(ensemble, member, X)`: what a member adds to the ensemble's sum, shape (rows, classes) or (rows,)."""

Recall = Callable[[Any, Any, Any], Contribution]
"""`recall(ensemble, X, y)`: the same for the rows that the members were fitted on, by what that tells of them."""


def ranges(count: int, size: int) -> list[tuple[int, int]]:
    """The aligned ranges of `count` members: [0, size), [size, 2 size) and so on; the last may be shorter."""
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def fit_range(
    context: Context,
    algorithm: Algorithm,
    contribution: Contribution,
    prepare: Callable[[Any], Any],
    recall: Recall | None = None,
) -> Outcome:
    """Fits members [start, stop) and sums up what they predict.

    Inputs: train and validation, each {"X", "y"}. Parameters: algorithm, hyperparameters, start, stop. Outputs: the
    part, {attribute: [member, ...]}; and the predictions, {"train", "validation"}, each an array (k, rows, ...) whose
    sum over k is the range's. prepare: turns X into what the members predict from.
    """
    spread = algorithm.members
    assert spread is not None
    train, validation = (item.bundle() for item in context.inputs)
    start, stop = int(context.params["start"]), int(context.params["stop"])  # type: ignore[arg-type]
    ensemble = grow(context, algorithm, spread, train["X"], train["y"], start, stop)
    X = prepare(train["X"])
    remembered = contribution if recall is None else recall(ensemble, X, train["y"])
    stacks = {
        "train": _stack(ensemble, remembered, X, start, stop),
        "validation": _stack(ensemble, contribution, prepare(validation["X"]), start, stop),
    }
    if algorithm.goal == "classification" and stop - start <= COUNTED:
        stacks = {name: _counts(stack) for name, stack in stacks.items()}
    _report(context, algorithm, ensemble, stacks, train["y"], validation["y"], stop)
    part = {name: [state.dump(item) for item in getattr(ensemble, name)[start:stop]] for name in spread.attributes}
    return Outcome([bundle.encode(part), bundle.encode(stacks)], {"members": stop - start})


def grow(context: Context, algorithm: Algorithm, spread: Members, X: Any, y: Any, start: int, stop: int) -> Any:
    """The ensemble with its members [start, stop) fitted and None before them.

    Told that `start` members are there already, scikit-learn's warm start draws their seeds and goes on after them.
    """
    given = dict(context.params["hyperparameters"])  # type: ignore[arg-type]
    ensemble = build(algorithm, given, y)
    ensemble.set_params(**{spread.count: stop, "warm_start": True, "n_jobs": context.threads})
    for name in spread.attributes:
        setattr(ensemble, name, [None] * start)
    return quietly_fitted(ensemble, X, y)


def quietly_fitted(ensemble: Any, X: Any, y: Any) -> Any:
    """Fits in threads, never in processes, and without the warnings about warm starts.

    BadInput for data that scikit-learn refuses.
    """
    import warnings

    from joblib import parallel_config

    with warnings.catch_warnings(), parallel_config("threading"):
        warnings.filterwarnings("ignore", message="class_weight presets")
        warnings.filterwarnings("ignore", message="Warm-start fitting without increasing")
        try:
            return ensemble.fit(X, y)
        except ValueError as error:
            raise BadInput(f"{type(ensemble).__name__} cannot be fitted: {error}", reason="FIT_REFUSED") from error


def combined(stacks: Sequence[Any], count: int) -> Any:
    """The ensemble's mean over its members, added in their order."""
    import numpy as np

    total = np.zeros(stacks[0].shape[1:], dtype=np.float64)
    for stack in stacks:
        for addend in stack:
            total += addend
    total /= count
    return total


def _stack(ensemble: Any, contribution: Contribution, X: Any, start: int, stop: int) -> Any:
    import numpy as np

    stack: list[Any] = []
    for member in range(start, stop):
        addend = contribution(ensemble, member, X)
        if stack and addend.nbytes * (stop - start) > STACK_LIMIT:
            stack[0] += addend
        else:
            stack.append(np.array(addend, dtype=np.float64))
    return np.stack(stack)


def _counts(stack: Any) -> Any:
    """The same numbers in a byte each, where trees whose leaves have one class each make them whole."""
    import numpy as np

    counts = stack.astype(np.uint8)
    return counts if np.array_equal(counts, stack) else stack


def _report(
    context: Context, algorithm: Algorithm, ensemble: Any, stacks: Any, y_train: Any, y_validation: Any, stop: int
) -> None:
    """The range's own accuracy and loss, on the validation rows where there are any."""
    name, y = ("validation", y_validation) if len(y_validation) else ("train", y_train)
    mean = stacks[name].sum(axis=0) / (stop - int(context.params["start"]))  # type: ignore[arg-type]
    classes = getattr(ensemble, "classes_", None)
    for series, value in metrics.progress(algorithm.goal, y, mean, classes).items():
        context.report(series, stop - 1, value)
