"""Records as an entry's bytes, and back."""

from typing import get_args

import msgspec
import pytest

from orchestrator.core import entries
from orchestrator.core import records as r

RECORDS = [
    r.TermBegan(3, "writer", 1.5),
    r.JobPaused("j", "on request", 2.0),
    r.TasksAssigned("j", "s", "w", 7, (0, 1), 3.0),
]


def test_an_entry_can_hold_every_durable_record_and_no_other() -> None:
    assert set(get_args(entries.DURABLE)) == {kind for kind in r.Record.__subclasses__() if kind.durable}


def test_records_that_are_encoded_one_by_one_make_the_same_entry() -> None:
    data = entries.entry_of([entries.encode_one(record) for record in RECORDS])
    assert entries.decode(data) == entries.decode(entries.encode(RECORDS)) == RECORDS


def test_bytes_that_are_no_entry_are_refused() -> None:
    for data in (entries.encode([r.AttemptBegan(1, 2)]), entries.encode_one(RECORDS[0]), msgspec.msgpack.encode(["x"])):
        with pytest.raises(msgspec.ValidationError):
            entries.decode(data)
