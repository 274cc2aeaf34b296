"""What may be a digest and what may be a name of a blob, the same for every store of objects.

The rule: no text from outside becomes part of a path or a key before it has passed here.
"""

import re

from tensorfleet.errors import InvalidRequest
from tensorfleet.model import FieldViolation

_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256 in hexadecimal digits, in lower case."""
    return _DIGEST.fullmatch(text) is not None


def name_parts(name: str) -> list[str]:
    """A name's parts. InvalidRequest for one that could lead out of its place, or into the blobs."""
    parts = name.split("/")
    bad = any(part in ("", ".", "..") or "\0" in part or "\\" in part or len(part.encode()) > 255 for part in parts)
    if bad or len(parts) < 2 or parts[0] in ("cas", "tmp"):
        raise InvalidRequest([FieldViolation("name", f"expected a name such as models/iris/v1/manifest, not {name!r}")])
    return parts
