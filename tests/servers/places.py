"""Stores of a test's own on the servers of the tests, as the environment of its fleets names them."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from pymongo import MongoClient

from tests.servers.running import Running, database_url

BUCKET = "tensorfleet-tests"


@contextmanager
def prefix(servers: Running) -> Iterator[str]:
    """A prefix in `BUCKET` that nobody else uses, emptied afterwards."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3 = boto3.resource(
        "s3",
        endpoint_url=servers.s3,
        region_name="us-east-1",
        aws_access_key_id=servers.access_key,
        aws_secret_access_key=servers.secret_key,
    )
    bucket = s3.Bucket(BUCKET)
    if bucket.creation_date is None:
        bucket.create()
    yield name
    bucket.objects.filter(Prefix=f"{name}/").delete()
    s3.meta.client.close()


@contextmanager
def cluster(servers: Running) -> Iterator[dict[str, str]]:
    """The environment of a fleet that keeps documents in MongoDB and objects in S3."""
    documents = database_url("quick_mongo")
    with prefix(servers) as objects:
        yield {
            "MONGODB_URL": documents,
            "S3_ENDPOINT_URL": servers.s3,
            "S3_BUCKET": BUCKET,
            "S3_PREFIX": objects,
            "AWS_ACCESS_KEY_ID": servers.access_key,
            "AWS_SECRET_ACCESS_KEY": servers.secret_key,
            "AWS_REGION": "us-east-1",
        }
    with MongoClient[dict[str, object]](documents) as client:
        client.drop_database(client.get_default_database().name)
