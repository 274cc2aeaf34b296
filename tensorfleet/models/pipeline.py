"""Puts a model together again: a scikit-learn Pipeline that needs nothing of ours.

The rule: the estimator is scikit-learn's own class with the attributes its own fit would have set.
"""

from collections.abc import Callable
from typing import Any

from tensorfleet.models import state
from tensorfleet.models.manifest import Manifest


def assemble(manifest: Manifest, read: Callable[[str], Any]) -> Any:
    """The fitted Pipeline of `prepare` and `model`. read: gives the decoded bundle of a digest."""
    from sklearn.pipeline import Pipeline

    transformer = state.restore(read(manifest.preparation)["transformer"])
    return Pipeline([("prepare", transformer), ("model", estimator(manifest, read))])


def estimator(manifest: Manifest, read: Callable[[str], Any]) -> Any:
    """The fitted estimator alone, which takes prepared rows."""
    if manifest.shell is None:
        return state.restore(read(manifest.parts[0]))
    whole = state.restore(manifest.shell)
    lists: dict[str, list[Any]] = {name: [] for name in manifest.members}
    for digest in manifest.parts:
        part = read(digest)
        for name, items in lists.items():
            items.extend(state.restore(item) for item in part[name])
    for name, items in lists.items():
        setattr(whole, name, items)
    return whole
