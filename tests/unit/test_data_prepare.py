"""Preparation: scikit-learn's own split, preprocessing that takes raw rows, and refusals that say what to do."""

import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from tensorfleet import bundle
from tensorfleet.data import OPERATORS, rows
from tensorfleet.errors import BadInput
from tensorfleet.models import state
from tensorfleet.operators import Context, Input, Outcome


class Prepared:
    """The outputs of a preparation, decoded."""

    def __init__(self, outcome: Outcome) -> None:
        train, validation, preparation = (bundle.decode(b"".join(output)) for output in outcome.outputs)
        self.X, self.y = train["X"], train["y"]
        self.X_validation, self.y_validation = validation["X"], validation["y"]
        self.preparation = preparation
        self.summary = outcome.summary
        self.bytes = [b"".join(output) for output in outcome.outputs]
        self.transformer: ColumnTransformer = state.restore(preparation["transformer"])


def ingest(folder: Path, source: str | pd.DataFrame, name: str = "data") -> list[Input]:
    if isinstance(source, pd.DataFrame):
        path = folder / f"{name}.parquet"
        source.to_parquet(path)
        source = f"file://{path}"
    outcome = OPERATORS["data.ingest@1"](Context({"source": source, "target": ""}, [], lambda *_: None))
    inputs = []
    for index, output in enumerate(outcome.outputs):
        path = folder / f"{name}-{index}"
        path.write_bytes(b"".join(output))
        inputs.append(Input(path))
    return inputs


def prepare(folder: Path, source: str | pd.DataFrame, other: Any = None, **params: Any) -> Prepared:
    training = ingest(folder, source)
    validation = [] if other is None else ingest(folder, other, "other")
    defaults = {"target": "", "exclude": [], "validation_split": 0.2, "seed": 42, "task": "classification"}
    given = {**defaults, "scale": False, "single": False, "training_inputs": len(training), **params}
    return Prepared(OPERATORS["data.prepare@1"](Context(given, [*training, *validation], lambda *_: None)))


def refused(folder: Path, source: str | pd.DataFrame, *others: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(BadInput) as caught:
        prepare(folder, source, *others, **params)
    return caught.value.reason, caught.value.message


def mixed() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "color": ["red", "blue", None, "red", "blue", "red", "green", "red"],
            "width": [1.0, np.nan, 3.0, 4.0, 5.0, 9.0, 7.0, 8.0],
            "heavy": pd.array([True, False, None, True, True, False, True, False], dtype="boolean"),
            "größe": [1, 2, 3, 4, 5, 6, 7, 8],
            "day": pd.to_datetime(["2024-05-01"] * 7 + [None]),
            "target": ["yes", "no", "yes", "no", "yes", "no", "yes", "no"],
        }
    )


@pytest.mark.parametrize("split", [0.2, 0.25, 0.5, 0.013])
@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_split_is_scikit_learns(tmp_path: Path, split: float, seed: int, task: str) -> None:
    X, y = load_iris(return_X_y=True)
    prepared = prepare(tmp_path, "iris", validation_split=split, seed=seed, task=task)
    stratify = y if task == "classification" and split * 150 > 3 else None
    expected = train_test_split(X, y, test_size=split, random_state=seed, stratify=stratify)
    got = [prepared.X, prepared.X_validation, prepared.y, prepared.y_validation]
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.tobytes() == np.ascontiguousarray(theirs, mine.dtype).tobytes()
    assert prepared.y.dtype == (np.int64 if task == "classification" else np.float64)
    assert prepared.preparation["classes"] == (["0", "1", "2"] if task == "classification" else [])


def test_without_a_split_all_rows_train_in_their_order(tmp_path: Path) -> None:
    X, y = load_iris(return_X_y=True)
    prepared = prepare(tmp_path, "iris", validation_split=0.0)
    assert prepared.X.tobytes() == X.tobytes()
    assert prepared.y.tolist() == y.tolist()
    assert prepared.X_validation.shape == (0, 4)
    assert prepared.y_validation.shape == (0,)
    assert prepared.summary == {
        "training_rows": 150,
        "validation_rows": 0,
        "features": 4,
        "classes": 3,
        "target": "target",
        "dataset_digest": prepared.summary["dataset_digest"],
    }


