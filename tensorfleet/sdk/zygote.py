"""The process that the slots of all workers of a fleet on this machine are forked from.

The rule: numerics are loaded once a machine and not once a worker, which is half of a small fleet's memory and of the
processors' time of its start. A worker whose zygote is gone goes on with one of its own.
"""

import socket
from pathlib import Path

from tensorfleet.sdk.processes import Child


class SharedZygote:
    """It runs from its creation on; `way_in` is asked for each worker that is started. preload: load the numerics at
    once, since they are needed soon."""

    def __init__(self, logs: Path, *, preload: bool = False) -> None:
        self._ours, theirs = _pair()
        with theirs:
            descriptor = theirs.fileno()
            flags = ["--fleet", str(descriptor), *(["--preload"] if preload else [])]
            self._child = Child("zygote", "worker.zygote", flags, logs, descriptors=[descriptor])

    def way_in(self) -> socket.socket | None:
        """A new worker's socket to it; None where it is gone."""
        near, far = _pair()
        with far:
            try:
                socket.send_fds(self._ours, [b"+"], [far.fileno()])
            except OSError:
                near.close()
                return None
        return near

    async def stop(self, grace: float) -> None:
        """It ends by itself once its workers are gone; after `grace` seconds it is killed."""
        self._ours.close()
        await self._child.stop(grace)

    def kill(self) -> None:
        self._ours.close()
        self._child.kill()


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
