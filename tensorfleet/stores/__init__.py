"""Where documents and objects are kept: opened by URL, or in the home directory where none is given.

The rule: nobody outside this package names a backend. A backend is a module with `from_url`, listed here by scheme.
"""

from importlib import import_module
from pathlib import Path
from typing import cast
from urllib.parse import quote

from tensorfleet.errors import FailedPrecondition
from tensorfleet.stores.contract import DocumentStore, ObjectStore

DOCUMENTS = {
    "sqlite": "tensorfleet.stores.sqlite",
    "mongodb": "tensorfleet.stores.mongo",
    "mongodb+srv": "tensorfleet.stores.mongo",
}
OBJECTS = {
    "file": "tensorfleet.stores.directory",
    "s3": "tensorfleet.stores.s3",
    "gridfs": "tensorfleet.stores.gridfs",
    "gridfs+srv": "tensorfleet.stores.gridfs",
}


async def open_documents(place: str | Path) -> DocumentStore:
    """Opens the documents of a URL such as `sqlite:////var/lib/fleet/documents.db`, or of a home directory.

    FailedPrecondition where the URL cannot be used; Unavailable where the store cannot be reached.
    """
    url = str(place) if "://" in str(place) else f"sqlite:///{quote(str(Path(place).absolute() / 'documents.db'))}"
    store = cast(DocumentStore, _backend(url, DOCUMENTS, "documents"))
    await store.open()
    return store


async def open_objects(place: str | Path) -> ObjectStore:
    """Opens the objects of a URL such as `file:///var/lib/fleet/objects`, or of a home directory. Errors as above."""
    url = str(place) if "://" in str(place) else f"file://{quote(str(Path(place).absolute() / 'objects'))}"
    store = cast(ObjectStore, _backend(url, OBJECTS, "objects"))
    await store.open()
    return store


def _backend(url: str, modules: dict[str, str], what: str) -> object:
    scheme = url.partition("://")[0]
    if scheme not in modules:
        raise FailedPrecondition(f"{what} cannot be kept in {scheme}://; there is {_listed(modules)}")
    try:
        return import_module(modules[scheme]).from_url(url)
    except ValueError as error:
        raise FailedPrecondition(str(error)) from error


def _listed(modules: dict[str, str]) -> str:
    return ", ".join(f"{scheme}://" for scheme in modules)
