"""What goes out with one commit: the records of what was decided meanwhile, what they draw, and what is then said.

The rule: a journal entry has a bounded size, and draws what it would draw if it were read back: each document as of its
own last record. So it does not matter how many entries a group takes, or between which of them a process dies.
"""

from orchestrator.core import records as r
from orchestrator.core.commands import Command, Reply
from orchestrator.core.entries import encode_one
from orchestrator.core.state import State
from orchestrator.drawing import Drawing, draw
from tensorfleet.stores.contract import MAX_RECORDS

FULL = MAX_RECORDS // 2
"""Bytes of records from which on a page takes no more; the last of them may be as large again."""


class Page:
    """What becomes one journal entry."""

    def __init__(self) -> None:
        self.number = 0  # once it is committed
        self.records: list[bytes] = []
        self.size = 0
        self.drawing = Drawing()


class Group:
    """Steps decided since the last group was closed."""

    def __init__(self) -> None:
        self.pages = [Page()]
        self.commands: list[Command] = []
        self.replies: list[Reply] = []

    def __len__(self) -> int:
        return sum(len(page.records) for page in self.pages) + len(self.commands) + len(self.replies)

    def keep(self, record: r.Record, state: State) -> None:
        """Takes a record that has just been applied, before any other is."""
        if not record.durable:
            return
        page = self.pages[-1]
        if page.size >= FULL:
            page = Page()
            self.pages.append(page)
        data = encode_one(record)
        page.records.append(data)
        page.size += len(data)
        draw(page.drawing, state, [record])
        if page.size >= FULL:
            page.drawing.finish(state)

    def close(self, state: State) -> list[Page]:
        """The pages to commit, in order; nothing is taken any more."""
        self.pages[-1].drawing.finish(state)
        self.pages = [page for page in self.pages if page.records]
        return self.pages
