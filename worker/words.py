"""The page of memory that a slot and its agent have in common, word by word; the first two count what was printed."""

from enum import IntEnum

PAGE = 4096
"""Bytes."""
TOKEN, WISH, SAVES, LOADED = 2, 3, 4, 5
"""Which attempt the next two are about, what is wanted of it, and how often it is to have saved by now; and, said by
the slot, whether its process has loaded a library that takes long to load."""


class Wish(IntEnum):
    """What is wanted of an attempt. PART: that it saves, and gives up its place. END: that it ends with what it has."""

    GO_ON = 0
    HOLD = 1
    PART = 2
    END = 3
