"""The contract of a `DocumentStore`, as to finding documents: by what, in which order, in pages."""

import math
from typing import Any

import pytest
import pytest_asyncio

from tensorfleet.stores.contract import DocumentStore
from tensorfleet.testing.documents_steps import put


async def names(store: DocumentStore, where: dict[str, Any] | None = None, **query: Any) -> str:
    """The names of the jobs found, in one text."""
    return "".join([document["name"] for document in await store.find("jobs", where, **query)])


@pytest_asyncio.fixture
async def six(documents: DocumentStore) -> DocumentStore:
    """Six jobs, written in no order."""
    rows: dict[str, dict[str, Any]] = {
        "d": {"state": "failed", "created_at": 4.0, "metrics": {"accuracy": 0.5}, "index": 10},
        "a": {"state": "queued", "created_at": 1.0, "metrics": {}, "index": 9, "flag": True},
        "f": {"state": "failed", "created_at": 6.0, "metrics": {"accuracy": 0.75}, "index": 2, "flag": None},
        "c": {"state": "queued", "created_at": 3.0, "metrics": {"accuracy": None}, "index": 1, "flag": 1},
        "b": {"state": "failed", "created_at": 2.5, "index": 0, "flag": False},
        "e": {"state": "queued", "created_at": 4.0, "metrics": {"accuracy": 0.9}, "index": 3, "flag": 0},
    }
    await put(documents, "jobs", **{name: row | {"name": name} for name, row in rows.items()})
    return documents


async def test_find_by_equality(six: DocumentStore) -> None:
    assert await names(six, order=["name"]) == "abcdef"
    assert await names(six, {"state": "queued"}, order=["name"]) == "ace"
    assert await names(six, {"state": "queued", "created_at": 3}, order=["name"]) == "c"
    assert await names(six, {"metrics.accuracy": 0.75}) == "f"
    assert await names(six, {"id": "e"}) == "e"
    assert await names(six, {"state": "QUEUED"}) == await names(six, {"created_at": "3.0"}) == ""


async def test_find_by_one_of_some_texts(six: DocumentStore) -> None:
    assert await names(six, {"name": ("e", "b", "nobody", "b")}, order=["name"]) == "be"
    assert await names(six, {"id": ("a", "f"), "name": ("f", "c")}) == "f"
    assert await names(six, {"name": ()}) == ""
    many = tuple(f"nobody {number}" for number in range(10_000))
    assert await names(six, {"name": (*many, "d")}) == "d"
    assert await six.count("jobs", {"name": ("a", "b", "nobody")}) == 2
    with pytest.raises(ValueError, match="texts"):
        await six.find("jobs", {"name": ("a", 1)})


async def test_none_finds_null_and_missing(six: DocumentStore) -> None:
    assert await names(six, {"metrics.accuracy": None}, order=["name"]) == "abc"
    assert await names(six, {"flag": None}, order=["name"]) == "df"
    assert await names(six, {"nowhere.at.all": None, "state": "failed"}, order=["name"]) == "bdf"


async def test_flags_are_no_numbers(six: DocumentStore) -> None:
    assert [await names(six, {"flag": value}) for value in (True, 1, 1.0, False, 0)] == ["a", "c", "c", "b", "e"]


async def test_find_above(six: DocumentStore) -> None:
    assert await names(six, above=("created_at", 3.0), order=["created_at", "name"]) == "def"
    assert await names(six, above=("index", 2), order=["index"]) == "ead"  # as numbers: 10 is above 9
    assert await names(six, {"state": "queued"}, above=("name", "a"), order=["name"]) == "ce"
    assert await names(six, above=("id", "d"), order=["id"]) == "ef"
    assert await names(six, above=("metrics.accuracy", 0.5), order=["name"]) == "ef"
    assert await names(six, above=("name", 5)) == ""  # a text is not above a number


async def test_order(six: DocumentStore) -> None:
    assert await names(six, order=["created_at", "name"]) == "abcdef"
    assert await names(six, order=["-created_at", "name"]) == "fdecba"
    assert await names(six, order=["state", "-index"]) == "dfbaec"
    assert await names(six, order=["-metrics.accuracy", "name"]) == "efdabc"  # what is missing is least


async def test_pages_miss_and_repeat_nothing(six: DocumentStore) -> None:
    for order in (["state"], ["-state"], ["-created_at"], []):
        pages = [await names(six, order=order, skip=skip, limit=2) for skip in range(0, 8, 2)]
        assert "".join(pages) == await names(six, order=order)
        assert sorted("".join(pages)) == list("abcdef")
        assert [len(page) for page in pages] == [2, 2, 2, 0]
    assert await names(six, limit=0) == ""


async def test_count(six: DocumentStore) -> None:
    assert await six.count("jobs") == 6
    assert await six.count("jobs", {"state": "failed"}) == 3
    assert await six.count("jobs", {"metrics.accuracy": None, "state": "queued"}) == 2
    assert await six.count("models") == 0


@pytest.mark.parametrize("field", ["", "a b", "a'; DROP TABLE jobs; --", "$.a", "a..b", "a.", "a[0]", 'a"', "-"])
async def test_a_bad_field_is_refused(six: DocumentStore, field: str) -> None:
    with pytest.raises(ValueError, match="field"):
        await six.find("jobs", {field: 1})
    with pytest.raises(ValueError, match="field"):
        await six.find("jobs", above=(field, 1))
    with pytest.raises(ValueError, match="field"):
        await six.find("jobs", order=[f"-{field}"])
    with pytest.raises(ValueError, match="field"):
        await six.count("jobs", {field: None})
    assert await six.count("jobs") == 6


async def test_bad_queries_are_refused(six: DocumentStore) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        await six.find("nowhere")
    with pytest.raises(ValueError, match="nowhere"):
        await six.get("nowhere", ["a"])
    with pytest.raises(ValueError, match="nowhere"):
        await six.count("nowhere")
    with pytest.raises(ValueError, match="state"):
        await six.find("jobs", {"state": ["queued", "running"]})
    for value in (None, ["a"], 2**63, math.inf, math.nan):
        with pytest.raises(ValueError, match="state"):
            await six.find("jobs", above=("state", value))
    for bad in ({"skip": -1}, {"limit": -1}):
        with pytest.raises(ValueError, match="-1"):
            await six.find("jobs", **bad)  # type: ignore[arg-type]


async def test_values_are_never_part_of_a_statement(six: DocumentStore) -> None:
    for text in ("' OR 1=1 --", '"', "\\", "%"):
        assert await names(six, {"name": text}) == ""
        await put(six, "models", m={"name": text})
        assert await six.find("models", {"name": text}) == [{"name": text}]
