"""scikit-learn's part: a forest's bare fit with as many threads as slots; and the fit that joblib spreads elsewhere.

The rule: everybody fits the same estimator to the same matrix, in memory before the time starts.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.peers.sampling import Samples, arguments

COMPARED = 2000
"""Rows on which the forests' answers are compared."""


def matrix(folder: Path) -> tuple[Any, Any]:
    import numpy as np

    return np.load(folder / "X.npy"), np.load(folder / "y.npy")


def fit(samples: Samples, who: str, options: Any, threads: int | None = None) -> str:
    """Times a fit, and gives a digest of the forest's answers."""
    from sklearn.ensemble import RandomForestClassifier

    X, y = matrix(options.matrix)
    # So that the slots have imported what a fit needs.
    RandomForestClassifier(n_estimators=4, random_state=1, n_jobs=threads).fit(X[:1000], y[:1000])
    forest = RandomForestClassifier(n_estimators=options.trees, random_state=42, n_jobs=threads)
    with samples.timed("forest", who):
        forest.fit(X, y)
    forest.n_jobs = 1
    return sha256(forest.predict_proba(X[:COMPARED]).tobytes()).hexdigest()


def main() -> None:
    from sklearn import __version__

    options, samples = arguments(), Samples()
    answers = fit(samples, f"scikit-learn, n_jobs={options.slots}", options, threads=options.slots)
    samples.tell(version=f"scikit-learn {__version__}", answers=answers)


if __name__ == "__main__":
    main()
