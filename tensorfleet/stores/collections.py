"""The collections that people read and query, and the fields each is looked up by, declared once for every backend.

The rule: an index makes look-ups fast and never changes an answer; any field can be queried, but for those that
are said to be bulk.
"""

from types import MappingProxyType

from msgspec import Struct

SCHEMA = 1
"""The form of the documents; each carries that in which it was drawn, as its field `schema`."""


class Collection(Struct, frozen=True):
    """Documents of one kind.

    indexes: each a row of fields, in the order in which they are looked up and sorted; a dot reaches into a document.
    unique: rows of fields that no two documents share; they are indexes too. bulk: fields of many values that nobody
    looks for by; a store may keep each as one text.
    """

    name: str
    indexes: tuple[tuple[str, ...], ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    bulk: frozenset[str] = frozenset()


def _each(*fields: str, then: str) -> tuple[tuple[str, ...], ...]:
    """An index for each of the fields alone, sorted by another within it."""
    return tuple((field, then) for field in fields)


_ALL = (
    Collection(
        "jobs",
        (
            ("request_id",),
            ("created_at",),
            ("ended_at",),
            *_each("state", "kind", "algorithm", "dataset", "submitter", "model_name", then="created_at"),
        ),
    ),
    Collection("tasks", (("job_id", "stage", "first"),), bulk=frozenset(("tasks",))),
    Collection("events", (("job_id", "number"),), bulk=frozenset(("events",))),
    Collection("metrics", (("job_id",),)),
    Collection(
        "models",
        (
            ("created_at",),
            *_each("algorithm", "dataset", then="created_at"),
            ("metrics.accuracy",),
        ),
        unique=(("name", "version"),),
    ),
    Collection("datasets", (("name",),)),
    Collection("aliases", (("name",),)),
    Collection("results"),
    Collection("workers"),
    Collection("tokens"),
)

COLLECTIONS = MappingProxyType({collection.name: collection for collection in _ALL})


def collection_named(name: str) -> Collection:
    """The collection of a name. ValueError where there is none."""
    found = COLLECTIONS.get(name)
    if found is None:
        raise ValueError(f"there is no collection {name!r}; there are {', '.join(COLLECTIONS)}")
    return found
