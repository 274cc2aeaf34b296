"""A registry of models in memory, for tests of what is asked of one."""

import msgspec

from orchestrator.documents import ModelDocument
from tensorfleet.model import ModelContent, Ref
from tensorfleet.stores.contract import Entry, Write
from tensorfleet.testing.simulated.documents import Database, MemoryDocuments


async def registered(
    framework: str, algorithm: str, parts: tuple[Ref, ...] = (), classes: tuple[str, ...] = ()
) -> MemoryDocuments:
    """With one model, `m`."""
    documents = MemoryDocuments(Database())
    await documents.open()
    content = ModelContent(sha256="a", parts=parts, features=(), target="", classes=classes, framework=framework)
    model = ModelDocument(
        name="m",
        version="v1",
        display_name="",
        algorithm=algorithm,
        hyperparameters={},
        metrics={},
        missing_metrics={},
        content=content,
        dataset="",
        job_id="",
        submitter="",
        created_at=1.0,
    )
    await documents.commit(Entry(1, 1, "a", b""), [Write("models", "m@v1", msgspec.to_builtins(model))])
    return documents
