"""What a worker's state wants done.

The rule: they are carried out in the order in which they come, since an order that is given after another must come to
its slot after it.
"""

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from worker.messages import GaveUp, Members, Order, Saved, Succeeded
from worker.words import Wish


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


class Steer(Struct, frozen=True):
    """Have a slot's process know what is wanted of an attempt. saves: how often it is to have saved by now."""

    slot: int
    token: int
    wish: Wish
    saves: int


class Tell(Struct, frozen=True):
    """Tell the task that a slot runs who is in its gang."""

    slot: int
    members: Members


class PutAway(Struct, frozen=True):
    """Put what an attempt made, or saved as it gave up its place, where it belongs."""

    token: int
    outcome: Succeeded | GaveUp


class Keep(Struct, frozen=True):
    """Put what a running attempt saved where it belongs."""

    token: int
    saved: Saved


class Forget(Struct, frozen=True):
    """Nothing is wanted any more of what an attempt has on disk, nor of what is being done for it."""

    token: int


class LookAtDisk(Struct, frozen=True):
    """An attempt found no room on it."""


class Leave(Struct, frozen=True):
    """All is done and said: close the session and exit."""

    code: int


Action: TypeAlias = (
    Fetch | Give | TakeBack | Kill | Pause | Resume | Steer | Tell | PutAway | Keep | Forget | LookAtDisk | Leave
)
