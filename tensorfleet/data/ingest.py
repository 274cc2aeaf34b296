"""Operator `data.ingest@1`: reads a source into blocks and a manifest.

The rule: what comes out depends on the source's rows, its format and the target alone. Blocks are written as they are
made, so that of images there is never more than one in memory.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tensorfleet.data import blocks, generated, manifest, profile, sources, typed
from tensorfleet.data.manifest import Block
from tensorfleet.data.sources import Source, SourceKind
from tensorfleet.errors import BadInput
from tensorfleet.model import Ref
from tensorfleet.operators import Context, Outcome, Output, Written

if TYPE_CHECKING:
    from tensorfleet.data.images import Images

MAX_SUMMARY = 60 * 1024
"""Bytes of a summary's columns, at most; the rest of a summary is small."""

ARRAYS, ARCHIVE = ("npz", "npy"), "zip"


def ingest(context: Context) -> Outcome:
    """params: {"source", "target"}; inputs: [] or [the upload]; outputs: [manifest, block, …].

    summary: {"rows", "blocks", "size", "target", "columns", "digest"}. BadInput where the source cannot be read.
    """
    source = sources.parse(str(context.params["source"]))
    read, form = _read(source, context)
    if isinstance(read, pa.Table):
        columns, cut = profile.profile(read), blocks.cut(read)
        target = _target(read.column_names, context)
        kept = list(_kept(cut, context.folder))
    else:
        from tensorfleet.data import images

        target = _target([sources.IMAGE, sources.LABEL], context)
        figures = profile.OfImages(read.shape)
        kept = list(_kept(figures.watched(images.blocks(read)), context.folder))
        columns = figures.columns()
    described = manifest.Manifest(
        rows=sum(block.rows for block, _ in kept),
        columns=columns,
        blocks=tuple(block for block, _ in kept),
        target=target,
        format=form,
    )
    data = manifest.encode(described)
    return Outcome([[data], *(output for _, output in kept)], _summary(described, manifest.digest(data)))


def _read(source: Source, context: Context) -> "tuple[pa.Table | Images, str]":
    """The rows of a table, or images that are yet to be read, and the format."""
    if source.kind is SourceKind.SYNTHETIC and source.name == "images":
        from tensorfleet.data import generated_images

        return generated_images.images(source.params), source.kind.value
    if source.kind in (SourceKind.BUILTIN, SourceKind.SYNTHETIC):
        return typed.typed(generated.table(source), source.name), source.kind.value
    if source.kind is SourceKind.FILE:
        return _file(Path(source.path), source)
    if not context.inputs:
        raise BadInput(f"{source.name}: its bytes did not come with the request", reason="FILE_MISSING")
    return _file(context.inputs[0].path, source)


def _file(path: Path, source: Source) -> "tuple[pa.Table | Images, str]":
    form = (sources.file_format(source.name) or ("", False))[0]
    if source.name.endswith("/") or form in (*ARRAYS, ARCHIVE):
        return _images(path, form, source)
    if source.params:
        raise BadInput(f"{source.name}: {sources.TABLE_OPTIONS}", reason="TABLE_OPTIONS")
    from tensorfleet.data import reading  # Arrow's readers take their time to import, and built-ins need none

    return reading.read(str(path), source.name)


def _images(path: Path, form: str, source: Source) -> "tuple[pa.Table | Images, str]":
    from tensorfleet.data import arrays, folders
    from tensorfleet.data.image_files import Wanted

    asked = {name: int(value) for name, value in source.params.items()}
    labelled = bool(asked.pop(sources.LABELS, 1))
    wanted = Wanted(**asked)
    if form in ARRAYS:
        return arrays.read(path, source.name, wanted, labelled), form
    read = folders.of_archive if form == ARCHIVE else folders.of_folder
    return read(path, source.name, wanted, labelled), folders.FORMAT


def _target(names: list[str], context: Context) -> str:
    return sources.find_target(names, str(context.params.get("target") or ""))


def _kept(tables: Iterator[pa.Table], folder: str | None) -> Iterator[tuple[Block, Output | Written]]:
    """Each block as it is made: in the folder, or in memory where there is none."""
    for index, table in enumerate(tables):
        if folder is None:
            data = blocks.encoded(table)
            yield Block(hashlib.sha256(data).hexdigest(), table.num_rows, len(data)), [data]
            continue
        path = Path(folder) / f"block-{index}"
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks.write(table, str(path))
        with path.open("rb") as file:
            ref = Ref(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)
        yield Block(ref.digest, table.num_rows, ref.size), Written(ref, path)


def _summary(described: manifest.Manifest, digest: str) -> dict[str, Any]:
    return {
        "rows": described.rows,
        "blocks": len(described.blocks),
        "size": described.size,
        "target": described.target,
        "columns": manifest.short_columns(described.columns, MAX_SUMMARY, described.target),
        "digest": digest,
    }
