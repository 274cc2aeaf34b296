"""Sources that are kept elsewhere: an object in S3, a collection in MongoDB, a file in GridFS; read as bytes.

The rule: whoever reads them has the keys, so that is the orchestrator, by its own environment, and never a worker. Here
bytes are only passed on; a worker makes sense of them. A collection's are its documents in BSON, as they come from the
server, in the order of `_id`, so that the same documents are the same bytes.
"""

from collections.abc import AsyncIterator
from typing import cast
from urllib.parse import unquote, urlsplit

from tensorfleet.config import settings
from tensorfleet.data.sources import Source, shown
from tensorfleet.errors import SOURCE_AWAY, BadInput, FailedPrecondition, NotFound, Unavailable
from tensorfleet.stores import mongo_url, s3_url
from tensorfleet.stores.threads import in_thread

CHUNK = 1024 * 1024


async def fetch(source: Source) -> AsyncIterator[bytes]:
    """The bytes of a remote source, as its name tells their format.

    NotFound, FailedPrecondition where they are denied, Unavailable with the reason `SOURCE_AWAY`.
    """
    scheme = source.path.partition("://")[0]
    if scheme == "s3":
        chunks = _object(source.path)
    elif scheme.startswith("gridfs"):
        chunks = _file(source.path)
    else:
        chunks = _collection(source.path)
    try:
        async for chunk in chunks:
            yield chunk
    except Unavailable as error:
        raise Unavailable(
            f"{error.message} The orchestrator was to read {shown(source.path)}.", reason=SOURCE_AWAY
        ) from None


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
    except NotFound as error:
        if "NoSuchBucket" in error.message:
            raise NotFound(f"there is no {place}, and so no {key} in it") from None
        raise NotFound(f"there is no {key} in {place}; `aws s3 ls s3://{place.bucket}` lists what there is") from None
    finally:
        await in_thread(client.close)


async def _file(url: str) -> AsyncIterator[bytes]:
    import gridfs.asynchronous
    from gridfs.errors import CorruptGridFile, NoFile

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
    except CorruptGridFile as error:
        raise BadInput(f"the file {name} in GridFS of the {where} is damaged: {error}", reason="FILE_DAMAGED") from None
    finally:
        await connected.close()


async def _collection(url: str) -> AsyncIterator[bytes]:
    from tensorfleet.stores.mongo_connection import connect, told

    where, name = _in_database(url)
    connected = await connect(where)
    seen = False
    try:
        with told(where):
            async for documents in connected.database[name].find_raw_batches(sort=[("_id", 1)]):
                batch = cast(bytes, documents)  # whatever the driver's types say
                for start in range(0, len(batch), CHUNK):
                    seen = True
                    yield batch[start : start + CHUNK]
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
