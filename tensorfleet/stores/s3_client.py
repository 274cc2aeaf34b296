"""A connection to S3, and its errors in the catalogue's words.

The rule: boto3 finds the keys where every AWS program does: variables, profiles, the machine's role.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
import botocore.exceptions
import urllib3.exceptions
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from tensorfleet.errors import CorruptArtifact, FailedPrecondition, NotFound, TensorFleetError, Unavailable
from tensorfleet.stores.s3_url import Place

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECTIONS = 32
CONNECT_SECONDS, READ_SECONDS = 3.0, 60.0
DEFAULT_REGION = "us-east-1"
DENIED = {
    *("AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
    "XAdminUserNotFound",  # versitygw's word for an unknown key, with status 404
}
_BROKE_OFF = (
    botocore.exceptions.ConnectionError,
    botocore.exceptions.IncompleteReadError,
    HTTPClientError,
    urllib3.exceptions.HTTPError,
)
MISSING = {"NoSuchKey", "NotFound", "NoSuchBucket"}


def connect(place: Place) -> "S3Client":
    """A client, which may be used from many threads. FailedPrecondition where the AWS configuration is unusable."""
    # Before an address that one has set up oneself stand no names of buckets, unless one says so.
    style = place.addressing or ("path" if place.endpoint else "auto")
    with told(place, "connect"):
        session = boto3.session.Session()
        return session.client(
            "s3",
            endpoint_url=place.endpoint or None,
            region_name=place.region or session.region_name or DEFAULT_REGION,
            config=Config(
                signature_version="s3v4",
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": 3},
                max_pool_connections=CONNECTIONS,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",  # every blob is checked by its digest here
                s3={"addressing_style": style},  # type: ignore[arg-type]
            ),
        )


@contextmanager
def told(place: Place, what: str) -> Iterator[None]:
    """Says errors of a request in the catalogue's words. what: such as `read cas/sha256/ab/…`."""
    try:
        yield
    except ClientError as error:
        raise _refused(error, place, what) from error
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise FailedPrecondition(
            f"There are no credentials for {place}: {error}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE."
        ) from error
    except (*_BROKE_OFF, OSError) as error:
        raise Unavailable(f"{place} cannot be reached now: {error}.") from error
    except (BotoCoreError, ValueError) as error:
        raise FailedPrecondition(f"{place} cannot be used: {error}.") from error


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def is_missing(error: ClientError) -> bool:
    """Whether it says that there is no such object. A HEAD has no body, so its code is the HTTP status."""
    return code_of(error) in ("NoSuchKey", "NotFound", "404")


def _refused(error: ClientError, place: Place, what: str) -> TensorFleetError:
    code, status = code_of(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in ("BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest", "IncompleteBody"):
        return CorruptArtifact(f"The bytes sent to {place} were not those of their digest ({code}).")
    if code in DENIED or status in (401, 403):
        return FailedPrecondition(
            f"{place} does not let these credentials {what} ({code}): check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY "
            "and the bucket's policy."
        )
    if code in MISSING or status == 404:
        return NotFound(f"There is no such thing to {what} in {place} ({code}).")
    if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout", "RequestTimeTooSkewed"):
        return Unavailable(f"{place} cannot be used now: {error}.")
    return FailedPrecondition(f"{place} refuses to {what}: {error}.")
