"""Pages: size, token, filter, the same for every list."""

from collections.abc import Iterable
from typing import Any

from tensorfleet.errors import InvalidRequest
from tensorfleet.model import FieldViolation

MOST = 1000


def page(size: int, token: str, skip: int = 0, default: int = 50) -> tuple[int, int]:
    """How many to skip and how many to give. InvalidRequest for a size or a token that is none."""
    violations = []
    if not 0 <= size <= MOST:
        violations.append(FieldViolation("page_size", f"expected 1 to {MOST}, not {size}"))
    if skip < 0:
        violations.append(FieldViolation("skip", f"expected 0 or more, not {skip}"))
    if token and not token.isdecimal():
        violations.append(FieldViolation("page_token", "expected the next_page_token of an earlier page"))
    if violations:
        raise InvalidRequest(violations)
    return int(token or 0) + skip, size or default


def next_token(skip: int, given: int, total: int) -> str:
    return str(skip + given) if skip + given < total else ""


def terms(text: str, fields: Iterable[str]) -> dict[str, Any]:
    """A filter such as `state=succeeded AND algorithm=svm` as what documents must equal."""
    known, where = tuple(fields), {}
    for term in filter(None, (part.strip() for part in text.replace(" and ", " AND ").split(" AND "))):
        name, equals, value = term.partition("=")
        if not equals or name.strip() not in known:
            expected = f"expected terms such as {known[0]}=…, joined by AND; fields are {', '.join(known)}"
            raise InvalidRequest([FieldViolation("filter", f"{expected}; got {term!r}")])
        where[name.strip()] = value.strip().strip('"')
    return where
