"""What a worker's state wants done.

The rule: they are carried out in the order in which they come, since an order that is given after another must come to
its slot after it.
"""

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from worker.messages import Order, Succeeded


class Fetch(Struct, frozen=True):
    """Bring the order's inputs here."""

    order: Order


class Give(Struct, frozen=True):
    """Put these into a slot's pipe, in this order."""

    slot: int
    orders: Sequence[Order]


class TakeBack(Struct, frozen=True):
    """Take out of a slot's pipe what is still in it."""

    slot: int


class Kill(Struct, frozen=True):
    """End a slot's process, gently first."""

    slot: int


class Pause(Struct, frozen=True):
    """Do not read what a slot says."""

    slot: int


class Resume(Struct, frozen=True):
    """Read again what a slot says."""

    slot: int


class PutAway(Struct, frozen=True):
    """Put an attempt's outputs where they belong."""

    token: int
    outcome: Succeeded


class Forget(Struct, frozen=True):
    """Nothing is wanted any more of what an attempt has on disk, nor of what is being done for it."""

    token: int


class LookAtDisk(Struct, frozen=True):
    """An attempt found no room on it."""


class Leave(Struct, frozen=True):
    """All is done and said: close the session and exit."""

    code: int


Action: TypeAlias = Fetch | Give | TakeBack | Kill | Pause | Resume | PutAway | Forget | LookAtDisk | Leave
