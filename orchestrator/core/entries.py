"""Records as the bytes of the journal's entries, and back.

The rule: an entry holds durable records alone, each told by the name of its type. So a type keeps its name and the
order of its fields, and gets new ones at the end.
"""

import msgspec

from orchestrator.core import records as r

DURABLE = (
    r.TermBegan
    | r.JobAccepted
    | r.JobRestarted
    | r.JobPaused
    | r.JobResumed
    | r.JobStopped
    | r.NumericsChosen
    | r.JobStarted
    | r.StageOpened
    | r.StageChecked
    | r.TasksAssigned
    | r.TasksSucceeded
    | r.AttemptFailed
    | r.AttemptReleased
    | r.MemberReady
    | r.AttemptSaved
    | r.Reported
    | r.JobEnded
    | r.ModelRegistered
    | r.ModelDeleted
    | r.AliasSet
    | r.DatasetAdded
    | r.DatasetDeleted
    | r.ResultsForgotten
    | r.WorkerJoined
    | r.WorkerDraining
    | r.WorkerGone
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[DURABLE])


def encode(records: list[r.Record]) -> bytes:
    """Records as the opaque bytes of a journal entry."""
    return _encoder.encode(records)


def encode_one(record: r.Record) -> bytes:
    """A record's own bytes, of which `entry_of` makes an entry's."""
    return _encoder.encode(record)


def entry_of(encoded: list[bytes]) -> bytes:
    """Encoded records as the opaque bytes of a journal entry: a MessagePack array of them."""
    return b"\xdd" + len(encoded).to_bytes(4, "big") + b"".join(encoded)


def decode(data: bytes) -> list[r.Record]:
    """The records of a journal entry. Raises msgspec.ValidationError for bytes that are none."""
    return list(_decoder.decode(data))
