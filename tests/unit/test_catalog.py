"""The catalog: names and near names, defaults filled in, and every bad field told at once."""

import math
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from tensorfleet import catalog
from tensorfleet.errors import NotFound
from tensorfleet.model import JobKind, JobSpec, Resources, RetryPolicy
from tensorfleet.models.naming import SAFE, default_name, display_name

SPEC = JobSpec(algorithm="random_forest", dataset="iris")


def bad(spec: JobSpec) -> dict[str, str]:
    return {violation.field: violation.description for violation in catalog.validate(spec)[1]}


def test_every_algorithm_of_the_release_is_there() -> None:
    both = ("random_forest", "extra_trees", "bagging", "decision_tree", "svm", "gradient_boosting", "knn")
    families = (*both, "hist_gradient_boosting")
    regressors = {f"{name}_regressor" for name in families}
    linear = {"logistic_regression", "linear_regression", "ridge"}
    networks = {"dnn", "dnn_regressor", "cnn", "cnn_regressor", "resnet50", "keras", "keras_regressor"}
    assert set(catalog.algorithms()) == {*families, *regressors, *linear, *networks}


def test_every_name_has_its_operator_and_no_two_share_an_alias() -> None:
    names = [name for item in catalog.algorithms().values() for name in (item.name, *item.aliases)]
    assert len(names) == len(set(names))
    for item in catalog.algorithms().values():
        assert callable(catalog.operator(item.operator))
        if item.goal == "classification":
            assert f"{item.name}_classifier" in item.aliases


OPERATORS = ("data.ingest@1", "data.prepare@1", "train.finish@1", "predict.rows@1", "predict.block@1", "model.export@1")


@pytest.mark.parametrize("name", OPERATORS)
def test_the_plans_operators_are_there(name: str) -> None:
    assert callable(catalog.operator(name))


@pytest.mark.parametrize("name", ["forest.fit@2", "nothing.fit@1", "", "os.system@1"])
def test_other_operators_are_not_found(name: str) -> None:
    with pytest.raises(NotFound, match="no operator"):
        catalog.operator(name)


