"""Jobs in this process alone: from a source to a pickle and to predictions, with scikit-learn's own model."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.model_selection import train_test_split

from tensorfleet import bundle, catalog, direct
from tensorfleet.errors import BadInput
from tensorfleet.model import JobKind, JobResult, JobSpec, ModelContent, Resolved
from tensorfleet.testing import training


def trained(objects: Path, **fields: Any) -> tuple[JobResult, ModelContent]:
    spec, violations = catalog.validate(JobSpec(**fields))
    assert not violations
    result = direct.run(spec, objects=objects).result
    assert result.model is not None
    return result, result.model


def exported(objects: Path, model: ModelContent) -> Any:
    spec = JobSpec(kind=JobKind.PROCESS, algorithm="export", model="m")
    done = direct.run(spec, Resolved(model=model.parts), objects=objects)
    return pickle.loads(done.path(done.result.outputs[0]).read_bytes())


def predicted(objects: Path, model: ModelContent, **asked: Any) -> Any:
    upload = direct.keep(objects, bundle.encode({"columns": None, "probabilities": False} | asked))
    spec = JobSpec(kind=JobKind.PREDICT, model="m")
    done = direct.run(spec, Resolved(model=model.parts, upload=upload), objects=objects)
    return bundle.load(done.path(done.result.outputs[0]))


def test_a_classifier_from_its_name_to_its_pickle(tmp_path: Path) -> None:
    result, model = trained(tmp_path, algorithm="random_forest", dataset="iris", hyperparameters={"n_estimators": 17})
    X, y = load_iris(return_X_y=True)
    X_train, X_rest, y_train, y_rest = train_test_split(X, y, test_size=0.2, random_state=42, stratify=y)
    own = RandomForestClassifier(17, random_state=42).fit(X_train, y_train)
    pipe = exported(tmp_path, model)
    assert type(pipe[-1]) is RandomForestClassifier
    assert np.array_equal(pipe.predict_proba(X), own.predict_proba(X))
    assert result.metrics["accuracy"] == own.score(X_rest, y_rest)
    assert model.target == "target"
    assert model.classes == ("0", "1", "2")
    assert model.environment["scikit-learn"]


def test_a_regressor_from_its_name_to_its_pickle(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"algorithm": "random_forest_regressor", "dataset": "diabetes", "validation_split": 0.0}
    _, model = trained(tmp_path, hyperparameters={"n_estimators": 6}, **fields)
    X, y = load_diabetes(return_X_y=True)
    own = RandomForestRegressor(6, random_state=42).fit(X, y)
    assert np.array_equal(exported(tmp_path, model).predict(X), own.predict(X))
    assert model.metrics_on_training_rows


def test_the_same_job_leaves_the_same_model_anywhere(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"algorithm": "extra_trees", "dataset": "wine", "hyperparameters": {"n_estimators": 6}}
    models = [trained(tmp_path / name, **fields)[1] for name in ("one", "other")]
    assert models[0] == models[1]
    assert models[0].sha256 == models[0].parts[0].digest
    for part in models[0].parts:
        assert direct.object_path(tmp_path / "one", part.digest).stat().st_size == part.size
    assert not list((tmp_path / "one").glob("task-*"))


def test_a_models_manifest_says_nothing_of_when_where_or_from_what(tmp_path: Path) -> None:
    _, model = trained(tmp_path, algorithm="knn", dataset="iris")
    manifest = bundle.load(direct.object_path(tmp_path, model.sha256))
    assert set(manifest) == {
        *("format", "algorithm", "goal", "estimator", "parameters", "features", "target", "classes"),
        *("preparation", "shell", "members", "parts"),
    }
    assert "iris" not in repr(manifest)


def test_a_file_with_text_and_gaps_and_rows_to_predict(tmp_path: Path) -> None:
    lines = [
        f"{index % 7},{'' if index % 5 == 0 else 'red' if index % 2 else 'blue'},{index % 2}" for index in range(60)
    ]
    file = tmp_path / "my paints.csv"
    file.write_text("\n".join(["size,colour,label", *lines]))
    _, model = trained(
        tmp_path, algorithm="gradient_boosting", dataset=file.as_uri(), hyperparameters={"n_estimators": 5}
    )
    rows = [[3, "red"], [None, "blue"], [2, None], [1, "green"]]
    said = predicted(tmp_path, model, rows=rows, probabilities=True)
    assert said["classes"] == [0, 1]
    assert said["predictions"][:2] == [1, 0]
    assert np.allclose(np.sum(said["probabilities"], axis=1), 1)
    turned = predicted(tmp_path, model, rows=[row[::-1] for row in rows], columns=["colour", "size"])
    assert turned == {"predictions": said["predictions"], "probabilities": None, "classes": [0, 1]}
    with pytest.raises(BadInput, match="colour"):
        predicted(tmp_path, model, rows=[[1]], columns=["size"])


def test_a_model_without_probabilities_refuses_them(tmp_path: Path) -> None:
    _, model = trained(tmp_path, algorithm="ridge", dataset="diabetes")
    rows = load_diabetes(return_X_y=True)[0][:3].tolist()
    assert len(predicted(tmp_path, model, rows=rows)["predictions"]) == 3
    with pytest.raises(BadInput, match="ridge gives no probabilities"):
        predicted(tmp_path, model, rows=rows, probabilities=True)
    assert predicted(tmp_path, model, rows=[])["predictions"] == []


def test_a_datasets_blocks_are_predicted_into_arrow(tmp_path: Path) -> None:
    import pyarrow as pa

    _, model = trained(tmp_path, algorithm="random_forest", dataset="iris", hyperparameters={"n_estimators": 5})
    spec = JobSpec(kind=JobKind.PREDICT, model="m", dataset="iris")
    done = direct.run(spec, Resolved(model=model.parts), objects=tmp_path)
    table = pa.ipc.open_stream(done.path(done.result.outputs[0]).read_bytes()).read_all()
    pipe = training.load(tmp_path, model.sha256)
    X = load_iris(return_X_y=True)[0]
    assert table.column_names == ["prediction", "probability_0", "probability_1", "probability_2"]
    assert np.array_equal(table["prediction"].to_numpy(), pipe.predict(X))
    assert np.array_equal(table["probability_2"].to_numpy(), pipe.predict_proba(X)[:, 2])


def test_a_source_becomes_a_dataset_that_later_jobs_take(tmp_path: Path) -> None:
    done = direct.run(JobSpec(kind=JobKind.PROCESS, dataset="iris", dataset_name="mine"), objects=tmp_path)
    dataset = done.result.dataset
    assert dataset is not None
    assert (dataset.rows, dataset.target) == (150, "target")
    assert dataset.columns[-1]["name"] == "target"
    spec, _ = catalog.validate(JobSpec(algorithm="knn", dataset="mine"))
    later = direct.run(spec, Resolved(dataset=dataset.refs), objects=tmp_path)
    _, model = trained(tmp_path, algorithm="knn", dataset="iris")
    assert later.result.model == model
    assert later.tasks == 3


def test_threads_are_pinned_while_an_operator_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from threadpoolctl import threadpool_info

    from tensorfleet.execution import Pools, execute
    from tensorfleet.operators import Context, Outcome

    seen: list[int] = []

    def look(context: Context) -> Outcome:
        import sklearn.ensemble  # noqa: F401  # brings its thread pools

        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return Outcome([[b"ab", b"c"], []], {"n": context.threads})

    monkeypatch.setattr(catalog, "operator", lambda name: look)
    before, pools = [pool["num_threads"] for pool in threadpool_info()], Pools()
    done = execute("any", {}, [], 1, lambda *point: None, str(tmp_path / "out"), pools)
    assert set(seen) == {1}
    pools.let_go()
    assert [pool["num_threads"] for pool in threadpool_info()][: len(before)] == before
    assert [path.read_bytes() for _, path in done.files] == [b"abc", b""]
    assert [ref.size for ref, _ in done.files] == [3, 0]
    assert done.summary == {"n": 1}


def test_points_and_tasks_are_told_as_they_come(tmp_path: Path) -> None:
    told: list[str] = []
    spec, _ = catalog.validate(JobSpec(algorithm="random_forest", dataset="iris", hyperparameters={"n_estimators": 7}))
    done = direct.run(
        spec,
        objects=tmp_path,
        report=lambda stage, index, point: told.append(f"{stage} {index} {point.series} {point.step}"),
        finished=lambda stage, index, result: told.append(f"{stage} {index}"),
    )
    assert done.tasks == 5
    assert told == [
        *("ingest 0", "prepare 0", "fit 0 accuracy 4", "fit 0 loss 4", "fit 0"),
        *("fit 1 accuracy 6", "fit 1 loss 6", "fit 1", "finish 0"),
    ]
