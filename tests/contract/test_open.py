"""Stores are opened by URL, or in a home directory."""

from pathlib import Path

import pytest

from tensorfleet.errors import FailedPrecondition
from tensorfleet.stores import open_documents, open_objects
from tensorfleet.stores.directory import DirectoryObjects
from tensorfleet.stores.sqlite import SqliteDocuments


@pytest.mark.parametrize("as_text", [True, False])
async def test_a_home_holds_both(tmp_path: Path, as_text: bool) -> None:
    home = tmp_path / "new home #1 100%41?" / ".tensorfleet"
    documents, objects = [await opened(str(home) if as_text else home) for opened in (open_documents, open_objects)]
    assert isinstance(documents, SqliteDocuments)
    assert documents.path == home / "documents.db"
    assert isinstance(objects, DirectoryObjects)
    assert objects.root == home / "objects"
    for store in (documents, objects):
        await store.close()


async def test_a_home_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    documents, objects = await open_documents("here"), await open_objects("here")
    assert documents.url == f"sqlite:///{tmp_path}/here/documents.db"
    assert objects.url == f"file://{tmp_path}/here/objects"
    await documents.close()
    await objects.close()


async def test_a_url_opens_what_it_names(tmp_path: Path) -> None:
    documents = await open_documents(f"sqlite:///{tmp_path}/one.db")
    again = await open_documents(documents.url)
    assert isinstance(again, SqliteDocuments)
    assert again.path == tmp_path / "one.db"
    objects = await open_objects(f"file://{tmp_path}/blobs")
    assert objects.url == f"file://{tmp_path}/blobs"
    for store in (documents, again, objects):
        await store.close()


@pytest.mark.parametrize(
    "url", ["postgres://host/fleet", "sqlite://documents.db", "sqlite:///", "file:///tmp/x", "://", "sqlite:///a#b.db"]
)
async def test_documents_that_cannot_be_kept_there(url: str) -> None:
    with pytest.raises(FailedPrecondition, match="sqlite:/"):
        await open_documents(url)


@pytest.mark.parametrize(
    "url", ["ftp://host/blobs", "file://host/blobs", "file://", "sqlite:////tmp/x.db", "file:///a?b"]
)
async def test_objects_that_cannot_be_kept_there(url: str) -> None:
    with pytest.raises(FailedPrecondition, match="file://"):
        await open_objects(url)


async def test_a_refusal_tells_no_password() -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await open_documents("postgres://fleet:secret@host/fleet")
    assert "secret" not in str(caught.value)