def test_validating_imports_no_numerics() -> None:
    program = (
        "import sys; from tensorfleet import catalog; from tensorfleet.kinds import plan_for;"
        "from tensorfleet.model import JobSpec, Resolved;"
        "spec, _ = catalog.validate(JobSpec(algorithm='random_forest', dataset='iris'));"
        "plan_for(spec).next_stage(spec, Resolved(), []).task(0); plan_for(spec).describe(spec, Resolved());"
        "print([name for name in ('numpy', 'sklearn', 'pandas', 'pyarrow') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_defaults_are_filled_in_and_names_normalised() -> None:
    spec, violations = catalog.validate(
        replace(SPEC, algorithm="Random-Forest-Classifier", hyperparameters={"n_estimators": "64", "max_features": 1})
    )
    assert not violations
    assert spec.algorithm == "random_forest"
    assert spec.model_name == "iris-random_forest"
    assert set(spec.hyperparameters) == set(catalog.algorithm("random_forest").parameters)
    assert spec.hyperparameters["n_estimators"] == 64
    assert type(spec.hyperparameters["max_features"]) is int
    assert spec.hyperparameters["random_state"] == 42
    assert catalog.validate(spec) == (spec, [])


def test_the_unseeded_take_the_jobs_seed() -> None:
    spec, _ = catalog.validate(replace(SPEC, seed=7, hyperparameters={"random_state": None}))
    assert spec.hyperparameters["random_state"] == 7
    assert catalog.validate(replace(SPEC, seed=7))[0].hyperparameters["random_state"] == 42


def test_every_bad_field_is_named_at_once() -> None:
    found = bad(
        JobSpec(
            algorithm="random_forrest",
            workers=-1,
            validation_split=1.0,
            seed=2**32,
            task_timeout=0,
            deadline=-1.0,
            target="y",
            exclude_features=("y",),
            model_name="a/b",
            resources=Resources(cpus=0, memory=-1, gpus=-1),
            retry=RetryPolicy(max_attempts=0, backoff=-1, max_backoff=-2),
        )
    )
    assert set(found) == {
        *("spec.algorithm", "spec.dataset", "spec.workers", "spec.validation_split", "spec.seed", "spec.task_timeout"),
        *("spec.deadline", "spec.exclude_features", "spec.model_name", "spec.resources.cpus", "spec.resources.gpus"),
        *("spec.resources.memory_bytes", "spec.retry_policy.max_attempts", "spec.retry_policy.backoff"),
        "spec.retry_policy.max_backoff",
    }
    assert found["spec.algorithm"] == "there is no algorithm 'random_forrest'; did you mean random_forest?"


def test_hyperparameters_are_named_with_what_was_expected() -> None:
    given: dict[str, Any] = {"n_estimater": 1, "max_depth": 0, "bootstrap": "perhaps", "criterion": "ginny", "zzz": 1}
    found = bad(replace(SPEC, hyperparameters=given))
    assert found == {
        "spec.hyperparameters.n_estimater": "random_forest has no such hyperparameter; did you mean n_estimators?",
        "spec.hyperparameters.max_depth": "expected a whole number of at least 1, or null, got 0",
        "spec.hyperparameters.bootstrap": 'expected true or false, got "perhaps"',
        "spec.hyperparameters.criterion": 'expected one of gini, entropy, log_loss, got "ginny"',
        "spec.hyperparameters.zzz": "random_forest has no such hyperparameter",
    }


@pytest.mark.parametrize(
    ("algorithm", "given", "wrong"),
    [
        ("random_forest", {"bootstrap": False, "oob_score": True}, {"oob_score"}),
        ("random_forest", {"bootstrap": False, "max_samples": 0.5}, {"max_samples"}),
        ("extra_trees", {"oob_score": True}, {"oob_score"}),
        ("extra_trees_regressor", {"oob_score": True, "bootstrap": True}, set()),
        ("bagging", {"bootstrap": False, "oob_score": True}, {"oob_score"}),
        ("bagging", {"bootstrap": False, "max_samples": 0.5}, set()),
    ],
)
def test_parameters_that_do_not_go_together(algorithm: str, given: dict[str, Any], wrong: set[str]) -> None:
    found = bad(replace(SPEC, algorithm=algorithm, hyperparameters=given))
    assert set(found) == {f"spec.hyperparameters.{name}" for name in wrong}


@pytest.mark.parametrize("field", ["validation_split", "task_timeout"])
def test_numbers_that_are_none_are_refused(field: str) -> None:
    assert set(bad(replace(SPEC, **{field: math.nan}))) == {f"spec.{field}"}


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (JobSpec(kind=JobKind.TUNE), {"spec.kind"}),
        (JobSpec(kind=JobKind.CROSS_VALIDATE), {"spec.kind"}),
        (JobSpec(kind=JobKind.PREDICT), {"spec.model"}),
        (JobSpec(kind=JobKind.PREDICT, model="m", workers=-1), {"spec.workers"}),
        (JobSpec(kind=JobKind.PROCESS), {"spec.dataset"}),
        (JobSpec(kind=JobKind.PROCESS, algorithm="export"), {"spec.model"}),
        (JobSpec(kind=JobKind.PROCESS, algorithm="export", model="m"), set()),
        (JobSpec(kind=JobKind.PROCESS, algorithm="train", dataset="iris"), {"spec.algorithm"}),
        (JobSpec(kind=JobKind.PROCESS, dataset="iris"), set()),
        (JobSpec(), {"spec.algorithm", "spec.dataset"}),
    ],
)
def test_other_kinds(spec: JobSpec, fields: set[str]) -> None:
    assert set(bad(spec)) == fields


def test_columns_are_checked_against_the_spec() -> None:
    columns: list[dict[str, Any]] = [
        {"name": "width", "type": "real", "missing": 0, "distinct": 9},
        {"name": "species", "type": "text", "missing": 0, "distinct": 3},
    ]
    check = catalog.check_columns
    assert check(SPEC, columns, 9) == []
    assert [one.field for one in check(replace(SPEC, target="specie"), columns, 9)] == ["spec.target"]
    assert "species" in check(replace(SPEC, target="specie"), columns, 9)[0].description
    assert [one.field for one in check(replace(SPEC, exclude_features=("hight",)), columns, 9)] == [
        "spec.exclude_features"
    ]
    assert [one.field for one in check(replace(SPEC, exclude_features=("width",)), columns, 9)] == ["spec.dataset"]
    assert [one.field for one in check(replace(SPEC, algorithm="ridge"), columns, 9)] == ["spec.target"]
    assert [one.field for one in check(SPEC, columns, 9, target="width")] == []