def test_blocks_make_one_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorfleet.data import blocks

    whole = prepare(tmp_path, "wine")
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 64)
    assert len(ingest(tmp_path, "wine")) == 4
    parts = prepare(tmp_path, "wine")
    assert parts.bytes == whole.bytes
    assert parts.X.flags.c_contiguous


def test_features_of_32_bits_are_the_others_rounded(tmp_path: Path) -> None:
    double = prepare(tmp_path, "wine")
    single = prepare(tmp_path, "wine", single=True)
    for name in ("X", "X_validation"):
        X = getattr(single, name)
        assert X.dtype == np.float32
        assert np.array_equal(X, getattr(double, name).astype(np.float32))


def test_numbers_beyond_32_bits_are_refused_where_they_are_needed(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0, -1e300] * 5, "target": [0, 1] * 10})
    assert prepare(tmp_path, table, validation_split=0.0).X.min() == -1e300
    assert refused(tmp_path, table, single=True)[0] == "BEYOND_FLOAT32"


def test_a_class_with_one_row_is_not_stratified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"a": range(10), "target": ["x"] * 5 + ["y"] * 4 + ["z"]})
    prepared = prepare(tmp_path, frame, validation_split=0.3)
    train, rest = train_test_split(np.arange(10), test_size=0.3, random_state=42)
    assert prepared.X.ravel().tolist() == train.tolist()
    assert prepared.X_validation.ravel().tolist() == rest.tolist()
    assert "column 'target' has classes with one row ('z')" in capsys.readouterr().err


@pytest.mark.parametrize("scale", [False, True])
def test_the_preprocessing_is_the_one_that_all_training_rows_teach(tmp_path: Path, scale: bool) -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(size=(200, 5))
    values[draw.random(values.shape) < 0.2] = np.nan
    values[:, 3] = np.nan
    frame = pd.DataFrame(values, columns=list("abcde")).assign(target=draw.integers(0, 2, 200))
    prepared = prepare(tmp_path, frame, scale=scale)
    train, rest = train_test_split(values, test_size=0.2, random_state=42, stratify=frame["target"])
    imputer = SimpleImputer(strategy="median", keep_empty_features=True).fit(train)
    expected = [imputer.transform(train), imputer.transform(rest)]
    if scale:
        scaler = StandardScaler().fit(expected[0])
        expected = [scaler.transform(part) for part in expected]
    assert prepared.X.tobytes() == expected[0].tobytes()
    assert prepared.X_validation.tobytes() == expected[1].tobytes()
    learned = prepared.transformer.named_transformers_["numbers"]["impute"]
    assert learned.statistics_.tolist() == imputer.statistics_.tolist()


def test_text_flags_times_and_missing_values(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, mixed(), validation_split=0)
    assert prepared.preparation["features"] == ["color", "width", "heavy", "größe", "day"]
    assert prepared.preparation["types"] == ["text", "real", "flag", "integer", "time"]
    assert prepared.preparation["classes"] == ["no", "yes"]
    assert prepared.y.tolist() == mixed()["target"].tolist()
    assert prepared.y.dtype.kind == "U"
    # Numbers first (width, heavy, größe, day), then the categories: missing, blue, green, red.
    day = 1714521600.0
    assert prepared.X[0].tolist() == [1.0, 1.0, 1.0, day, 0.0, 0.0, 0.0, 1.0]
    assert prepared.X[1].tolist() == [5.0, 0.0, 2.0, day, 0.0, 1.0, 0.0, 0.0]
    assert prepared.X[2].tolist() == [3.0, 1.0, 3.0, day, 1.0, 0.0, 0.0, 0.0]
    assert prepared.X[7, 3] == day


def raw(columns: Sequence[str]) -> pd.DataFrame:
    frame = mixed()[list(columns)]
    frame["heavy"] = frame["heavy"].astype(object).where(frame["heavy"].notna(), None)
    frame["day"] = [1714521600.0] * 7 + [np.nan]
    return frame


