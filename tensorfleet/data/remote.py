"""Sources that are kept elsewhere: an object in S3, a collection in MongoDB, a file in GridFS; read as bytes.

The rule: whoever reads them has the keys, so that is the orchestrator, by its own environment, and never a worker. A
collection is read as JSON lines in the order of `_id`: `_id` itself is left out, since it says nothing of a row, and a
document within a document becomes columns named with a dot between.
"""

import datetime
import decimal
import json
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from tensorfleet.config import settings
from tensorfleet.data.sources import Source
from tensorfleet.errors import BadInput, FailedPrecondition, NotFound
from tensorfleet.stores import mongo_url, s3_url
from tensorfleet.stores.threads import in_thread

CHUNK = 1024 * 1024
SCALARS = (str, bool, int, float)


def shown(url: str) -> str:
    """The URL without a user and password: what is kept of it and told."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


async def fetch(source: Source) -> AsyncIterator[bytes]:
    """The bytes of a remote source, as its name tells their format.

    NotFound, FailedPrecondition where they are denied, Unavailable, BadInput where a document cannot be a row.
    """
    scheme = source.path.partition("://")[0]
    if scheme == "s3":
        chunks = _object(source.path)
    elif scheme.startswith("gridfs"):
        chunks = _file(source.path)
    else:
        chunks = _collection(source.path)
    async for chunk in chunks:
        yield chunk


async def _object(url: str) -> AsyncIterator[bytes]:
    from tensorfleet.stores.s3_client import connect, told

    parts = urlsplit(url)
    place = s3_url.Place(bucket=parts.netloc, **settings().s3_options)
    key = unquote(parts.path.lstrip("/"))
    client = await in_thread(connect, place)
    try:
        with told(place, f"read {key}"):
            body = (await in_thread(client.get_object, Bucket=place.bucket, Key=key))["Body"]
            while chunk := await in_thread(body.read, CHUNK):
                yield chunk
    except NotFound:
        raise NotFound(f"there is no {key} in {place}; `aws s3 ls s3://{place.bucket}` lists what there is") from None
    finally:
        await in_thread(client.close)


async def _file(url: str) -> AsyncIterator[bytes]:
    import gridfs.asynchronous
    from gridfs.errors import NoFile

    from tensorfleet.stores.mongo_connection import connect, told

    where, name = _in_database(mongo_url.documents(url))
    connected = await connect(where)
    try:
        with told(where):
            bucket = gridfs.asynchronous.AsyncGridFSBucket(connected.database)
            stream = await bucket.open_download_stream_by_name(name)
            while chunk := await stream.read(CHUNK):
                yield chunk
    except NoFile:
        raise NotFound(f"there is no file {name} in GridFS of the {where}") from None
    finally:
        await connected.close()


async def _collection(url: str) -> AsyncIterator[bytes]:
    from bson.errors import BSONError

    from tensorfleet.stores.mongo_connection import connect, told

    where, name = _in_database(url)
    connected = await connect(where)
    seen = 0
    try:
        with told(where):
            lines = bytearray()
            async for document in connected.database[name].find(sort=[("_id", 1)]):
                seen += 1
                lines += json.dumps(_row(document, f"document {seen} of {name}")).encode() + b"\n"
                if len(lines) >= CHUNK:
                    yield bytes(lines)
                    lines.clear()
            yield bytes(lines)
    except BSONError as error:
        raise BadInput(
            f"document {seen + 1} of {name} cannot be read: {error}", reason="DOCUMENT_UNREADABLE"
        ) from error
    finally:
        await connected.close()
    if not seen:
        raise NotFound(f"there is no collection {name} in the {where}, or it is empty")


def _in_database(url: str) -> tuple[mongo_url.Place, str]:
    """The database of a URL, and what is named in it. One without a host is in the orchestrator's own database."""
    parts = urlsplit(url)
    steps = parts.path.lstrip("/").split("/")
    own = settings().documents
    if not parts.netloc:
        if not own:
            raise FailedPrecondition(f"{shown(url)} names no host, and the orchestrator has no MONGODB_URL")
        return mongo_url.place(own), unquote("/".join(steps))
    given = parts._replace(path=f"/{steps[0]}").geturl()
    try:
        where = mongo_url.place(mongo_url.with_database(given, unquote(steps[0])))
    except ValueError as error:
        raise BadInput(str(error), reason="BAD_SOURCE") from None
    if own and "@" not in parts.netloc and mongo_url.place(own).hosts == where.hosts:
        where = mongo_url.place(mongo_url.with_database(own, where.database))  # the same server, with its password
    return where, unquote("/".join(steps[1:]))


def _row(document: Mapping[str, Any], which: str) -> dict[str, Any]:
    return dict(_columns(document, "", which))


def _columns(document: Mapping[str, Any], before: str, which: str) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _columns(value, f"{before}{name}.", which)
        elif before or name != "_id":
            yield f"{before}{name}", _plain(value, f"{before}{name}", which)


def _plain(value: Any, name: str, which: str) -> Any:
    from bson import Decimal128, ObjectId

    if isinstance(value, Decimal128):
        value = value.to_decimal()
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if isinstance(value, float) and math.isnan(value):
        return None  # no value, as an empty field of a CSV file
    if isinstance(value, float) and math.isinf(value):
        raise BadInput(f"{which}: {name} is infinite, and a model needs a number there", reason="NOT_A_NUMBER")
    if value is None or isinstance(value, SCALARS):
        return value
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, ObjectId):
        return str(value)
    raise BadInput(
        f"{which}: {name} is {'an array' if isinstance(value, list) else f'of the type {type(value).__name__}'}; "
        "expected a number, text, a flag, a time or a document of such",
        reason="UNSUPPORTED_COLUMN",
    )
