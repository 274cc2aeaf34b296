"""Puts a model of scikit-learn together again: a Pipeline that needs nothing of ours.

The rule: the estimator is scikit-learn's own class with the attributes its own fit would have set. Nobody unpickles
what another party wrote; a pickle is written for whoever asks for one.
"""

import pickle
from typing import Any, BinaryIO

from tensorfleet import bundle
from tensorfleet.models import state
from tensorfleet.models.frameworks import Read
from tensorfleet.models.manifest import Manifest


def assemble(manifest: Manifest, read: Read, threads: int | None = None) -> Any:
    """The fitted Pipeline of `prepare` and `model`; see `frameworks.assemble`."""
    from sklearn.pipeline import Pipeline

    transformer = state.restore(bundle.decode(read(manifest.preparation))["transformer"])
    pipe = Pipeline([("prepare", transformer), ("model", estimator(manifest, read))])
    if threads is not None and "n_jobs" in pipe[-1].get_params(deep=False):
        # One thread adds up an ensemble's members in their order; with more, scikit-learn adds them as they come.
        pipe[-1].set_params(n_jobs=1)
    return pipe


def write(pipe: Any, format: str, file: BinaryIO, threads: int | None = None) -> None:
    """The Pipeline's pickle: it holds scikit-learn's classes alone, so it loads where TensorFleet is not installed."""
    pickle.dump(pipe, file, protocol=5)


def estimator(manifest: Manifest, read: Read) -> Any:
    """The fitted estimator alone, which takes prepared rows."""
    if manifest.shell is None:
        return state.restore(bundle.decode(read(manifest.parts[0])))
    whole = state.restore(manifest.shell)
    lists: dict[str, list[Any]] = {name: [] for name in manifest.members}
    for digest in manifest.parts:
        part = bundle.decode(read(digest))
        for name, items in lists.items():
            items.extend(state.restore(item) for item in part[name])
    for name, items in lists.items():
        setattr(whole, name, items)
    return whole