@pytest.mark.filterwarnings("error")
def test_raw_rows_are_prepared_from_frames_and_bare_arrays(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, mixed(), validation_split=0)
    features = prepared.preparation["features"]
    frame, transform = raw(features), prepared.transformer.transform
    assert list(prepared.transformer.feature_names_in_) == features
    assert np.array_equal(transform(frame), prepared.X)
    assert np.array_equal(transform(frame[features[::-1]].assign(other=1)), prepared.X)
    assert np.array_equal(transform(frame.astype(object)), prepared.X)
    assert np.array_equal(transform(frame.to_numpy(dtype=object)), prepared.X)
    nones = frame.astype(object).where(frame.notna(), None)
    assert np.array_equal(transform(nones), prepared.X)
    assert np.array_equal(transform(nones.to_numpy()), prepared.X)
    with pytest.raises(ValueError, match="columns are missing"):
        transform(frame.drop(columns="width"))


@pytest.mark.filterwarnings("error")
def test_bare_numbers_are_prepared(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, "iris", validation_split=0)
    X = load_iris().data
    for given in (X, X.astype(object), X.astype(np.float32).astype(str)):
        assert np.allclose(prepared.transformer.transform(given), X, atol=1e-5)
    holes = X.copy()
    holes[0, 1] = np.nan
    assert prepared.transformer.transform(holes)[0, 1] == np.median(X[:, 1])


def test_a_category_that_training_did_not_see_is_all_zeros(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, mixed(), validation_split=0)
    frame = raw(prepared.preparation["features"]).assign(color="violet")
    assert not prepared.transformer.transform(frame)[:, 4:].any()


def test_only_training_rows_teach_categories_and_medians(tmp_path: Path) -> None:
    frame = pd.DataFrame({"kind": [f"k{row}" for row in range(20)], "a": range(20), "target": [0, 1] * 10})
    prepared = prepare(tmp_path, frame, validation_split=0.5)
    assert prepared.X.shape == (10, 11)
    assert prepared.X[:, 1:].sum() == 10
    assert prepared.X_validation[:, 1:].sum() == 0
    imputer = prepared.transformer.named_transformers_["numbers"]["impute"]
    assert imputer.statistics_.tolist() == [np.median(prepared.X[:, 0])]


def test_the_transformer_is_scikit_learns_alone_and_preparing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (prepare(tmp_path, mixed(), scale=True) for _ in range(2))
    assert one.bytes == two.bytes
    assert b"tensorfleet" not in pickle.dumps(one.transformer)
    assert np.array_equal(
        pickle.loads(pickle.dumps(one.transformer)).transform(raw(one.preparation["features"])),
        two.transformer.transform(raw(two.preparation["features"])),
    )


def test_a_validation_dataset_is_all_the_validation_rows(tmp_path: Path) -> None:
    other = mixed().iloc[:3][["target", "day", "größe", "heavy", "width", "color"]].assign(extra="x")
    prepared = prepare(tmp_path, mixed(), other, validation_split=0.2)
    whole = prepare(tmp_path, mixed(), validation_split=0)
    assert prepared.X.tobytes() == whole.X.tobytes()
    assert np.array_equal(prepared.X_validation, whole.X[:3])
    assert prepared.y_validation.tolist() == ["yes", "no", "yes"]
    assert prepared.bytes[2] == whole.bytes[2]


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        ({"drop": "target"}, "TARGET_MISSING_COLUMN", "the validation dataset has no column 'target' to predict"),
        ({"drop": "width"}, "COLUMNS_MISSING", "columns that the model needs are missing: 'width'"),
        ({"text": "width"}, "COLUMN_TYPE", "column 'width' holds text in the validation dataset, and real values"),
    ],
)
def test_a_validation_dataset_must_have_the_columns(
    tmp_path: Path, change: dict[str, str], reason: str, said: str
) -> None:
    other = mixed().drop(columns=change.get("drop", []))
    if "text" in change:
        other[change["text"]] = "wide"
    got, message = refused(tmp_path, mixed(), other)
    assert got == reason
    assert said in message


def test_features_can_be_left_out(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, mixed(), exclude=["color", "day"], target="target")
    assert prepared.preparation["features"] == ["width", "heavy", "größe"]
    assert refused(tmp_path, mixed(), exclude=["colour"]) == (
        "COLUMN_MISSING",
        "there is no column 'colour' to leave out",
    )
    everything = ["color", "width", "heavy", "größe", "day"]
    assert refused(tmp_path, mixed(), exclude=everything) == ("NO_FEATURES", "no column is left to predict from")


