"""Documents whose entries are in the journal, on their way into the tables: of each its last form.

The rule: nothing is lost with them, since the journal has what they are drawn from; and a document of an older entry
never takes the place of a newer one's.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from tensorfleet.stores.collections import COLLECTIONS


class Row(Struct, frozen=True):
    """One document, as an entry has it. text: what is stored of it; both are None where it is deleted."""

    number: int
    document: Mapping[str, Any] | None
    text: str | None


Rows = dict[str, dict[str, Row]]
"""Documents by collection and id."""


class Behind:
    """Documents of the entries from `first` on, up to `last` without a gap. All is 0 where there are none."""

    def __init__(self, number: int = 0, rows: Rows | None = None) -> None:
        self.first = self.last = number
        self.rows: Rows = rows or {}

    def __bool__(self) -> bool:
        return self.last > 0

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def __add__(self, later: "Behind") -> "Behind":
        both = Behind()
        both.take(self)
        both.take(later)
        return both

    def take(self, later: "Behind") -> None:
        """Takes those of other entries in."""
        if not self:
            self.first, self.last = later.first, later.last
        elif later.first <= self.last + 1:
            self.last = max(self.last, later.last)
        for collection, rows in later.rows.items():
            here = self.rows.setdefault(collection, {})
            for name, row in rows.items():
                if name not in here or here[name].number <= row.number:
                    here[name] = row

    @property
    def checked(self) -> bool:
        """Whether a document is among them that may be refused for what others there are."""
        return any(COLLECTIONS[collection].unique for collection in self.rows)

    def has(self, collection: str, names: Iterable[str]) -> bool:
        """Whether any document of these ids is among them."""
        return not self.rows.get(collection, {}).keys().isdisjoint(names)

    def may_meet(self, collection: str, where: Mapping[str, Any]) -> bool:
        """Whether a document among them may be one that is asked for: False where all surely are others."""
        texts = [(field, (value,) if isinstance(value, str) else value) for field, value in where.items()]
        asked = [(field, value) for field, value in texts if isinstance(value, tuple) and "." not in field]
        return any(
            row.document is not None and all(_may_be(row.document.get(field), value) for field, value in asked)
            for row in self.rows.get(collection, {}).values()
        )


def _may_be(value: Any, texts: tuple[Any, ...]) -> bool:
    return not isinstance(value, str) or value in texts
