"""What the members of a gang have between them: a ring in which they add up what each of them has.

The sums are those of TensorFlow's MultiWorkerMirroredStrategy. It can be set up only in a process that has not computed
yet, and is there until the process ends.
"""

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tensorfleet.operators import Control, PeerLost, Roster


class Ring:
    """The members that sum up together. place, size: of this one among them."""

    def __init__(self, roster: Roster) -> None:
        self.place, self.size = roster.place, len(roster.addresses)
        self._strategy: Any = None
        if self.size > 1:
            self._strategy = _strategy(roster)

    @classmethod
    def met(cls, control: Control) -> "Ring":
        """Meets the others. The port is held until the strategy takes it."""
        with socket.create_server(("", 0)) as held:  # where TensorFlow will listen: everywhere
            roster = control.meet(f"{_host()}:{held.getsockname()[1]}")
        return cls(roster)

    def sum(self, parts: Sequence[Any]) -> list[Any]:
        """The sums of tensors over all members, in one exchange."""
        import tensorflow as tf

        if self._strategy is None:
            return list(parts)
        flat = tf.concat([tf.reshape(tf.cast(part, tf.float32), [-1]) for part in parts], 0)
        total = self._strategy.run(_all_reduced, args=(flat,))
        pieces = tf.split(total, [tf.size(part) for part in parts], num=len(parts))
        return [
            tf.cast(tf.reshape(piece, tf.shape(part)), part.dtype) for piece, part in zip(pieces, parts, strict=True)
        ]


def _all_reduced(flat: Any) -> Any:
    import tensorflow as tf

    here = tf.identity(flat)  # on this replica's device, by which the strategy knows whose it is
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, here)


def _strategy(roster: Roster) -> Any:
    import tensorflow as tf

    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": list(roster.addresses)}, "task": {"type": "worker", "index": roster.place}}
    )
    try:
        ring = tf.distribute.experimental.CommunicationImplementation.RING
        options = tf.distribute.experimental.CommunicationOptions(implementation=ring)
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    finally:
        del os.environ["TF_CONFIG"]


def _host() -> str:
    """Where other members reach this machine, if somebody says so; else the orchestrator knows better than loopback."""
    return os.environ.get("TENSORFLEET_HOST") or "127.0.0.1"


@contextmanager
def peers() -> Iterator[None]:
    """Has the errors of sums that others are missing from end as what they mean."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        raise PeerLost(f"another member of the gang cannot be reached: {str(error.message).splitlines()[0]}") from error
