"""Who leads: the lease in the document store, taken, renewed, watched and let go of.

The rule: a leader stops believing in its lease before anyone else may take it. Each counts on a clock of its own: the
leader from before it renewed, whoever waits from after it saw that.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from tensorfleet.errors import Deposed, FailedPrecondition, NotLeader, Unavailable
from tensorfleet.logs import Logger
from tensorfleet.stores.contract import DocumentStore, Lease

log = Logger(__name__)

BELIEVED = 0.9
"""The part of a lease that its holder believes in: clocks differ, and a word takes time to leave a machine."""
RENEWALS = 3
"""Renewals in the time of one lease."""
LOOKS = 10
"""Looks at another's lease in the time of one."""
LONGEST_PAUSE = 0.5
ANSWER_SECONDS = 5.0
"""How long the store may take to tell who leads."""
FAREWELL_SECONDS = 2.0


def clock() -> float:
    """Seconds that pass also while the machine sleeps, which Python's monotonic clock leaves out."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Tenure(Struct, frozen=True):
    """A lease of one's own. since: when the renewal began that made it."""

    lease: Lease
    since: float

    def holds(self, now: float) -> bool:
        return now < self.since + BELIEVED * self.lease.seconds

    @property
    def renewal(self) -> float:
        """When to renew it."""
        return self.since + self.lease.seconds / RENEWALS


class Vigil:
    """Watches the lease of others, look by look. moved: it was renewed meanwhile, so its holder is alive."""

    def __init__(self, holder: str) -> None:
        self._holder = holder
        self._seen: Lease | None = None
        self._since = 0.0
        self.moved = False

    def over(self, lease: Lease | None, now: float) -> bool:
        """Whether the lease may be taken. now: read after the lease was."""
        if lease is None or not lease.holder or lease.holder == self._holder:
            return True  # nobody's, or one's own from an earlier life, which the home's lock shows to be over
        if lease != self._seen:
            self.moved = self._seen is not None
            self._seen, self._since = lease, now
        return now - self._since >= lease.seconds

    def blind(self) -> None:
        """Nothing could be seen, so nobody could renew either: the time begins anew."""
        self._seen = None


class Led(FailedPrecondition):
    """Another orchestrator leads on these documents."""

    reason = "LED_BY_ANOTHER"


class Leadership(Protocol):
    """How an orchestrator comes to lead, and how it knows that it does."""

    async def take(self) -> None:
        """Returns once this one leads. Led, Unavailable."""
        ...

    async def keep(self) -> None:
        """Goes on for as long as this one leads. Deposed."""
        ...

    def holds(self) -> bool:
        """Whether this one leads now."""
        ...

    async def held(self) -> None:
        """Waits until this one leads again, where it could not renew its lease for a while."""
        ...

    def refusal(self) -> NotLeader:
        """What to answer while it does not lead."""
        ...

    async def release(self) -> None:
        """Lets whoever waits lead at once."""
        ...


class Alone:
    """Leads from the beginning to the end: the documents are in a home of its own, which nobody else may open."""

    async def take(self) -> None:
        pass

    async def keep(self) -> None:
        await asyncio.Event().wait()

    def holds(self) -> bool:
        return True

    async def held(self) -> None:
        pass

    def refusal(self) -> NotLeader:
        return NotLeader("this orchestrator is starting, or stopping; try again in a second")

    async def release(self) -> None:
        pass


class Leased:
    """Leads while it holds the lease. holder: this orchestrator's name, kept over its lives. address: where it can be
    reached. standby: waits while another leads."""

    def __init__(
        self,
        documents: DocumentStore,
        holder: str,
        address: str,
        seconds: float,
        *,
        standby: bool,
        clock: Callable[[], float] = clock,
    ) -> None:
        self._documents = documents
        self._free = Lease(holder, address, 0, seconds)
        self._standby = standby
        self._clock = clock
        self._tenure: Tenure | None = None
        self._renewed = asyncio.Event()
        self._leader = ""

    async def take(self) -> None:
        self._tenure = None
        vigil = Vigil(self._free.holder)
        while not await self._look(vigil):
            if vigil.moved and not self._standby:
                raise Led(
                    f"the orchestrator at {self._leader} leads on {self._documents.url}: use that one, or start this "
                    "one with --standby, which waits and takes over when that one is gone"
                )
            await asyncio.sleep(min(self._free.seconds / LOOKS, LONGEST_PAUSE))

    async def _look(self, vigil: Vigil) -> bool:
        """Looks at the lease, and takes it where it is free or over."""
        try:
            async with asyncio.timeout(max(self._free.seconds, ANSWER_SECONDS)):
                found = await self._documents.lease()
                self._hear_of(found)
                return vigil.over(found, self._clock()) and await self._take(found)
        except (Unavailable, TimeoutError) as error:
            vigil.blind()
            if not self._standby:
                raise error if isinstance(error, Unavailable) else Unavailable("the documents do not answer") from error
            log.warning("cannot look at the lease; trying again", error=str(error))
            return False

    def _hear_of(self, lease: Lease | None) -> None:
        leader = lease.address if lease is not None and lease.holder not in ("", self._free.holder) else ""
        if leader != self._leader and leader:
            log.info("another orchestrator leads", leader=leader)
        self._leader = leader

    async def _take(self, found: Lease | None) -> bool:
        began = self._clock()
        lease = replace(self._free, beat=found.beat + 1 if found is not None else 1)
        if not await self._documents.take_lease(lease, found):
            return False
        if found is not None and found.holder not in ("", lease.holder):
            log.info("the leader was not heard of for its lease: taking over", leader=found.address)
        self._believe(Tenure(lease, began))
        return True

    def _believe(self, tenure: Tenure) -> None:
        self._tenure, self._leader = tenure, ""
        self._renewed.set()

    async def keep(self) -> None:
        while True:
            assert self._tenure is not None
            await asyncio.sleep(max(0.0, self._tenure.renewal - self._clock()))
            await self._renew(self._tenure)

    async def _renew(self, tenure: Tenure) -> None:
        lease = replace(tenure.lease, beat=tenure.lease.beat + 1)
        first = self._clock()
        while True:
            began = self._clock()
            try:
                async with asyncio.timeout(lease.seconds):
                    if await self._documents.take_lease(lease, tenure.lease):
                        return self._believe(Tenure(lease, began))
                    found = await self._documents.lease()
            except (Unavailable, TimeoutError) as error:
                log.warning("the lease could not be renewed", holds=self.holds(), error=str(error))
                await asyncio.sleep(min(lease.seconds / LOOKS, LONGEST_PAUSE))
                continue
            if found == lease:  # an earlier try took it after all
                return self._believe(Tenure(lease, first))
            self._tenure = None
            self._hear_of(found)
            raise Deposed(f"this orchestrator leads no more: the lease is now {self._leader or 'nobody'}'s")

    def holds(self) -> bool:
        return self._tenure is not None and self._tenure.holds(self._clock())

    async def held(self) -> None:
        while not self.holds():
            self._renewed.clear()
            await self._renewed.wait()

    def refusal(self) -> NotLeader:
        if self._leader:
            return NotLeader(f"this orchestrator stands by; {self._leader} leads", leader=self._leader)
        if self._tenure is not None:
            return NotLeader("this orchestrator leads, but for now cannot renew its lease, or is not ready")
        return NotLeader("no orchestrator leads for the moment")

    async def release(self) -> None:
        self._tenure = None
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                found = await self._documents.lease()
                if found is not None and found.holder == self._free.holder:
                    await self._documents.take_lease(Lease("", "", found.beat + 1, found.seconds), found)
