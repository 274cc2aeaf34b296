"""What dataset names mean, and that the facts told without scikit-learn are scikit-learn's."""

import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tensorfleet.data import generated, sources
from tensorfleet.errors import BadInput


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits", "diabetes"])
def test_builtin_facts_are_scikit_learns(name: str) -> None:
    from sklearn import datasets

    bunch: Any = getattr(datasets, f"load_{name}")()
    columns = sources.columns(name)
    assert columns is not None
    assert [column["name"] for column in columns] == [*map(str, bunch.feature_names), "target"]
    assert sources.rows(name) == len(bunch.target)
    assert columns[-1]["distinct"] == len(set(bunch.target))
    if name != "diabetes":
        told = {value["value"]: value["count"] for value in columns[-1]["values"]}
        assert told == {str(label): count for label, count in Counter(bunch.target.tolist()).items()}
    table = generated.table(sources.parse(name))
    assert np.array_equal(np.column_stack([c.to_numpy() for c in table.columns[:-1]]), bunch.data)
    assert np.array_equal(table.column("target").to_numpy(), bunch.target)
    assert [str(kind) for kind in (table.schema.field("target").type,)] == ["double" if name == "diabetes" else "int64"]


@pytest.mark.parametrize(
    "name", ["california", "synthetic:california?rows=50", "synthetic:classification", "synthetic:regression?rows=30"]
)
def test_generated_rows_have_the_told_columns_and_are_the_same_each_time(name: str) -> None:
    table = generated.table(sources.parse(name))
    columns = sources.columns(name)
    assert columns is not None
    kinds = {"double": "real", "int64": "integer"}
    told = [(column["name"], column["type"]) for column in columns]
    assert told == [(field.name, kinds[str(field.type)]) for field in table.schema]
    assert table.num_rows == sources.rows(name)
    assert table.equals(generated.table(sources.parse(name)))


def test_a_seed_makes_other_rows() -> None:
    one, two = (generated.table(sources.parse(f"synthetic:california?rows=20&seed={seed}")) for seed in (1, 2))
    assert not one.equals(two)


@pytest.mark.parametrize(("features", "classes"), [(1, 2), (2, 4), (3, 7), (54, 7), (10, 1000)])
def test_classification_makes_every_class(features: int, classes: int) -> None:
    name = f"synthetic:classification?rows=4000&features={features}&classes={classes}"
    table = generated.table(sources.parse(name))
    assert table.num_columns == features + 1
    assert len(set(table.column("target").to_pylist())) == classes


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("irsi", "did you mean 'iris'?"),
        (
            "synthetic:clasification",
            "no generator 'clasification'; known are california, classification, images, regression",
        ),
        ("synthetic:classification?row=5", "no parameter 'row'; it takes rows, features, classes, seed"),
        ("synthetic:classification?rows=ten", "rows must be a whole number from 2 to 100,000,000, not 'ten'"),
        ("synthetic:classification?rows=1.5", "rows must be a whole number"),
        ("synthetic:classification?rows=1", "rows must be a whole number from 2"),
        ("synthetic:classification?rows=5&rows=6", "rows is given twice"),
        ("synthetic:classification?features=2&classes=5", "5 classes need at least 3 features"),
        ("synthetic:classification?rows=5&classes=4", "4 classes need at least 8 rows"),
        ("synthetic:classification?seed=-1", "seed must be a whole number from 0"),
        ("synthetic:regression?noise=nan", "noise must be a number from 0.0"),
        ("synthetic:regression?rows=100000000&features=100", "at most 500,000,000"),
        ("file://data.csv", "must be file:///"),
        ("file:///data.v2", "its format is not known by its name"),
        ("file:///data.xlsx", ".csv, .tsv, .parquet, .jsonl, .ndjson"),
        ("upload:", "the file's name is missing"),
    ],
)
def test_a_bad_name_is_told(name: str, said: str) -> None:
    message = sources.check(name)
    assert message is not None
    assert said in message
    assert sources.columns(name) is None
    assert sources.rows(name) is None


def test_names_that_are_sources() -> None:
    good = ["iris", "synthetic:regression?noise=0.5&seed=3", "file:///a%20b/x.CSV.gz", "upload:x.ndjson"]
    assert [sources.check(name) for name in good] == [None] * 4
    assert [sources.is_source(name) for name in [*good, "synthetic:x", "mine", "files"]] == [True] * 5 + [False] * 2
    assert [sources.pure(name) for name in good] == [True, True, False, True]
    assert sources.parse(good[2]).path == "/a b/x.CSV.gz"
    assert sources.columns("file:///x.csv") is None


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a", "Label", "b"], "Label"),
        (["species", "Y", "a"], "Y"),
        (["class", "TARGET", "label"], "TARGET"),
        (["a", "b"], "b"),
        (["targets"], "targets"),
    ],
)
def test_the_target_is_found(names: list[str], found: str) -> None:
    assert sources.find_target(names) == found


def test_a_missing_target_is_told_with_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"no column 'prise' to predict; did you mean 'price'\?") as caught:
        sources.find_target(["rooms", "price"], "prise")
    assert caught.value.reason == "TARGET_MISSING_COLUMN"


def test_the_orchestrators_part_imports_no_numerics() -> None:
    code = (
        "import sys, tensorfleet.data, tensorfleet.data.sources, tensorfleet.data.checks, tensorfleet.data.manifest;"
        "tensorfleet.data.sources.columns('iris');"
        "print([m for m in ('numpy', 'pandas', 'pyarrow', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
