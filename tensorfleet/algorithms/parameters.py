"""What a hyperparameter takes: its kind, its range, its default.

The rule: a value is turned into the parameter's own type where nothing is lost ("64" and 64.0 become 64), and is
refused with what was expected otherwise. Where both a whole and a real number are taken, 1 and 1.0 stay apart.
"""

import json
import math
from typing import Any, TypeAlias

from msgspec import Struct

from tensorfleet.model import Value


class Unacceptable(ValueError):  # noqa: N818
    """A value that a parameter does not take; says what was expected."""


class Integer(Struct, frozen=True):
    """A whole number of a closed range."""

    low: int | None = None
    high: int | None = None

    @property
    def expected(self) -> str:
        if self.low is not None and self.high is not None:
            return f"a whole number from {self.low} to {self.high}"
        if self.high is not None:
            return f"a whole number of at most {self.high}"
        return "a whole number" if self.low is None else f"a whole number of at least {self.low}"

    def exact(self, value: Any) -> bool:
        return type(value) is int

    def accepts(self, value: Any) -> bool:
        return (
            self.exact(value) and (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        )

    def converted(self, value: Any) -> Value:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return value  # type: ignore[no-any-return]


class Real(Struct, frozen=True):
    """A real number of a range, each end of which is in it unless it is open."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    @property
    def expected(self) -> str:
        left = "(" if self.open_low or self.low == -math.inf else "["
        right = ")" if self.open_high else "]"
        return f"a real number in {left}{self.low:g}, {self.high:g}{right}"

    def exact(self, value: Any) -> bool:
        return type(value) is float

    def accepts(self, value: Any) -> bool:
        if not self.exact(value) or math.isnan(value):
            return False
        above: bool = value > self.low if self.open_low else value >= self.low
        below: bool = value < self.high if self.open_high else value <= self.high
        return above and below

    def converted(self, value: Any) -> Value:
        if type(value) is int and abs(value) <= 2**53:
            return float(value)
        return value  # type: ignore[no-any-return]


class Choice(Struct, frozen=True):
    """One of some words."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(self.words) if len(self.words) > 1 else f'"{self.words[0]}"'

    def exact(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.words

    accepts = exact

    def converted(self, value: Any) -> Value:
        return value  # type: ignore[no-any-return]


class Flag(Struct, frozen=True):
    """True or false."""

    expected = "true or false"

    def exact(self, value: Any) -> bool:
        return isinstance(value, bool)

    accepts = exact

    def converted(self, value: Any) -> Value:
        return value  # type: ignore[no-any-return]


class Text(Struct, frozen=True):
    """Any text."""

    expected = "text"

    def exact(self, value: Any) -> bool:
        return isinstance(value, str)

    accepts = exact

    def converted(self, value: Any) -> Value:
        return value  # type: ignore[no-any-return]


class Null(Struct, frozen=True):
    """Nothing."""

    expected = "null"

    def exact(self, value: Any) -> bool:
        return value is None

    accepts = exact

    def converted(self, value: Any) -> Value:
        return value  # type: ignore[no-any-return]


class ListOf(Struct, frozen=True):
    """A list whose items are of one kind."""

    item: "Kind"

    @property
    def expected(self) -> str:
        return f"a list, each item {self.item.expected}"

    def exact(self, value: Any) -> bool:
        return isinstance(value, list | tuple)

    def accepts(self, value: Any) -> bool:
        return self.exact(value) and all(self.item.accepts(item) for item in value)

    def converted(self, value: Any) -> Value:
        return [coerce(self.item, item) for item in value] if self.exact(value) else value


class MappingOf(Struct, frozen=True):
    """Values of one kind by name."""

    item: "Kind"

    @property
    def expected(self) -> str:
        return f"a mapping from names, each value {self.item.expected}"

    def exact(self, value: Any) -> bool:
        return isinstance(value, dict)

    def accepts(self, value: Any) -> bool:
        return self.exact(value) and all(
            isinstance(name, str) and self.item.accepts(item) for name, item in value.items()
        )

    def converted(self, value: Any) -> Value:
        return {str(name): coerce(self.item, item) for name, item in value.items()} if self.exact(value) else value


class Json(Struct, frozen=True):
    """A JSON object, given as one or as its text; kept as text, in one spelling."""

    expected = "a JSON object, or its text"

    def exact(self, value: Any) -> bool:
        return isinstance(value, str)

    def accepts(self, value: Any) -> bool:
        return self.exact(value) and isinstance(_parsed(value), dict)

    def converted(self, value: Any) -> Value:
        tree = _parsed(value) if isinstance(value, str) else value
        return json.dumps(tree, sort_keys=True, separators=(",", ":")) if isinstance(tree, dict) else value


class OneOf(Struct, frozen=True):
    """Any of some kinds. A kind of exactly the value's type decides; only where there is none is a value converted."""

    kinds: tuple["Kind", ...]

    @property
    def expected(self) -> str:
        return ", or ".join(kind.expected for kind in self.kinds)

    def exact(self, value: Any) -> bool:
        return any(kind.exact(value) for kind in self.kinds)

    def accepts(self, value: Any) -> bool:
        return any(kind.accepts(value) for kind in self.kinds)

    def converted(self, value: Any) -> Value:
        for kind in (kind for kind in self.kinds if kind.exact(value)):
            changed = kind.converted(value)
            if kind.accepts(changed):
                return changed
        if self.exact(value):
            return value  # type: ignore[no-any-return]
        conversions = (kind.converted(value) for kind in self.kinds)
        return next((item for item in conversions if self.accepts(item)), value)


Kind: TypeAlias = Integer | Real | Choice | Flag | Text | Null | ListOf | MappingOf | Json | OneOf


class Parameter(Struct, frozen=True):
    """A hyperparameter: what it takes, and what it is when nobody says."""

    kind: Kind
    default: Value

    def coerce(self, value: Any) -> Value:
        """The value in the parameter's own type. Raises Unacceptable with what was expected."""
        return coerce(self.kind, value)


def coerce(kind: Kind, value: Any) -> Value:
    """A value in a kind's own type, where nothing is lost. Raises Unacceptable with what was expected."""
    for candidate in _candidates(value):
        try:
            changed = kind.converted(candidate)
        except Unacceptable:
            continue
        if kind.accepts(changed):
            return changed
    raise Unacceptable(f"expected {kind.expected}, got {_shown(value)}")


def one_of(*kinds: Kind) -> OneOf:
    return OneOf(kinds)


def _candidates(value: Any) -> list[Any]:
    """The value itself, and for text what it reads as."""
    if not isinstance(value, str):
        return [value]
    word = value.strip()
    named: dict[str, Any] = {"true": True, "false": False, "null": None, "none": None}
    if word.lower() in named:
        return [value, named[word.lower()]]
    if word.lower() in ("inf", "+inf", "infinity", "-inf"):
        return [value, float(word)]
    try:
        return [value, word, json.loads(word)]
    except ValueError:
        return [value, word]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _shown(value: Any) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."
