"""The simulation's stores as backends of URLs, for the contract suites: what a URL names is there until the test ends."""

from tensorfleet.testing.simulated.documents import Database, MemoryDocuments

KEPT: dict[str, Database] = {}


def from_url(url: str) -> MemoryDocuments:
    return MemoryDocuments(KEPT.setdefault(url, Database()), stepwise=url.endswith("stepwise"))
