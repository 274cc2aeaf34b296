"""The simulation's documents as a backend of URLs: what a URL names is there until the test ends."""

from tensorfleet.testing.simulated.documents import Database, MemoryDocuments

KEPT: dict[str, Database] = {}


def from_url(url: str) -> MemoryDocuments:
    return MemoryDocuments(KEPT.setdefault(url, Database()), torn=lambda: url.endswith("torn"))
