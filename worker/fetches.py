"""Attempts whose inputs have to be brought before they may go to a slot.

The rule: inputs are asked for in the order of the attempts, a few at a time, and only while the slots' pipes have room
for more than is ready.
"""

from collections import deque

from worker.actions import Action, Fetch
from worker.lanes import DEPTH, Attempt

FETCHES = 16
"""Attempts whose inputs are fetched at a time; as many as there are slots where those are more."""


class Fetches:
    """lacking: those whose inputs are not asked for yet. asked: tokens of those whose inputs are on their way."""

    __slots__ = ("_enough", "_most", "asked", "lacking")

    def __init__(self, slots: int) -> None:
        self.lacking: deque[Attempt] = deque()
        self.asked: set[int] = set()
        self._most = max(FETCHES, slots)
        self._enough = slots * DEPTH

    def ask(self, ready: int, actions: list[Action]) -> None:
        """Has inputs brought, where so many attempts are ready for a slot."""
        while self.lacking and len(self.asked) < self._most and ready < self._enough:
            attempt = self.lacking.popleft()
            self.asked.add(attempt.order.token)
            actions.append(Fetch(attempt.order))
