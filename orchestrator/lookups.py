"""What the core asks the stores: known results of tasks, and whether blobs are whole. Each answer is an event.

The rule: a result is known only while its blobs are there, unless whoever made them needed them no more: then it is
known to those who may need them as little, and find out if they do.
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
                known, let_go = await self._known(set(command.keys.values()), command.let_go)
            except (Unavailable, FailedPrecondition):  # a store is away, or takes nothing until somebody sees to it
                known, let_go = {}, set()  # so everything is computed: slower, and as right
            results = {index: known[key] for index, key in command.keys.items() if key in known}
            gone = frozenset(index for index in results if command.keys[index] in let_go)
            self._answer(KnownResults(command.job, command.stage, command.upto, results, command.keys, gone))

    async def _known(self, keys: set[str], gone_too: bool) -> tuple[dict[str, TaskResult], set[str]]:
        """The results that are there, and the keys of those that count although their outputs were let go."""
        documents = await self._documents.get("results", keys)
        known = {key: msgspec.convert(document, TaskResult) for key, document in documents.items()}
        let_go = {key for key, document in documents.items() if gone_too and document.get("let_go")}
        if self._objects is None:
            return known, let_go
        asked = (ref for key, result in known.items() if key not in let_go for ref in result.outputs)
        there = await present(self._objects, asked)
        kept = {key: result for key, result in known.items() if key in let_go or there.issuperset(result.outputs)}
        return kept, let_go

    async def inspect(self, command: Inspect) -> None:
        if self._inspection is None:
            return
        try:
            lost = await self._inspection.lost(command.refs)
        except (Unavailable, FailedPrecondition) as error:  # the attempt that asks is made again, and asks again
            log.warning("inputs could not be looked at", job=command.job, error=error.message)
        else:
            self._answer(Inspected(command.job, tuple(lost)))
