"""What a decision consists of."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from orchestrator.core.commands import Command, Reply
from orchestrator.core.events import Event
from orchestrator.core.records import Record
from tensorfleet.errors import TensorFleetError


class Decision(Struct, frozen=True):
    """records: to apply now and to make durable. commands and replies: to send after that. then: events that follow
    from the records, to be decided once they are applied. reason: why nothing, or nothing else, was decided."""

    records: tuple[Record, ...] = ()
    commands: tuple[Command, ...] = ()
    replies: tuple[Reply, ...] = ()
    then: tuple[Event, ...] = ()
    reason: str = ""


NOTHING = Decision()


def nothing(reason: str) -> Decision:
    return Decision(reason=reason)


def reply(ticket: int, value: Any) -> Decision:
    return Decision(replies=(Reply(ticket, value),))


def refuse(ticket: int, error: TensorFleetError) -> Decision:
    return Decision(replies=(Reply(ticket, error),), reason=error.message)


def join(decisions: Iterable[Decision]) -> Decision:
    """Decisions about different things, as one."""
    parts = list(decisions)
    return Decision(
        tuple(record for part in parts for record in part.records),
        tuple(command for part in parts for command in part.commands),
        tuple(answer for part in parts for answer in part.replies),
        tuple(event for part in parts for event in part.then),
        "; ".join(part.reason for part in parts if part.reason),
    )
