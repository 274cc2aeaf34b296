"""The contract of a `DocumentStore` as tests. The rule: nothing here knows which backend it tries.

A backend's test module says where to keep documents, and takes the tests in:

    from tensorfleet.testing.documents import *  # noqa: F403

    @pytest.fixture
    def documents_url(tmp_path): return f"sqlite:///{tmp_path}/documents.db"

The place is fresh for each test, and `open_documents` knows its scheme.
"""

import asyncio
import math
import sys
from collections.abc import AsyncIterator
from itertools import count as counting
from typing import Any

import pytest
import pytest_asyncio

from tensorfleet.errors import AlreadyExists, Deposed, FailedPrecondition, Unavailable
from tensorfleet.stores import open_documents
from tensorfleet.stores.collections import COLLECTIONS, SCHEMA
from tensorfleet.stores.contract import MAX_RECORDS, DocumentStore, Entry, Lease, Write


@pytest_asyncio.fixture
async def documents(documents_url: str) -> AsyncIterator[DocumentStore]:
    store = await open_documents(documents_url)
    yield store
    await store.close()


def entry(number: int, term: int = 1, writer: str = "a", records: bytes = b"records") -> Entry:
    return Entry(number, term, writer, records)


async def fill(store: DocumentStore, last: int, term: int = 1, writer: str = "a") -> None:
    """Commits entries up to a number."""
    for number in range(await store.last_number() + 1, last + 1):
        await store.commit(entry(number, term, writer, b"%d" % number), [])


async def put(store: DocumentStore, collection: str, **documents: dict[str, Any]) -> None:
    """Commits documents by id."""
    writes = [Write(collection, document_id, document) for document_id, document in documents.items()]
    await store.commit(entry(await store.last_number() + 1), writes)


async def read(store: DocumentStore, document_id: str) -> dict[str, Any] | None:
    return (await store.get("jobs", [document_id])).get(document_id)


# The journal


async def test_an_empty_store_has_nothing(documents: DocumentStore) -> None:
    assert await documents.last_number() == 0
    assert await documents.projected() == 0
    assert await documents.read(0) == []
    assert await documents.snapshot() is None


async def test_entries_come_back_in_order_and_in_pages(documents: DocumentStore) -> None:
    entries = [entry(number, records=bytes([number, 0, 255])) for number in range(1, 8)]
    for one in entries:
        await documents.commit(one, [])
    assert await documents.read(0) == entries
    assert await documents.read(2, limit=3) == entries[2:5]
    assert await documents.read(7) == []
    assert await documents.last_number() == await documents.projected() == 7


async def test_an_entry_and_its_writes_survive_closing(documents: DocumentStore, documents_url: str) -> None:
    await documents.commit(entry(1), [Write("jobs", "j", {"state": "queued"})])
    await documents.close()
    again = await open_documents(documents_url)
    assert await again.read(0) == [entry(1)]
    assert await read(again, "j") == {"state": "queued"}
    await again.close()


async def test_many_may_open_a_new_store_at_once(documents_url: str) -> None:
    stores = await asyncio.gather(*(open_documents(documents_url) for _ in range(4)))
    await stores[0].commit(entry(1), [Write("jobs", "j", {"state": "queued"})])
    assert await stores[0].projected() == 1  # so it is there for all of them
    for store in stores:
        assert await read(store, "j") == {"state": "queued"}
        await store.close()


async def test_a_closed_store_says_so(documents: DocumentStore) -> None:
    await documents.close()
    with pytest.raises(Unavailable):
        await documents.last_number()
    with pytest.raises(Unavailable):
        await documents.commit(entry(1), [])


async def test_the_same_entry_is_accepted_again(documents: DocumentStore) -> None:
    await documents.commit(entry(1), [Write("jobs", "j", {"state": "queued"})])
    await documents.commit(entry(2), [Write("jobs", "j", {"state": "running"})])
    await documents.commit(entry(1), [Write("jobs", "j", {"state": "queued"})])
    assert await documents.read(0) == [entry(1), entry(2)]
    assert await read(documents, "j") == {"state": "running"}


