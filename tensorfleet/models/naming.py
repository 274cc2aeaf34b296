"""Names of models: for people, and safe ones where nobody gave any.

The rule: a name is letters, digits, `.`, `_` and `-`, so that it is the same in paths, URLs and shells.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from tensorfleet.data.sources import split_options
from tensorfleet.model import Ref

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a model's name may be."""

_FILE = re.compile(r"sha256:([0-9a-f]{64}):([0-9]{1,12})")


def file_name(ref: Ref) -> str:
    """What a job calls a file that was put as an artifact: `sha256:DIGEST:BYTES`."""
    return f"sha256:{ref.digest}:{ref.size}"


def file_of(name: str) -> Ref | None:
    """The artifact of such a name; None where it is none."""
    found = _FILE.fullmatch(name)
    return Ref(found[1], int(found[2])) if found else None


def framework_of(estimator: str) -> str:
    """What a model is made of: the first name of its estimator's class, such as `sklearn`."""
    return estimator.partition(".")[0]


def display_name(shown: str, metrics: Mapping[str, float], wall: float) -> str:
    """A model's name for people: `RandomForest_97.2%_Nov20`, for a regressor `RandomForest_R2_0.873_Nov20`.

    shown: the algorithm's own. wall: seconds since 1970; the day is UTC's. Without a score the name goes without.
    """
    day = datetime.fromtimestamp(wall, UTC).strftime("%b%d")
    if "accuracy" in metrics:
        return f"{shown}_{metrics['accuracy']:.1%}_{day}"
    if "r2" in metrics:
        return f"{shown}_R2_{metrics['r2']:.3f}_{day}"
    return f"{shown}_{day}"


def default_name(dataset: str, algorithm: str) -> str:
    """`{dataset}-{algorithm}`, made safe: a file goes without its folder and ending, a generator without parameters."""
    dataset = split_options(dataset)[0].rstrip("/")
    if dataset.startswith(("file:", "upload:")) or "/" in dataset:
        dataset = re.sub(r"\.[A-Za-z0-9]+$", "", dataset.partition(":")[2].rpartition("/")[2] or dataset)
    dataset = dataset.partition("?")[0]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", dataset).strip("-._")[:60].rstrip("-._")
    return f"{plain or 'model'}-{algorithm}"