@pytest.mark.parametrize(
    ("target", "task", "kind", "classes"),
    [
        ("größe", "classification", "i", [str(size) for size in range(1, 9)]),
        ("größe", "regression", "f", []),
        ("width", "regression", "f", None),
        ("day", "regression", "f", None),
    ],
)
def test_targets_of_every_type(tmp_path: Path, target: str, task: str, kind: str, classes: list[str] | None) -> None:
    frame = mixed()
    if classes is None:
        frame = frame.dropna(subset=[target])
    prepared = prepare(tmp_path, frame, target=target, task=task, validation_split=0)
    assert prepared.y.dtype.kind == kind
    assert prepared.preparation["classes"] == (classes or [])


def test_flags_and_whole_reals_are_labels(tmp_path: Path) -> None:
    flags = prepare(tmp_path, pd.DataFrame({"a": range(6), "target": [True, False] * 3}), validation_split=0)
    assert flags.y.dtype == np.bool_
    assert flags.preparation["classes"] == ["False", "True"]
    reals = prepare(tmp_path, pd.DataFrame({"a": range(6), "target": [0.0, 1.0] * 3}), validation_split=0)
    assert reals.preparation["classes"] == ["0.0", "1.0"]


def labelled(labels: Sequence[Any], **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": range(len(labels)), **columns, "target": labels})


@pytest.mark.parametrize(
    ("frame", "params", "reason", "said"),
    [
        (labelled([0, 1]), {"target": "tarrget"}, "TARGET_MISSING_COLUMN", "no column 'tarrget' to predict; did you"),
        (labelled([3] * 9), {}, "TARGET_ONE_CLASS", "'target' is to be predicted and holds one class alone, '3'"),
        (labelled([0, 1]), {}, "TARGET_ONE_CLASS", "the 1 training rows hold one class of column 'target' alone, '0'"),
        (
            labelled([1.0, np.nan, 0.0, np.nan]),
            {},
            "TARGET_MISSING_VALUES",
            "has no value in 2 of 4 rows, first in row 2; remove those rows",
        ),
        (labelled([1]), {}, "TOO_FEW_ROWS", "training needs at least 2 rows, and there is 1 row"),
        (labelled([0, 1] * 3), {"validation_split": 0.9}, "TOO_FEW_ROWS", "0.9 leaves no row of 6 to train on"),
        (
            labelled([0.5, 1.5] * 9),
            {},
            "TARGET_CONTINUOUS",
            "2 different real numbers, which are no classes; to predict",
        ),
        (labelled([r / 7 for r in range(900)]), {}, "TARGET_CONTINUOUS", "take the algorithm's `_regressor`"),
        (labelled([float(r) for r in range(101)]), {}, "TARGET_CONTINUOUS", "101 different real numbers"),
        (labelled([0.5] + [1.0] * 40 + [2.0] * 40), {}, "TARGET_CONTINUOUS", "no classes"),
        (labelled(["x", "y"] * 4), {"task": "regression"}, "TARGET_TEXT", "'target' holds text, and a regressor"),
        (
            labelled([0, 1] * 4, b=[1.0, np.inf, -np.inf, 4, 5, 6, 7, 8]),
            {},
            "INFINITE",
            "column 'b' is infinite in 2 rows",
        ),
        (
            labelled([0, 1] * 100, city=[f"c{row}" for row in range(200)]),
            {},
            "TOO_MANY_COLUMNS",
            "column 'city' holds text with 200 different values, each of which would become a column; at most 100",
        ),
        (
            labelled([0, 1] * 100, **{f"t{i}": [f"v{row % 40}" for row in range(200)] for i in range(5)}),
            {},
            "TOO_MANY_COLUMNS",
            "the 5 text columns would become 200 columns; at most 150 are allowed",
        ),
        (
            labelled([0, 1] * 100, **{f"t{i}": ["v"] * 200 for i in range(200)}),
            {},
            "TOO_MANY_COLUMNS",
            "the 200 text columns would become 200 columns; at most 150 are allowed",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    tmp_path: Path, frame: pd.DataFrame, params: dict[str, Any], reason: str, said: str
) -> None:
    got, message = refused(tmp_path, frame, **params)
    assert got == reason
    assert said in message


def test_a_regression_takes_many_values_and_one_row_of_a_class(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, "diabetes", task="regression")
    assert prepared.summary["classes"] == 0
    assert prepare(tmp_path, labelled([5, 5, 5]), task="regression", validation_split=0).y.tolist() == [5.0] * 3


def test_warnings_are_printed_and_do_not_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path, labelled([0, 1] * 5, same=1, none=[None] * 10))
    said = capsys.readouterr().err
    assert "warning: column 'same' tells nothing: it has one value in all rows" in said
    assert "warning: column 'none' tells nothing: it has no value in any row" in said


def test_rows_become_the_frame_that_a_model_takes(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, mixed(), validation_split=0)
    features, types = prepared.preparation["features"], prepared.preparation["types"]
    listed = [
        ["2024-05-01", "x", 1, True, "1.0", "red"],
        [1714521600, "y", 2.0, "FALSE", None, "blue"],
        ["2024-05-01T00:00:00+00:00", "z", "3", "", 3, None],
    ]
    frame = rows.frame(["day", "extra", "größe", "heavy", "width", "color"], listed, features, types)
    assert list(frame.columns) == features
    assert np.array_equal(prepared.transformer.transform(frame), prepared.X[:3])
    import pyarrow as pa

    table = pa.Table.from_pandas(mixed())
    assert np.array_equal(prepared.transformer.transform(rows.frame(None, table, features, types)), prepared.X)
    bare = rows.frame(None, [["red", 1.0, True, 1, 1714521600.0]], features)
    assert np.array_equal(prepared.transformer.transform(bare), prepared.X[:1])


@pytest.mark.parametrize(
    ("columns", "listed", "reason", "said"),
    [
        (["a", "widht"], [[1, 2]], "COLUMNS_MISSING", "missing: 'width' (is 'widht' meant as 'width'?)"),
        (["a", "width"], [[1, 2], [3]], "ROW_MALFORMED", "row 2: expected 2 values, got 1 values"),
        (["a", "width"], ["ab"], "ROW_MALFORMED", "row 1: expected 2 values, got 'ab'"),
        (["a", "width"], [[1, 2], [3, "wide"]], "VALUE", "row 2: column 'width' expects a number, got 'wide'"),
        (["a", "width"], [["x", 2]], "VALUE", "row 1: column 'a' expects true or false, got 'x'"),
        (["a", "width"], [[1, float("inf")]], "VALUE", "row 1: column 'width' expects a number, got inf"),
        (["a", "width"], [[1, [2]]], "VALUE", "row 1: column 'width' expects a number, got [2]"),
    ],
)
def test_bad_rows_are_told(columns: list[str], listed: list[Any], reason: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        rows.frame(columns, listed, ["a", "width"], ["flag", "real"])
    assert caught.value.reason == reason
    assert said in caught.value.message


def test_no_rows_are_a_frame_without_rows() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rows.frame(["a"], [], ["a"]).shape == (0, 1)


def test_both_parts_tell_their_rows_of_the_dataset_where_asked(tmp_path: Path) -> None:
    told = prepare(tmp_path, "iris", ids=True)
    train, validation = (bundle.decode(data) for data in told.bytes[:2])
    X, y = load_iris(return_X_y=True)
    assert train["rows"].dtype == np.int64
    assert sorted([*train["rows"], *validation["rows"]]) == list(range(150))
    np.testing.assert_array_equal(X[train["rows"]], train["X"])
    np.testing.assert_array_equal(y[validation["rows"]], validation["y"])


def test_rows_of_a_validation_dataset_are_counted_on_from_the_training_rows(tmp_path: Path) -> None:
    told = prepare(tmp_path, "iris", other="iris", ids=True)
    train, validation = (bundle.decode(data) for data in told.bytes[:2])
    assert list(train["rows"]) == list(range(150))
    assert list(validation["rows"]) == list(range(150, 300))


def test_rows_are_told_only_where_asked(tmp_path: Path) -> None:
    plain, told = prepare(tmp_path, "iris"), prepare(tmp_path, "iris", ids=True)
    assert list(bundle.decode(plain.bytes[0])) == ["X", "y"]
    np.testing.assert_array_equal(plain.X, told.X)
    assert plain.bytes[2] == told.bytes[2]
