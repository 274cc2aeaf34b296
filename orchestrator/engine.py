"""The single writer: takes events in, decides, commits once for many, and only then speaks.

The rule: nothing that was decided leaves the process before the commit that holds it. Deciding goes on while a commit
runs; what it decides goes into the next one. One commit is in flight.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from orchestrator.core import records as r
from orchestrator.core.apply import apply
from orchestrator.core.commands import Inspect, LookUp, ToWorker
from orchestrator.core.decide import step
from orchestrator.core.decision import Decision
from orchestrator.core.entries import decode, encode, entry_of
from orchestrator.core.events import Advance, Event, Tick
from orchestrator.core.snapshot import capture, restore
from orchestrator.core.state import Now, Settings, State
from orchestrator.core.timers import next_tick
from orchestrator.drawing import Drawing, draw
from orchestrator.ends import Ends
from orchestrator.groups import Group, Page
from orchestrator.lookups import Lookups
from orchestrator.underway import Underway
from orchestrator.watch import BEGINNING, Cursor, EventFeed, Watch
from tensorfleet.errors import Deposed, ResourceExhausted, TensorFleetError, Unavailable
from tensorfleet.logs import Logger
from tensorfleet.stores.contract import DocumentStore, Entry, ObjectStore

log = Logger(__name__)

BACKLOG = 40_000
"""Records, commands and replies that wait for a commit, past which callers are told to come back and workers' streams
are not read."""

SNAPSHOT_BYTES = 4 * 1024 * 1024
"""Journaled bytes between snapshots, at least; as many as the last snapshot took, where that is more. So snapshots cost
a share of what is journaled whatever the state's size, and a restart reads little more than a snapshot."""

ENTRY_BYTES = 1024
"""What an entry counts for beside its records."""

RETRY_COMMIT_SECONDS = 0.5
TERM_ENDED = "the orchestrator's term has ended; try again"

TICKS_APART = 0.01
"""Seconds from a turn to the next tick, at least: what is due soon after one another is done together."""


def now() -> Now:
    """Both clocks of this machine."""
    return Now(time.monotonic(), time.time())


