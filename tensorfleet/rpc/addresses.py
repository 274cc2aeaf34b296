"""Where to call: the orchestrator that leads, among those whose addresses are known.

The rule: what one that does not lead tells of the leader is believed once; then the listed ones are asked in turn, and
there is a pause whenever nobody is left to ask.
"""

from collections.abc import Sequence

from tensorfleet.errors import NotLeader, TensorFleetError


class Addresses:
    """listed: `host:port` each. `current` is the one to call."""

    def __init__(self, listed: Sequence[str]) -> None:
        self._listed = tuple(listed)
        self._turn = 0
        self._asked: set[str] = set()
        self.current = self._listed[0]

    def __len__(self) -> int:
        return len(self._listed)

    def served(self) -> None:
        """The current one leads."""
        self._asked.clear()

    def failed(self, address: str, failure: TensorFleetError) -> bool:
        """One did not serve: the next is chosen. True where a pause comes first, since all have been asked.

        Of many calls that fail at one address, the first chooses for all.
        """
        if address != self.current:
            return False
        self._asked.add(address)
        told = failure.leader if isinstance(failure, NotLeader) else ""
        if told and told not in self._asked:
            self._turn = self._listed.index(told) if told in self._listed else self._turn
            self.current = told
            return False
        pause = self._asked.issuperset(self._listed)
        if pause:
            self._asked.clear()
        while True:
            self._turn = (self._turn + 1) % len(self._listed)
            if self._listed[self._turn] not in self._asked:
                self.current = self._listed[self._turn]
                return pause


def split(addresses: str) -> tuple[str, ...]:
    """The addresses of `host:port`, or of several joined by commas."""
    return tuple(part.strip() for part in addresses.split(","))
