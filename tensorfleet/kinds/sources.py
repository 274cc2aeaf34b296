"""How plans read a source into blocks: the first stage of a job whose dataset nobody has added.

The rule: reading a file is not pure, so such a task is never reused or twinned; what comes with the package is.
"""

from tensorfleet.model import JobSpec, Ref, Task


def ingest(spec: JobSpec, source: str, upload: Ref | None = None) -> Task:
    """The task that reads a source, or an upload, into a manifest and its blocks."""
    return Task(
        operator="data.ingest@1",
        params={"source": source, "target": spec.target},
        inputs=() if upload is None else (upload,),
        threads=spec.resources.cpus,
        pure=not source.startswith("file:"),
    )
