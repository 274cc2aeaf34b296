"""Operator `data.ingest@1`: reads a source into blocks and a manifest.

The rule: what comes out depends on the source's rows, its format and the target alone.
"""

from typing import Any

import pyarrow as pa

from tensorfleet.data import blocks, generated, manifest, profile, sources, typed
from tensorfleet.data.sources import Source, SourceKind
from tensorfleet.errors import BadInput
from tensorfleet.operators import Context, Outcome, Output

MAX_SUMMARY = 60 * 1024
"""Bytes of a summary's columns, at most; the rest of a summary is small."""


def ingest(context: Context) -> Outcome:
    """params: {"source", "target"}; inputs: [] or [the upload]; outputs: [manifest, block, …].

    summary: {"rows", "blocks", "size", "target", "columns", "digest"}. BadInput where the source cannot be read.
    """
    source = sources.parse(str(context.params["source"]))
    table, form = _table(source, context)
    target = sources.find_target(table.column_names, str(context.params.get("target") or ""))
    written = list(blocks.encode(table))
    described = manifest.Manifest(
        rows=table.num_rows,
        columns=profile.profile(table),
        blocks=tuple(manifest.Block(ref.digest, rows, ref.size) for ref, rows, _ in written),
        target=target,
        format=form,
    )
    data = manifest.encode(described)
    outputs: list[Output] = [[data], *([content] for _, _, content in written)]
    return Outcome(outputs, _summary(described, manifest.digest(data)))


def _table(source: Source, context: Context) -> tuple[pa.Table, str]:
    if source.kind in (SourceKind.BUILTIN, SourceKind.SYNTHETIC):
        return typed.typed(generated.table(source), source.name), source.kind.value
    from tensorfleet.data import reading  # Arrow's readers take their time to import, and built-ins need none

    if source.kind is SourceKind.FILE:
        return reading.read(source.path, source.name)
    if not context.inputs:
        raise BadInput(f"{source.name}: its bytes did not come with the request", reason="FILE_MISSING")
    return reading.read(str(context.inputs[0].path), source.name)


def _summary(described: manifest.Manifest, digest: str) -> dict[str, Any]:
    return {
        "rows": described.rows,
        "blocks": len(described.blocks),
        "size": described.size,
        "target": described.target,
        "columns": manifest.short_columns(described.columns, MAX_SUMMARY, described.target),
        "digest": digest,
    }