class Engine:
    """Owns the state. `to_worker` is called with what is to be said in sessions, after the commit.

    clock: tells the time; its monotonic half goes on as the event loop's own does. objects: where the blobs of known
    results must be for these to be reused; None takes them to be there.
    """

    def __init__(
        self,
        documents: DocumentStore,
        writer: str,
        settings: Settings,
        clock: Callable[[], Now] = now,
        objects: ObjectStore | None = None,
    ) -> None:
        self.state = State(settings=settings)
        self.underway = Underway(lambda: clock().wall)
        self._feed_of_events = EventFeed(documents)
        self.to_worker: Callable[[ToWorker], None] = lambda command: None
        self.failed: asyncio.Future[None] | None = None
        self._documents = documents
        self._lookups = Lookups(documents, objects, self.underway, self.feed)
        self._writer = writer
        self._clock = clock
        self._number = 0
        self._journaled = 0  # bytes since the last snapshot
        self._imaged = 0  # bytes of that
        self._inbox: list[Event] = []
        self._group = Group()
        self._tickets: dict[int, asyncio.Future[Any]] = {}
        self._ticket = 0
        self._turn_scheduled = False
        self._committing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._alarm = math.inf
        self._room = asyncio.Event()
        self._room.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._away = False
        self._ended = False

    @property
    def number(self) -> int:
        """The last journal entry that is durable."""
        return self._number

    async def start(self) -> None:
        """Reads the state back and begins a new term. Unavailable."""
        self.failed = asyncio.get_running_loop().create_future()
        # A deposed leader may still write, and compact, until there is an entry of this term.
        while not (await self._recover() and await self._begin()):
            log.warning("the journal went on while it was read: reading it again")
        self.feed(Tick(), *(Advance(job) for job in self.state.active))

    async def _recover(self) -> bool:
        """Reads the journal to its end; False where entries went meanwhile into a newer snapshot."""
        self.state, self._number, self._journaled = State(settings=self.state.settings), 0, 0
        snapshot = await self._documents.snapshot()
        if snapshot is not None:
            self._number, self._imaged = snapshot[0], len(snapshot[1])
            self.state = restore(snapshot[1], self.state.settings, self._clock().mono)
        projected = await self._documents.projected()
        while entries := await self._documents.read(self._number):
            for entry in entries:
                if entry.number != self._number + 1:
                    return False
                await self._read_back(entry, projected)
        return True

    async def _begin(self) -> bool:
        """Writes the first entry of this term; False where another took its number."""
        began = r.TermBegan(self.state.term + 1, self._writer, self._clock().wall)
        entry = Entry(self._number + 1, began.term, self._writer, encode([began]))
        try:
            await self._documents.commit(entry, [])
        except Deposed:
            return False
        self._number = entry.number
        self._feed_of_events.spoken = entry.number
        apply(self.state, began, self._clock().mono)
        log.info("term began", term=began.term, entry=self._number, jobs=len(self.state.active))
        return True

    async def _read_back(self, entry: Entry, projected: int) -> None:
        records, drawing = decode(entry.records), Drawing()
        for record in records:
            apply(self.state, record, self._clock().mono)
            if entry.number > projected:
                draw(drawing, self.state, [record])
        drawing.finish(self.state)
        if entry.number > projected:
            await self._documents.project(entry.number, drawing.writes(entry.number))
        self._number = entry.number
        self._journaled += ENTRY_BYTES + len(entry.records)

    def watch(self, job: str, after: Cursor = BEGINNING, *, new: bool = False) -> Watch:
        """A job's durable events after a cursor, to its end; close it. new: the job has not been fed yet."""
        return Watch(self._feed_of_events, job, after, new=new)

    def ends(self, jobs: Iterable[str]) -> Ends:
        """The ends of jobs, each once it is durable; close it."""
        return Ends(self._feed_of_events, jobs, self.state.active)

    @property
    def watched(self) -> set[str]:
        """The jobs that somebody watches."""
        return self._feed_of_events.watched

    def feed(self, *events: Event) -> None:
        """Takes events in; they are decided together, before the loop's next turn of I/O."""
        if not events:
            return
        self._inbox.extend(events)
        if not self._turn_scheduled:
            self._turn_scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    async def ask(self, make: Callable[[int], Event]) -> Any:
        """Feeds the event that `make` builds for a ticket, and waits for the answer, which is durable.

        Raises the error it was answered with; ResourceExhausted or Unavailable where the store does not keep up.
        """
        if self._ended:
            raise Unavailable(TERM_ENDED)
        if self._away:
            raise Unavailable("the document store is away: nothing can be made durable; try again in a second")
        if not self._room.is_set():
            raise ResourceExhausted("too much is waiting to be made durable; try again in a second", retry_after=1.0)
        self._ticket += 1
        ticket = self._ticket
        future = self._tickets[ticket] = asyncio.get_running_loop().create_future()
        self.feed(make(ticket))
        try:
            return await future
        finally:
            self._tickets.pop(ticket, None)

    async def room(self) -> None:
        """Waits while too much waits to be durable."""
        await self._room.wait()

    def _turn(self) -> None:
        """Decides what came in, and closes the group unless a commit runs."""
        self._turn_scheduled = False
        if self._ended:
            return
        batch, self._inbox = self._inbox, []
        try:
            self._decide(batch)
        except Exception as error:
            self._end(error)
            return
        self._close_group()
        self._arm()

    def _decide(self, batch: list[Event]) -> None:
        group = self._group

        def seen(event: Event, decision: Decision) -> None:
            if decision.reason:
                log.debug("decided", event_type=type(event).__name__, reason=decision.reason)

        done = step(self.state, batch, self._clock(), seen, lambda record: group.keep(record, self.state))
        group.commands.extend(done.commands)
        group.replies.extend(done.replies)
        if len(group) > BACKLOG:
            self._room.clear()

    def _close_group(self) -> None:
        if self._group and self._committing is None and not self._ended:
            self._committing = asyncio.get_running_loop().create_task(self._commit())

    async def _commit(self) -> None:
        """Commits group after group, until nothing waits."""
        try:
            while self._group:
                group, self._group = self._group, Group()
                pages = group.close(self.state)
                self._room.set()
                # The state is now that of this group's last entry, as it is at no other time while there is work.
                image = capture(self.state) if self._journaled >= max(SNAPSHOT_BYTES, self._imaged) else None
                for page in pages:
                    await self._make_durable(page)
                self._speak(group)
                if image is not None:
                    await self._save(image)
        except Exception as error:
            self._end(error)
        finally:
            self._committing = None
            self._close_group()

    async def _make_durable(self, page: Page) -> None:
        number, records = self._number + 1, entry_of(page.records)
        entry = Entry(number, self.state.term, self._writer, records)
        writes = page.drawing.writes(number)
        while True:
            try:
                await self._documents.commit(entry, writes)
                break
            except Unavailable as error:
                # Whether it is there is not known: the same bytes are committed again.
                self._away = True
                log.warning("the commit did not go through; trying again", error=error.message, entry=number)
                await asyncio.sleep(RETRY_COMMIT_SECONDS)
        self._away = False
        self._number = page.number = number
        self._journaled += ENTRY_BYTES + len(records)

    def _speak(self, group: Group) -> None:
        for answer in group.replies:
            future = self._tickets.get(answer.ticket)
            if future is None or future.done():
                continue
            if isinstance(answer.value, TensorFleetError):
                future.set_exception(answer.value)
            else:
                future.set_result(answer.value)
        for command in group.commands:
            if isinstance(command, LookUp):
                self._keep(self._lookups.look_up(command))
            elif isinstance(command, Inspect):
                self._keep(self._lookups.inspect(command))
            elif isinstance(command, ToWorker):
                self.to_worker(command)
        for page in group.pages:
            self._feed_of_events.announce(page.number, page.drawing, page.size)

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _save(self, image: bytes) -> None:
        """Keeps the state as it was after the last entry."""
        self._journaled, self._imaged = 0, len(image)
        try:
            await self._documents.save_snapshot(self._number, image)
        except Unavailable as error:  # the journal has it all; the next one may fare better
            log.warning("no snapshot", error=error.message, entry=self._number)
        else:
            log.info("snapshot", entry=self._number, size=len(image))

    def _arm(self) -> None:
        """Sees to it that the one timer fires in time; where it fires too early, it is set anew then."""
        due = next_tick(self.state)
        if due is None or due >= self._alarm:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._alarm = due
        # Never at once: what is due now was looked at in this turn.
        self._ring_in(max(due - self._clock().mono, TICKS_APART))

    def _ring_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        due = next_tick(self.state)
        if self._away:
            self._ring_in(RETRY_COMMIT_SECONDS)  # nobody is given up meanwhile: that could not be told
        elif due is not None and due <= self._clock().mono:
            self._alarm = math.inf
            self.feed(Tick())
        else:
            self._alarm = math.inf
            self._arm()

    def _end(self, error: Exception) -> None:
        """Ends the term: what was decided and not committed never happened."""
        if isinstance(error, Deposed):
            log.error("deposed: another orchestrator owns the journal", error=str(error))
        else:
            log.error("the engine failed", error=repr(error), exc_info=error)
        self.abandon()
        if self.failed is not None and not self.failed.done():
            self.failed.set_exception(error)

    def abandon(self) -> None:
        """Decides nothing more, and makes nothing durable that is not being committed."""
        self._ended = True
        for future in self._tickets.values():
            if not future.done():
                future.set_exception(Unavailable(TERM_ENDED))

    async def stop(self) -> None:
        """Waits for what is being committed, unless the term is over or the store away; nothing new is taken in."""
        if self._timer is not None:
            self._timer.cancel()
        while self._committing is not None:
            if self._ended or self._away:
                self._committing.cancel()
            await asyncio.wait([self._committing])
        self.abandon()
        for task in self._tasks:
            task.cancel()
