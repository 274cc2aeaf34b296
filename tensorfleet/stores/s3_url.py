"""Where objects are in S3, as one URL: `s3://bucket/prefix?endpoint=http://127.0.0.1:9000&addressing=path`.

The rule: a URL holds no keys.
"""

import re
from collections.abc import Callable
from types import MappingProxyType
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from msgspec import Struct

ADDRESSING = ("path", "virtual", "auto")

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def _endpoint_problem(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc:
        return ""
    return "expected http://HOST:PORT or https://HOST"


def _region_problem(value: str) -> str:
    return "" if re.fullmatch(r"[a-z0-9-]+", value) else f"expected a region such as us-east-1, not {value!r}"


def _addressing_problem(value: str) -> str:
    return "" if value in ADDRESSING else f"expected one of {', '.join(ADDRESSING)}, not {value!r}"


OPTIONS: MappingProxyType[str, Callable[[str], str]] = MappingProxyType(
    {"endpoint": _endpoint_problem, "region": _region_problem, "addressing": _addressing_problem}
)
"""What may be said after a `?`, each with what is wrong with a value; empty where nothing is."""


class Place(Struct, frozen=True, kw_only=True):
    """Where objects are. endpoint: empty for AWS itself. addressing: how requests name the bucket, of `ADDRESSING`;
    empty for path-style where there is an endpoint, and AWS's own where there is none."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    addressing: str = ""

    @classmethod
    def of(cls, url: str) -> "Place":
        """From `s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1&addressing=path`. ValueError."""
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if not _BUCKET.fullmatch(parts.netloc) or parts.fragment or not options.keys() <= OPTIONS.keys():
            raise ValueError("expected s3://BUCKET/PREFIX, perhaps with ?endpoint=http://HOST:PORT, and no keys in it")
        for name, value in options.items():
            if problem := OPTIONS[name](value):
                raise ValueError(f"{name}: {problem}")
        return cls(bucket=parts.netloc, prefix=unquote(parts.path).strip("/"), **options)

    @property
    def url(self) -> str:
        options = {name: value for name in OPTIONS if (value := getattr(self, name))}
        path = f"/{quote(self.prefix)}" if self.prefix else ""
        return f"s3://{self.bucket}{path}" + (f"?{urlencode(options)}" if options else "")

    def __str__(self) -> str:
        return f"bucket {self.bucket} at {self.endpoint or 'AWS'}"


def bucket_problem(name: str) -> str:
    """What is wrong with a bucket's name; empty where nothing is."""
    return "" if _BUCKET.fullmatch(name) else f"expected a name of 3 to 63 of a-z, 0-9, dots and dashes, not {name!r}"
