"""The tasks that keep a fleet's programs running, one for each.

The rule: a keeper ends where its program is needed no more, and raises where it gives up on it: that breaks the fleet.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

LIVES = 4
"""How often in a row a program may die young before its keeper gives up on it."""
OLD = 5.0
"""Seconds after which a life was no young death."""


class Keepers:
    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._broke = asyncio.Event()

    def begin(self, name: str, keeper: Coroutine[Any, Any, None]) -> None:
        """Runs a keeper, in the place of the one that has its name."""
        if name in self._tasks:
            self._tasks[name].cancel()
        self._tasks[name] = task = asyncio.create_task(keeper)
        task.add_done_callback(lambda task: None if task.cancelled() or not task.exception() else self._broke.set())

    def dismiss(self, name: str) -> None:
        self._tasks.pop(name).cancel()

    async def stop(self) -> None:
        """Ends all of them, and nothing that they keep."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def until(self, event: asyncio.Event, name: str) -> None:
        """Waits for what one of them brings about. Raises where any has given up."""
        waiting = asyncio.create_task(event.wait())
        try:
            await asyncio.wait([waiting, self._tasks[name]], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raises why one of them gave up, where one has."""
        for task in self._tasks.values():
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    async def broken(self) -> None:
        """Waits until one of them gives up, and raises why."""
        await self._broke.wait()
        self.raise_failure()
