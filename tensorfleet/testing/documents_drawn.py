"""The contract of a `DocumentStore`, as to what is drawn from the journal: which write counts, and what comes back."""

import math

import pytest

from tensorfleet.errors import AlreadyExists, FailedPrecondition
from tensorfleet.stores.collections import COLLECTIONS, SCHEMA
from tensorfleet.stores.contract import DocumentStore, Write
from tensorfleet.testing.documents_steps import entry, put, read


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
