"""Trains on matrices that are at hand, so that a family can be compared with scikit-learn without a dataset.

The rule: all but reading and preparing is the plan's own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorfleet import bundle, direct
from tensorfleet.model import JobResult, JobSpec, Point, Ref, Resolved, TaskResult
from tensorfleet.models import frameworks, manifest, state
from tensorfleet.plan import StageResults


def prepared(objects: Path, X: Any, y: Any, X_validation: Any = None, y_validation: Any = None) -> TaskResult:
    """What the stage `prepare` would leave of these rows, X of shape (n, features) and y of (n,)."""
    import numpy as np
    from sklearn.preprocessing import FunctionTransformer

    X = np.ascontiguousarray(X, dtype=np.float64)
    validation = (X[:0], y[:0]) if X_validation is None else (np.ascontiguousarray(X_validation, float), y_validation)
    labels = [] if y.dtype.kind == "f" else [str(label) for label in np.unique(y)]
    preparation = {
        "transformer": state.dump(FunctionTransformer().fit(X)),
        "features": [f"x{index}" for index in range(X.shape[1])],
        "target": "y",
        "classes": labels,
    }
    trees = [{"X": X, "y": y}, {"X": validation[0], "y": validation[1]}, preparation]
    outputs = tuple(direct.keep(objects, bundle.encode(tree)) for tree in trees)
    return TaskResult(outputs, {"dataset_digest": "0" * 64})


def train(
    spec: JobSpec,
    ready: TaskResult,
    objects: Path,
    report: Callable[[str, int, Point], None] = lambda stage, index, point: None,
) -> tuple[JobResult, Any]:
    """Fits and finishes; the job's result, and the model as a scikit-learn Pipeline."""
    done = [StageResults("prepare", [ready])]
    resolved = Resolved(dataset=(Ref("0" * 64, 0),))
    result = direct.run(spec, resolved, objects=objects, done=done, report=report).result
    assert result.model is not None
    return result, load(objects, result.model.sha256)


def load(objects: Path, sha256: str) -> Any:
    """The model of a manifest's digest."""

    def read(digest: str) -> Any:
        return bundle.mapped(direct.object_path(objects, digest))

    return frameworks.assemble(manifest.read(bundle.decode(read(sha256))), read)