@pytest.mark.parametrize("other", [entry(1, writer="b"), entry(1, records=b"others"), entry(1, term=2)])
async def test_a_taken_number_deposes_and_writes_nothing(documents: DocumentStore, other: Entry) -> None:
    await documents.commit(entry(1), [])
    with pytest.raises(Deposed):
        await documents.commit(other, [Write("jobs", "j", {"state": "queued"})])
    assert await documents.read(0) == [entry(1)]
    assert await read(documents, "j") is None


async def test_of_two_who_commit_at_once_one_is_deposed(documents: DocumentStore, documents_url: str) -> None:
    other = await open_documents(documents_url)
    for number in range(1, 11):
        outcomes = await asyncio.gather(
            documents.commit(entry(number, writer="a"), []),
            other.commit(entry(number, writer="b"), []),
            return_exceptions=True,
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Deposed", "NoneType"]
    assert [one.number for one in await other.read(0)] == list(range(1, 11))
    await other.close()


async def test_a_gap_is_refused(documents: DocumentStore) -> None:
    await fill(documents, 2)
    for number in (4, 0, -1):
        with pytest.raises(ValueError, match="cannot follow"):
            await documents.commit(entry(number), [])
    assert await documents.last_number() == 2


async def test_records_have_a_limit(documents: DocumentStore) -> None:
    with pytest.raises(ValueError, match=str(MAX_RECORDS)):
        await documents.commit(entry(1, records=bytes(MAX_RECORDS + 1)), [])
    await documents.commit(entry(1, records=bytes(MAX_RECORDS)), [])
    assert [len(one.records) for one in await documents.read(0)] == [MAX_RECORDS]


async def test_empty_records_are_an_entry(documents: DocumentStore) -> None:
    await documents.commit(entry(1, records=b""), [])
    assert await documents.read(0) == [entry(1, records=b"")]


# Snapshots


async def test_a_snapshot_lets_entries_go(documents: DocumentStore) -> None:
    await fill(documents, 6)
    await documents.save_snapshot(4, b"state after 4")
    assert await documents.snapshot() == (4, b"state after 4")
    assert [one.number for one in await documents.read(0)] == [1, 5, 6]  # 1 is the first of its term
    assert [one.number for one in await documents.read(4)] == [5, 6]


async def test_the_first_entry_of_each_term_stays(documents: DocumentStore) -> None:
    for last, term in ((3, 1), (6, 2), (9, 5)):
        await fill(documents, last, term, f"leader {term}")
    await documents.save_snapshot(9, b"1")
    assert [(one.number, one.term) for one in await documents.read(0)] == [(1, 1), (4, 2), (7, 5)]
    await fill(documents, 12, 5, "leader 5")
    await documents.save_snapshot(12, b"2")
    assert [one.number for one in await documents.read(0)] == [1, 4, 7]
    with pytest.raises(Deposed):  # the leader of term 1 has seen entry 3, and would go on with 4
        await documents.commit(entry(4, 1, "leader 1"), [])


async def test_numbers_go_on_after_a_snapshot(documents: DocumentStore, documents_url: str) -> None:
    await fill(documents, 3)
    await documents.save_snapshot(3, b"state")
    await documents.close()
    again = await open_documents(documents_url)
    assert await again.last_number() == await again.projected() == 3
    await again.commit(entry(4), [])
    assert [one.number for one in await again.read(3)] == [4]
    await again.close()


async def test_a_number_that_a_snapshot_holds_is_taken(documents: DocumentStore) -> None:
    await fill(documents, 5)
    await documents.save_snapshot(4, b"state")
    for number in (2, 4):
        with pytest.raises(Deposed):
            await documents.commit(entry(number, writer="b"), [Write("jobs", "j", {})])
    assert await read(documents, "j") is None


async def test_a_snapshot_never_goes_back(documents: DocumentStore) -> None:
    await fill(documents, 5)
    await documents.save_snapshot(4, b"4")
    await documents.save_snapshot(2, b"2")
    assert await documents.snapshot() == (4, b"4")
    await documents.save_snapshot(5, b"5")
    assert await documents.snapshot() == (5, b"5")


async def test_a_snapshot_needs_its_entry(documents: DocumentStore) -> None:
    await fill(documents, 2)
    with pytest.raises(ValueError, match="3"):
        await documents.save_snapshot(3, b"state")
    assert await documents.snapshot() is None
    assert len(await documents.read(0)) == 2


async def test_a_snapshot_may_be_larger_than_an_entry(documents: DocumentStore) -> None:
    await fill(documents, 1)
    state = bytes(range(256)) * (MAX_RECORDS // 256 + 1024)
    await documents.save_snapshot(1, state)
    assert await documents.snapshot() == (1, state)


# What is drawn from the journal


async def test_writes_replace_and_delete(documents: DocumentStore) -> None:
    await put(documents, "jobs", a={"state": "queued", "old": True}, b={"state": "queued"})
    await documents.commit(entry(2), [Write("jobs", "a", {"state": "running"}), Write("jobs", "b", None)])
    assert await documents.get("jobs", ["a", "b", "c"]) == {"a": {"state": "running"}}
    await documents.commit(entry(3), [Write("jobs", "b", {"state": "back"}), Write("jobs", "never", None)])
    assert await read(documents, "b") == {"state": "back"}


async def test_within_an_entry_the_last_write_counts(documents: DocumentStore) -> None:
    writes = [
        Write("jobs", "a", {"turn": 1}),
        Write("jobs", "b", {"turn": 1}),
        Write("jobs", "c", None),
        Write("jobs", "a", {"turn": 2}),
        Write("jobs", "b", None),
        Write("jobs", "c", {"turn": 2}),
    ]
    await documents.commit(entry(1), writes)
    expected = {"a": {"turn": 2}, "c": {"turn": 2}}
    assert await documents.get("jobs", "abc") == expected
    await documents.project(1, writes)
    assert await documents.get("jobs", "abc") == expected


async def test_an_older_entry_never_takes_a_document_back(documents: DocumentStore) -> None:
    first = [Write("jobs", "a", {"turn": 1}), Write("jobs", "gone", {"turn": 1}), Write("jobs", "kept", None)]
    await documents.commit(entry(1), first)
    later = [Write("jobs", "a", {"turn": 2}), Write("jobs", "gone", None), Write("jobs", "kept", {"turn": 2})]
    await documents.commit(entry(2), later)
    expected = {"a": {"turn": 2}, "kept": {"turn": 2}}
    for number, writes in ((1, first), (2, later), (1, first)):
        await documents.project(number, writes)
        assert await documents.get("jobs", ["a", "gone", "kept"]) == expected


async def test_an_entry_may_be_projected_anew(documents: DocumentStore) -> None:
    """A later release may draw other documents from the same entry."""
    await documents.commit(entry(1), [Write("jobs", "a", {"turn": 1}), Write("jobs", "b", None)])
    await documents.project(1, [Write("jobs", "a", {"turn": "one"}), Write("jobs", "b", {"turn": "one"})])
    assert await documents.get("jobs", "ab") == {"a": {"turn": "one"}, "b": {"turn": "one"}}
    await documents.project(1, [Write("jobs", "a", None)])
    assert await documents.get("jobs", "ab") == {"b": {"turn": "one"}}


async def test_the_last_of_two_deletions_counts(documents: DocumentStore) -> None:
    await documents.commit(entry(1), [Write("jobs", "a", None)])
    await documents.commit(entry(2), [Write("jobs", "a", {"turn": 2})])
    await documents.commit(entry(3), [Write("jobs", "a", None)])
    for number, document in ((1, None), (2, {"turn": 2})):
        await documents.project(number, [Write("jobs", "a", document)])
        assert await read(documents, "a") is None


async def test_what_a_snapshot_holds_is_not_projected_again(documents: DocumentStore) -> None:
    await put(documents, "jobs", gone={"turn": 1})
    await documents.commit(entry(2), [Write("jobs", "gone", None)])
    await documents.save_snapshot(2, b"state")
    await documents.project(1, [Write("jobs", "gone", {"turn": 1})])
    assert await read(documents, "gone") is None
    await put(documents, "jobs", gone={"turn": 3})
    assert await read(documents, "gone") == {"turn": 3}


async def test_what_is_no_plain_data_is_refused_whole(documents: DocumentStore) -> None:
    for bad in ({1, 2}, b"bytes", object()):
        with pytest.raises(ValueError, match="bad"):
            await documents.commit(entry(1), [Write("jobs", "good", {}), Write("jobs", "bad", {"value": [bad]})])
    with pytest.raises(ValueError, match="nowhere"):
        await documents.commit(entry(1), [Write("nowhere", "a", {})])
    assert await documents.last_number() == 0
    assert await documents.count("jobs") == 0


async def test_documents_come_back_as_they_were(documents: DocumentStore) -> None:
    document = {
        "text": "naïve 'quoted' \"text\" 😀 \\ \n",
        "integer": 2**62,
        "real": 0.1 + 0.2,
        "whole real": 1.0,
        "flags": [True, False, None],
        "nested": {"list": [{"deep": []}], "empty": {}},
        "": "a field without a name",
    }
    await put(documents, "jobs", **{"it's; -- 😀": document})
    found = (await documents.get("jobs", ["it's; -- 😀"]))["it's; -- 😀"]
    assert found == document
    assert isinstance(found["whole real"], float)
    assert list(found) == list(document)


async def test_odd_documents_come_back_as_they_were(documents: DocumentStore) -> None:
    """Names with dots and dollars, lists in lists, integers without end: what some databases have no form for."""
    odd = {
        "a.b": 1,
        "$set": {"$inc": 1, "x.y.z": {"": ""}},
        "%": 2,
        "%2E": 3,
        "%list": [1],
        "_id": "mine",
        "_entry": 5,
        "_deleted": True,
        "__": {"_id": {"_entry": []}},
        "lists": [[1, [2, [], [[]]]], [], [{"a.b": [[{"%list": 1}]]}]],
        "one marked": {"%list": [[1]]},
        "another": {"%integer": "5"},
        "a third": {"%text": "[1]"},
        "integers": [2**63 - 1, -(2**63), 2**63, -(2**64) - 1, 10**40, {"deep": 2**70}],
        "reals": [0.0, 5e-324, 1.7976931348623157e308, 1e22, math.inf, {"deep": [-math.inf]}],
        "%real": {"%real": "nan"},
        "naïve 😀": "\\0 \x00 \\uD800 \x85",
        "nul\x00key": None,
    }
    await put(documents, "jobs", **{"": odd, "a.b$c/d": odd, "x" * 500: odd})
    found = await documents.get("jobs", ["", "a.b$c/d", "x" * 500])
    assert found == {"": odd, "a.b$c/d": odd, "x" * 500: odd}
    assert [type(number) for number in found[""]["integers"][:5]] == [int] * 5
    assert str(found[""]["reals"]) == str(odd["reals"])
    await put(documents, "jobs", nan={"metrics": {"loss": math.nan, "accuracy": 0.5}})
    [found] = await documents.find("jobs", {"metrics.accuracy": 0.5})
    assert math.isnan(found["metrics"]["loss"])
    assert await documents.find("jobs", {"_entry": 5}, limit=1) == [odd]
    assert await documents.find("jobs", {"_entry": 1}) == []


@pytest.mark.parametrize("collection", [name for name, declared in COLLECTIONS.items() if declared.bulk])
async def test_bulk_comes_back_as_it_was(documents: DocumentStore, collection: str) -> None:
    odd = [{"a.b": [[math.inf, 2**70]], "%text": "[1]"}, {"%text": "[2]"}, "naïve 😀 \\ \0", 0.1 + 0.2, 1.0, None, []]
    document = {"job_id": "j", **dict.fromkeys(COLLECTIONS[collection].bulk, odd)}
    await put(documents, collection, one=document)
    assert await documents.get(collection, ["one"]) == {"one": document}
    [found] = await documents.find(collection, {"job_id": "j"})
    assert found == document
    for field in COLLECTIONS[collection].bulk:
        assert type(found[field][4]) is float
        with pytest.raises(ValueError, match="bad"):
            await documents.commit(entry(2), [Write(collection, "bad", {field: [b"bytes"]})])


async def test_what_is_unique_stays_so(documents: DocumentStore) -> None:
    one, two = {"name": "iris", "version": "v1"}, {"name": "iris", "version": "v2"}
    await put(documents, "models", a=one, b=two)
    await put(documents, "models", a=one | {"more": 1}, b=two)
    with pytest.raises(AlreadyExists, match=r"models.*name and version"):
        await put(documents, "models", c=two)
    assert await documents.get("models", "abc") == {"a": one | {"more": 1}, "b": two}


async def test_deleted_documents_stand_in_nobodys_way(documents: DocumentStore) -> None:
    ids = ["a", "b", "c"]
    await put(documents, "models", **{each: {"name": each, "version": "v1", "metrics": {}} for each in ids})
    await documents.commit(entry(2), [Write("models", each, None) for each in ids])
    assert await documents.count("models") == await documents.count("models", {"name": None}) == 0
    assert await documents.find("models") == await documents.find("models", {"version": None}) == []
    for where in ({"id": "a"}, {"name": "a"}, {"metrics.accuracy": None}):
        assert await documents.find("models", where) == []
    assert await documents.find("models", above=("name", ""), order=["-version"]) == []
    await put(documents, "models", again={"name": "a", "version": "v1"}, b={"name": "b", "version": "v1"})
    assert [document["name"] for document in await documents.find("models", order=["name"])] == ["a", "b"]


async def test_a_document_of_a_newer_release_is_refused(documents: DocumentStore) -> None:
    await put(documents, "jobs", a={"schema": SCHEMA, "state": "queued"}, b={"schema": SCHEMA + 1, "state": "later"})
    assert await read(documents, "a") == {"schema": SCHEMA, "state": "queued"}
    with pytest.raises(FailedPrecondition, match=rf"newer release.*{SCHEMA + 1}"):
        await documents.get("jobs", ["a", "b"])
    with pytest.raises(FailedPrecondition, match="'b' of jobs"):
        await documents.find("jobs", {"state": "later"})
    assert await documents.count("jobs") == 2


async def test_many_documents_by_id(documents: DocumentStore) -> None:
    ids = [f"job-{number}" for number in range(3000)]
    await documents.commit(entry(1), [Write("jobs", document_id, {"name": document_id}) for document_id in ids])
    assert await documents.get("jobs", iter(ids)) == {document_id: {"name": document_id} for document_id in ids}
    assert await documents.get("jobs", []) == {}
    assert await documents.count("jobs") == 3000


async def test_what_was_committed_is_seen_at_once(documents: DocumentStore) -> None:
    """By id, by any field, in pages and in counts; and what stood there before is seen no more."""
    for turn in range(1, 8):
        state, index = {"state": f"state {turn}"}, {"state": "new", "index": turn}
        await documents.commit(entry(turn), [Write("jobs", f"{turn}", index), Write("jobs", "one", state)])
        assert await documents.find("jobs", {"state": f"state {turn - 1}"}) == []
        assert await documents.find("jobs", state) == [state]
        assert await documents.get("jobs", ["one", f"{turn}"]) == {"one": state, f"{turn}": index}
        assert await documents.count("jobs", {"state": "new"}) == turn
        page = await documents.find("jobs", {"state": "new"}, order=["-index"], skip=1, limit=2)
        assert [document["index"] for document in page] == [turn - 1, turn - 2][: turn - 1]
    await documents.commit(entry(8), [Write("jobs", "one", None), Write("jobs", "3", None)])
    assert await documents.find("jobs", {"state": "state 7"}) == []
    assert await documents.get("jobs", ["one", "3"]) == {}


# Queries


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


# At once, and after a crash


async def test_reads_go_on_while_entries_are_committed(documents: DocumentStore) -> None:
    last = 60

    async def write() -> None:
        for number in range(1, last + 1):
            await documents.commit(entry(number), [Write("tasks", f"{number}", {"job_id": "j", "index": number})])
            assert await documents.get("tasks", [f"{number}"]) == {f"{number}": {"job_id": "j", "index": number}}

    async def follow() -> list[int]:
        seen: list[int] = []
        while len(seen) < last:
            seen += [one.number for one in await documents.read(len(seen))]
            found = await documents.find("tasks", {"job_id": "j"}, order=["index"])
            assert [document["index"] for document in found] == list(range(1, len(found) + 1))
        return seen

    _, *followed = await asyncio.gather(write(), follow(), follow())
    assert followed == [list(range(1, last + 1))] * 2


async def test_a_cancelled_commit_is_there_whole_or_not_at_all(documents: DocumentStore) -> None:
    committing = asyncio.create_task(documents.commit(entry(1), [Write("jobs", "j", {"turn": 1})]))
    await asyncio.sleep(0)
    committing.cancel()
    await asyncio.gather(committing, return_exceptions=True)
    await documents.commit(entry(1), [Write("jobs", "j", {"turn": 1})])  # committed again, as after Unavailable
    assert await documents.read(0) == [entry(1)]
    assert await read(documents, "j") == {"turn": 1}


def writes_of(number: int) -> list[Write]:
    return [Write("results", str(number), {"number": number}), Write("jobs", "newest", {"number": number})]


async def commit_until_killed(url: str) -> None:
    """Commits and takes snapshots without end, and prints each number once it is acknowledged."""
    store = await open_documents(url)
    for number in counting(await store.last_number() + 1):
        await store.commit(entry(number, records=b"%d" % number), writes_of(number))
        print(number, flush=True)
        if number % 20 == 0:
            await store.save_snapshot(number, b"state after %d" % number)


@pytest.mark.parametrize("enough", [1, 19, 70])
async def test_what_was_acknowledged_survives_a_kill(documents_url: str, enough: int) -> None:
    program = f"import asyncio, {__name__} as suite; asyncio.run(suite.commit_until_killed({documents_url!r}))"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    lines = [await child.stdout.readline() for _ in range(enough)]
    child.kill()
    lines += (await child.stdout.read()).splitlines()
    await child.wait()
    acknowledged = int(lines[-1])
    assert acknowledged >= enough

    store = await open_documents(documents_url)
    last = await store.last_number()
    assert last in (acknowledged, acknowledged + 1)
    number, state = await store.snapshot() or (0, b"state after 0")
    assert state == b"state after %d" % number
    assert [(one.number, one.records) for one in await store.read(number)] == [
        (later, b"%d" % later) for later in range(number + 1, last + 1)
    ]
    projected = await store.projected()
    assert number <= projected <= last
    assert await store.count("results") >= projected
    for later in range(projected + 1, last + 1):
        await store.project(later, writes_of(later))
    assert await read(store, "newest") == {"number": last}
    assert await store.count("results") == await store.projected() == last
    await store.commit(entry(last + 1), [])
    await store.close()


async def test_a_lease_is_taken_by_one(documents: DocumentStore) -> None:
    """Of two that saw the same, one takes it; who holds it renews it; the other learns who it is."""
    assert await documents.lease() is None
    first, second = Lease("a", "127.0.0.1:1", 1, 5.0), Lease("b", "127.0.0.1:2", 1, 2.5)
    assert sorted(await asyncio.gather(documents.take_lease(first, None), documents.take_lease(second, None))) == [
        False,
        True,
    ]
    held = await documents.lease()
    assert held in (first, second)
    renewed = Lease(held.holder, held.address, 2, 7.5)
    assert await documents.take_lease(renewed, held)
    assert not await documents.take_lease(Lease("c", "127.0.0.1:3", 2, 5.0), held)
    assert await documents.lease() == renewed


async def test_a_lease_survives_reopening(documents: DocumentStore, documents_url: str) -> None:
    lease = Lease("a", "127.0.0.1:1", 7, 5.0)
    await documents.take_lease(lease, None)
    other = await open_documents(documents_url)
    assert await other.lease() == lease
    await other.close()
