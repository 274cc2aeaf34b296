"""URLs of databases: of documents as `mongodb://`, and of objects in GridFS as `gridfs://`, on the same servers.

The rule: what a URL is shown as has no user, no password and no options.
"""

import re
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from msgspec import Struct

DEFAULT_DATABASE: Final = "tensorfleet"
EXPECTED: Final = (
    "expected mongodb://HOST:PORT/DATABASE, or mongodb://USER:PASSWORD@HOST:PORT/DATABASE with user and password "
    "quoted as in any URL"
)
_SCHEMES = ("mongodb", "mongodb+srv")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:\d{1,5})?")
_NOT_IN_A_NAME = frozenset('/\\. "$\0')


class Place(Struct, frozen=True):
    """A database of a server. client_url: what the driver is given, with the password. The rest may be shown."""

    client_url: str
    scheme: str
    hosts: str
    database: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.hosts}/{self.database}"

    def __str__(self) -> str:
        return f"MongoDB at {self.hosts}, database {self.database!r}"


def place(url: str) -> Place:
    """What a URL such as `mongodb://user:password@host:27017/tensorfleet?tls=true` names.

    ValueError, which does not quote it: there may be a password in it.
    """
    scheme, hosts, database = _parts(url)
    if not database:
        raise ValueError(f"the URL of the MongoDB at {hosts} names no database: add /{DEFAULT_DATABASE}, or another")
    return Place(url, scheme, hosts, database)


def with_database(url: str, database: str) -> str:
    """The URL with a database, where one is given; with its own or the default where none is. ValueError."""
    _, _, own = _parts(url)
    parts = urlsplit(url)
    name = database or own or DEFAULT_DATABASE
    if _NOT_IN_A_NAME & set(name):
        raise ValueError(f"{name!r} cannot be the name of a database")
    query = parts.query
    if "@" in parts.netloc and not any(option in query.lower() for option in ("authsource=", "authmechanism=")):
        # The driver takes the database of the URL for that of the user, too.
        query = "&".join(filter(None, [query, f"authSource={quote(own or 'admin', safe='')}"]))
    return parts._replace(path=f"/{quote(name, safe='')}", query=query).geturl()


def gridfs(url: str) -> str:
    """The URL of the objects that are kept in a database of documents."""
    return "gridfs" + url.removeprefix("mongodb")


def documents(url: str) -> str:
    """The URL of the database in which objects are kept in GridFS."""
    return "mongodb" + url.removeprefix("gridfs")


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme, hosts and database, which may be empty."""
    parts = urlsplit(url)
    hosts, database = parts.netloc.rpartition("@")[2], unquote(parts.path[1:])
    bad = not all(map(_HOST.fullmatch, hosts.split(","))) or "@" in parts.path
    if parts.scheme not in _SCHEMES or bad or parts.fragment or _NOT_IN_A_NAME & set(database):
        raise ValueError(EXPECTED)
    return parts.scheme, hosts, database