def test_plugins_add_algorithms_and_operators_and_replace_none(monkeypatch: pytest.MonkeyPatch) -> None:
    known = catalog.algorithm("random_forest")
    theirs = replace(known, name="moon_forest", aliases=(), operator="moon.fit@1")
    usurper = replace(known, display="Usurper")
    fit = lambda context: None  # noqa: E731
    module = SimpleNamespace(ALGORITHMS=[theirs, usurper], OPERATORS={"moon.fit@1": fit, "forest.fit@1": fit})
    point = SimpleNamespace(name="moon", load=lambda: module)
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [point] if group == "tensorfleet.algorithms" else []
    )
    for cached in (catalog._plugins, catalog._all, catalog._by_name):
        cached.cache_clear()
    try:
        assert catalog.algorithm("moon_forest") is theirs
        assert catalog.algorithm("random_forest") is known
        assert catalog.operator("moon.fit@1") is fit
        assert catalog.operator("forest.fit@1") is not fit
    finally:
        monkeypatch.undo()
        for cached in (catalog._plugins, catalog._all, catalog._by_name):
            cached.cache_clear()


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("iris", "iris-knn"),
        ("synthetic:classification?rows=10&seed=0", "synthetic-classification-knn"),
        ("file:///data/my flowers.csv", "my-flowers-knn"),
        ("upload:x.y.parquet", "x.y-knn"),
        ("../..", "model-knn"),
        ("é", "model-knn"),
        ("x" * 500, "x" * 60 + "-knn"),
    ],
)
def test_default_names_are_safe(dataset: str, name: str) -> None:
    assert default_name(dataset, "knn") == name
    assert SAFE.fullmatch(name)


@pytest.mark.parametrize(
    ("algorithm", "metrics", "name"),
    [
        ("random_forest", {"accuracy": 0.9721}, "RandomForest_97.2%_Nov20"),
        ("random_forest_regressor", {"r2": 0.8729}, "RandomForest_R2_0.873_Nov20"),
        ("svm", {}, "SVM_Nov20"),
    ],
)
def test_display_names(algorithm: str, metrics: dict[str, float], name: str) -> None:
    assert display_name(catalog.algorithm(algorithm).display, metrics, 1_795_132_800.0) == name


IMAGES = [{"name": "image", "type": "image", "shape": [8, 8, 1]}, {"name": "label", "type": "text", "distinct": 2}]


def test_images_are_for_those_who_take_them() -> None:
    spec = JobSpec(algorithm="random_forest", dataset="photos")
    (found,) = catalog.check_columns(spec, IMAGES, 10, "label")
    assert found.field == "spec.algorithm"
    assert "random_forest trains on columns, and 'image' holds images; take dnn or cnn" in found.description
    assert catalog.check_columns(replace(spec, algorithm="cnn"), IMAGES, 10, "label") == []


def test_images_are_no_target_and_are_trained_on_alone() -> None:
    spec = JobSpec(algorithm="cnn", dataset="photos", target="image")
    assert [found.field for found in catalog.check_columns(spec, IMAGES, 10)] == ["spec.target"]
    unlabelled = [IMAGES[0], {"name": "label", "type": "text", "missing": 10}]
    (found,) = catalog.check_columns(replace(spec, target="label"), unlabelled, 10)
    assert "no image has a label" in found.description
    more = [*IMAGES, {"name": "width", "type": "integer"}]
    (found,) = catalog.check_columns(replace(spec, target="label"), more, 10)
    assert "images are trained on alone, and there are also 'width'" in found.description
    assert catalog.check_columns(replace(spec, target="label", exclude_features=("width",)), more, 10) == []
