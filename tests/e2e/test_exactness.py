"""The cluster never changes the answer: one worker or four, nobody killed or somebody, scikit-learn's own model."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_regression
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.model_selection import train_test_split

from tensorfleet import AsyncClient, catalog, direct
from tensorfleet.local import AsyncLocalFleet
from tensorfleet.model import JobSpec
from tensorfleet.sdk.events import TasksSucceeded
from tests.e2e.stores import Stores

CASES: list[tuple[str, Any, dict[str, Any]]] = [
    ("random_forest", RandomForestClassifier, {"n_estimators": 23, "max_features": 1, "class_weight": "balanced"}),
    ("extra_trees", ExtraTreesClassifier, {"n_estimators": 17, "max_features": 1.0, "min_samples_leaf": 3}),
    ("random_forest_regressor", RandomForestRegressor, {"n_estimators": 12, "max_samples": 0.5, "oob_score": True}),
    ("extra_trees_regressor", ExtraTreesRegressor, {"n_estimators": 11, "bootstrap": True, "max_features": 0.5}),
]


def regression() -> tuple[Any, Any]:
    X, y = make_regression(n_samples=600, n_features=9, noise=3.0, random_state=1)
    return X, y


async def dataset(client: AsyncClient, algorithm: str, folder: Path) -> str:
    if not algorithm.endswith("_regressor"):
        return "digits"
    import pandas as pd

    X, y = regression()
    table = pd.DataFrame(X, columns=[f"f{column}" for column in range(X.shape[1])])
    table.assign(target=y).to_parquet(folder / "regression.parquet")
    return (await client.datasets.add(folder / "regression.parquet")).name


@pytest.mark.parametrize(("algorithm", "estimator", "given"), CASES, ids=[case[0] for case in CASES])
async def test_the_model_is_scikit_learns_whatever_the_workers(
    algorithm: str, estimator: Any, given: dict[str, Any], tmp_path: Path, stores: Stores
) -> None:
    digests = set()
    pipeline: Any = None
    for workers in (1, 2, 4):
        home = tmp_path / str(workers)
        stores.anew()
        async with AsyncLocalFleet(home, workers=workers) as fleet, AsyncClient(fleet.address) as client:
            name = await dataset(client, algorithm, tmp_path)
            job = await client.train(name, algorithm=algorithm, hyperparameters=given, seed=3)
            model = await job.result()
            assert job.tasks.run == job.tasks.total
            digests.add(model.sha256)
            pipeline = await model.load()
    assert len(digests) == 1
    X, y = load_digits(return_X_y=True) if name == "digits" else regression()
    stratify = y if name == "digits" else None
    kept, held, labels, _ = train_test_split(X, y, test_size=0.2, random_state=3, stratify=stratify)
    alone = estimator(random_state=42, **given).fit(pipeline[:-1].transform(kept), labels)
    predict = "predict_proba" if name == "digits" else "predict"
    ours, theirs = (getattr(fitted, predict)(pipeline[:-1].transform(held)) for fitted in (pipeline[-1], alone))
    assert ours.tobytes() == theirs.tobytes()
    assert type(pipeline[-1]) is estimator
    if given.get("oob_score"):
        assert np.array_equal(pipeline[-1].oob_prediction_, alone.oob_prediction_)


async def test_a_killed_worker_changes_nothing(tmp_path: Path, stores: Stores) -> None:
    spec = {"algorithm": "random_forest", "hyperparameters": {"n_estimators": 60}}
    async with AsyncLocalFleet(tmp_path / "calm", workers=1) as calm, AsyncClient(calm.address) as client:
        undisturbed = (await (await client.train("digits", **spec)).result()).sha256
    stores.anew()
    async with AsyncLocalFleet(tmp_path / "rough", workers=2) as fleet, AsyncClient(fleet.address) as client:
        job = await client.train("digits", **spec)
        killed, succeeded = 0, []
        async for event in job.watch():
            if isinstance(event, TasksSucceeded):
                succeeded += [(event.stage, index) for index in event.indexes]
                if event.stage == "fit" and killed < 2:
                    await fleet.kill_worker()
                    killed += 1
        assert killed == 2
        assert (await job.result()).sha256 == undisturbed
        assert len(succeeded) == len(set(succeeded)) == job.tasks.total


async def test_direct_trains_the_same_model(tmp_path: Path, client: AsyncClient) -> None:
    fleet_model = await (await client.train("wine", algorithm="extra_trees")).result()
    spec, violations = catalog.validate(JobSpec(dataset="wine", algorithm="extra_trees"))
    alone = await asyncio.to_thread(direct.run, spec, objects=tmp_path / "direct")
    assert not violations
    assert alone.result.model is not None
    assert alone.result.model.sha256 == fleet_model.sha256
