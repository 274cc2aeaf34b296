"""What the core asks the stores: known results of tasks, and whether blobs are whole. Each answer is an event.

The rule: a result is known only while its blobs are there.
"""

from collections.abc import Callable

import msgspec

from orchestrator.core.commands import Inspect, LookUp
from orchestrator.core.events import Event, Inspected, KnownResults
from orchestrator.inspection import Inspection
from orchestrator.underway import Underway
from tensorfleet.errors import FailedPrecondition, Unavailable
from tensorfleet.logs import Logger
from tensorfleet.model import TaskResult
from tensorfleet.stores.contract import DocumentStore, ObjectStore
from tensorfleet.stores.presence import present

log = Logger(__name__)


class Lookups:
    """Looks things up. objects: None where there are no blobs to look at: then they are taken to be there."""

    def __init__(
        self,
        documents: DocumentStore,
        objects: ObjectStore | None,
        underway: Underway,
        answer: Callable[[Event], None],
    ) -> None:
        self._documents = documents
        self._objects = objects
        self._inspection = None if objects is None else Inspection(objects)
        self._underway = underway
        self._answer = answer

    async def look_up(self, command: LookUp) -> None:
        with self._underway.naming():  # a collector waits until what is found here is named by a record, or is not
            try:
                known = await self._known(set(command.keys.values()))
            except (Unavailable, FailedPrecondition):  # a store is away, or takes nothing until somebody sees to it
                known = {}  # so everything is computed: slower, and as right
            results = {index: known[key] for index, key in command.keys.items() if key in known}
            self._answer(KnownResults(command.job, command.stage, command.upto, results, command.keys))

    async def _known(self, keys: set[str]) -> dict[str, TaskResult]:
        documents = await self._documents.get("results", keys)
        known = {key: msgspec.convert(document, TaskResult) for key, document in documents.items()}
        if self._objects is None:
            return known
        there = await present(self._objects, (ref for result in known.values() for ref in result.outputs))
        return {key: result for key, result in known.items() if there.issuperset(result.outputs)}

    async def inspect(self, command: Inspect) -> None:
        if self._inspection is None:
            return
        try:
            lost = await self._inspection.lost(command.refs)
        except (Unavailable, FailedPrecondition) as error:  # the attempt that asks is made again, and asks again
            log.warning("inputs could not be looked at", job=command.job, error=error.message)
        else:
            self._answer(Inspected(command.job, tuple(lost)))
