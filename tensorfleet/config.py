"""Settings from the environment, read once and typed.

The rule: a bad value is an error that names the variable and what was expected; it is never quietly replaced.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from tensorfleet.errors import InvalidRequest
from tensorfleet.model import FieldViolation
from tensorfleet.stores import OBJECTS, mongo_url, s3_url

LOG_LEVELS = ("debug", "info", "warning", "error")
DEFAULT_HOME = ".tensorfleet"
DEFAULT_LISTEN = "127.0.0.1:9090"
"""Where a fleet serves that a person starts."""
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(rf"(?P<number>\d+(\.\d+)?)\s*(?P<unit>{'|'.join(_UNITS)})?")

STORE_VARIABLES = (
    *("MONGODB_URL", "MONGODB_DB", "OBJECTS_URL", "S3_BUCKET", "S3_PREFIX", "S3_ENDPOINT_URL", "S3_ADDRESSING_STYLE"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"),
)
"""What says where the orchestrator keeps things, with its passwords: no worker is to see them."""


S3_OPTIONS = {
    "S3_ENDPOINT_URL": "endpoint",
    "AWS_REGION": "region",
    "AWS_DEFAULT_REGION": "region",
    "S3_ADDRESSING_STYLE": "addressing",
}


class Settings(Struct, frozen=True, kw_only=True):
    """What the environment asks for.

    home: `TENSORFLEET_HOME`, where an embedded fleet keeps everything; absolute. server: `TENSORFLEET_SERVER`, the
    fleet to talk to; empty for none. log_level: `TENSORFLEET_LOG_LEVEL`, one of `LOG_LEVELS`.

    documents, objects: URLs of the orchestrator's stores, with their passwords; empty for those in the home.
    `MONGODB_URL` and `MONGODB_DB` name the documents' database; `OBJECTS_URL` the objects' place, or `S3_BUCKET` with
    `S3_PREFIX`, `S3_ENDPOINT_URL`, `S3_ADDRESSING_STYLE` and the AWS variables, which boto3 reads by itself.
    s3_options: `endpoint`, `region` and `addressing` as these say, for any bucket.
    """

    home: Path
    server: str = ""
    log_level: str = "info"
    documents: str = ""
    objects: str = ""
    s3_options: Mapping[str, str] = {}


def settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings. InvalidRequest names every bad variable at once."""
    level = environ.get("TENSORFLEET_LOG_LEVEL", "").strip().lower() or "info"
    server = environ.get("TENSORFLEET_SERVER", "").strip()
    home = Path(environ.get("TENSORFLEET_HOME", "").strip() or DEFAULT_HOME).expanduser()
    violations = []
    if level not in LOG_LEVELS:
        violations.append(FieldViolation("TENSORFLEET_LOG_LEVEL", f"expected one of {', '.join(LOG_LEVELS)}"))
    if server and (problem := address_problem(server)):
        violations.append(FieldViolation("TENSORFLEET_SERVER", problem))
    if home.exists() and not home.is_dir():
        violations.append(FieldViolation("TENSORFLEET_HOME", f"expected a folder, and {home} is a file"))
    documents = _documents(environ, violations)
    s3_options = _s3_options(environ, violations)
    objects = _objects(environ, documents, s3_options, violations)
    if violations:
        raise InvalidRequest(violations)
    return Settings(
        home=home.absolute(),
        server=server,
        log_level=level,
        documents=documents,
        objects=objects,
        s3_options=s3_options,
    )


def _documents(environ: Mapping[str, str], violations: list[FieldViolation]) -> str:
    url, database = environ.get("MONGODB_URL", "").strip(), environ.get("MONGODB_DB", "").strip()
    if not url:
        return ""
    try:
        url = mongo_url.with_database(url, "")
    except ValueError:
        violations.append(FieldViolation("MONGODB_URL", mongo_url.EXPECTED))
        return ""
    try:
        return mongo_url.with_database(url, database)
    except ValueError as error:
        violations.append(FieldViolation("MONGODB_DB", str(error)))
        return url


def _objects(
    environ: Mapping[str, str], documents: str, s3_options: Mapping[str, str], violations: list[FieldViolation]
) -> str:
    url = environ.get("OBJECTS_URL", "").strip()
    scheme = url.partition("://")[0]
    if scheme == "s3" or (not url and environ.get("S3_BUCKET", "").strip()):
        return _s3(environ, url, s3_options, violations)
    if url == "gridfs://" and documents:
        return mongo_url.gridfs(documents)
    if url == "gridfs://":
        violations.append(
            FieldViolation("OBJECTS_URL", "gridfs:// alone is the database of MONGODB_URL, which is not set")
        )
    elif scheme.startswith("gridfs"):
        try:
            return mongo_url.gridfs(mongo_url.with_database(mongo_url.documents(url), ""))
        except ValueError:
            violations.append(FieldViolation("OBJECTS_URL", "expected gridfs:// alone, or gridfs://HOST:PORT/DATABASE"))
    elif url and scheme not in OBJECTS:
        violations.append(
            FieldViolation("OBJECTS_URL", f"expected one of {', '.join(f'{each}://' for each in OBJECTS)}")
        )
    return url


def span(text: str) -> float:
    """Seconds of a time such as `90s`, `15min`, `2h` or `7d`; a bare number is seconds. ValueError where it is none."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"expected a time such as 90s, 15min, 2h or 7d, and got {text!r}")
    return float(found["number"]) * _UNITS[found["unit"] or "s"]


def _s3_options(environ: Mapping[str, str], violations: list[FieldViolation]) -> dict[str, str]:
    options: dict[str, str] = {}
    for variable, option in S3_OPTIONS.items():
        value = environ.get(variable, "").strip()
        if value and (problem := s3_url.OPTIONS[option](value)):
            violations.append(FieldViolation(variable, problem))
        elif value:
            options.setdefault(option, value)
    return options


def _s3(environ: Mapping[str, str], url: str, options: Mapping[str, str], violations: list[FieldViolation]) -> str:
    """The URL of a bucket, as it is given or by the variables, which fill in what a URL leaves out."""
    if url:
        try:
            place = s3_url.Place.of(url)
        except ValueError as error:
            violations.append(FieldViolation("OBJECTS_URL", str(error)))
            return ""
    else:
        bucket, prefix = environ["S3_BUCKET"].strip(), environ.get("S3_PREFIX", "").strip().strip("/")
        place = s3_url.Place(bucket=bucket, prefix=prefix)
        if problem := s3_url.bucket_problem(bucket):
            violations.append(FieldViolation("S3_BUCKET", problem))
    missing = {name: value for name, value in options.items() if not getattr(place, name)}
    return msgspec.structs.replace(place, **missing).url


def address_problem(address: str) -> str:
    """What is wrong with `host:port`, or several joined by commas; empty where nothing is."""
    for part in address.split(","):
        host, _, port = part.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            return f"expected host:port, such as 127.0.0.1:9090, and got {part!r}"
    return ""
