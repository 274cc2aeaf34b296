"""A task's key: the SHA-256 of a canonical, versioned encoding of ours, never of protobuf's bytes.

The rule: two tasks share a key exactly where the same bytes must come out. The integer 1 and the real 1.0 differ, an
absent parameter differs from a null one, and order matters in lists but not among names.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence

from tensorfleet.model import Task, Value

VERSION = b"tensorfleet-task-1"


def task_key(task: Task, fingerprint: str) -> str:
    """The key under which a task's result is known: 64 hexadecimal digits.

    fingerprint: the numerics it runs under. Raises TypeError for a parameter that is no plain value.
    """
    parts = [
        VERSION,
        encode(task.operator),
        encode(task.params),
        encode([ref.digest for ref in task.inputs]),
        encode(task.threads),
        encode(fingerprint),
    ]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def encode(value: Value) -> bytes:
    """A plain value's canonical bytes: a letter for its type, then its content with its length."""
    if value is None:
        return b"n"
    if value is True:
        return b"t"
    if value is False:
        return b"f"
    if isinstance(value, int):
        return _sized(b"i", str(value).encode())
    if isinstance(value, float):
        # All NaNs are one; -0.0 and 0.0 are two.
        return b"r" + (b"nan_____" if value != value else struct.pack(">d", value))
    if isinstance(value, str):
        return _sized(b"s", value.encode())
    if isinstance(value, Mapping):
        names = sorted(value)
        return b"m%d:" % len(names) + b"".join(encode(name) + encode(value[name]) for name in names)
    if isinstance(value, Sequence):
        return b"l%d:" % len(value) + b"".join(encode(item) for item in value)
    raise TypeError(f"not a plain value: {type(value).__name__}")


def _sized(letter: bytes, content: bytes) -> bytes:
    return letter + b"%d:" % len(content) + content
