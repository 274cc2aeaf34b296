"""Replicas that are averaged are as good as one process after as many epochs, which is plain Keras to the last bit."""

from pathlib import Path
from typing import Any

import pytest

from tensorfleet import catalog, direct
from tensorfleet.model import JobSpec

SMALL = {"filters": [16, 32], "units": 64}
IMAGES = "synthetic:images?rows=6000&size=12&seed=0&classes="


@pytest.mark.parametrize(
    ("algorithm", "dataset", "given"),
    [
        ("dnn", "digits", {"epochs": 20}),
        ("cnn", "digits", {"epochs": 20, **SMALL}),
        ("dnn", f"{IMAGES}4", {"epochs": 20}),
        ("cnn", f"{IMAGES}3", {"epochs": 12, "batch_size": 16, **SMALL}),
    ],
)
def test_rounds_are_within_half_a_point_of_the_whole(
    tmp_path: Path, algorithm: str, dataset: str, given: dict[str, Any]
) -> None:
    whole, rounds = (
        accuracy(tmp_path, JobSpec(algorithm=algorithm, dataset=dataset, hyperparameters={**given, "way": way}))
        for way in ("whole", "rounds")
    )
    assert whole > 0.95
    assert rounds >= whole - 0.005


def accuracy(objects: Path, spec: JobSpec) -> float:
    spec, violations = catalog.validate(spec)
    assert not violations
    return direct.run(spec, objects=objects).result.metrics["accuracy"]
