"""A dataset's manifest: what its blocks are, what its columns hold, and which one is predicted.

The rule: canonical JSON of the content alone. Equal rows read from equal formats have the same manifest, so its SHA-256
names the dataset; there is no path, no time and no host in it.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from tensorfleet.errors import CorruptArtifact

VERSION = 1


class Block(Struct, frozen=True):
    """A row range: the SHA-256 of its file, its rows, and the file's bytes."""

    digest: str
    rows: int
    size: int


class Manifest(Struct, frozen=True):
    """columns: as `profile.py` makes them. target: the default one. format: what was read, such as `csv`."""

    rows: int
    columns: list[dict[str, Any]]
    blocks: tuple[Block, ...]
    target: str
    format: str

    @property
    def names(self) -> list[str]:
        return [column["name"] for column in self.columns]

    @property
    def size(self) -> int:
        return sum(block.size for block in self.blocks)


def encode(manifest: Manifest) -> bytes:
    """The manifest's bytes; ValueError where a number in it is not finite."""
    tree = {
        "version": VERSION,
        "rows": manifest.rows,
        "columns": manifest.columns,
        "blocks": [{"digest": block.digest, "rows": block.rows, "size": block.size} for block in manifest.blocks],
        "target": manifest.target,
        "format": manifest.format,
    }
    return json.dumps(tree, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def decode(data: bytes) -> Manifest:
    """The manifest of its bytes; CorruptArtifact where they are none, or of another version."""
    try:
        tree = json.loads(data)
        version = tree["version"]
        blocks = tuple(Block(block["digest"], block["rows"], block["size"]) for block in tree["blocks"])
        manifest = Manifest(tree["rows"], tree["columns"], blocks, tree["target"], tree["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptArtifact(f"not a dataset's manifest: {error}") from error
    if version != VERSION:
        raise CorruptArtifact(f"a dataset's manifest of version {version}; this release reads version {VERSION}")
    return manifest


def load(path: Path) -> Manifest:
    return decode(path.read_bytes())


def digest(data: bytes) -> str:
    """The dataset's digest: the SHA-256 of its manifest's bytes."""
    return hashlib.sha256(data).hexdigest()


def short_columns(columns: Sequence[dict[str, Any]], limit: int, keep: str = "") -> list[dict[str, Any]]:
    """The columns in at most `limit` bytes of JSON, for a summary.

    Wide tables lose their frequent values first (but those of the column `keep`), then all but names and types, then
    the last columns.
    """
    without = [{**column, "values": column["values"] if column["name"] == keep else []} for column in columns]
    bare = [{"name": column["name"], "type": column["type"]} for column in columns]
    for attempt in (list(columns), without, bare):
        if _length(attempt) <= limit:
            return attempt
    while bare and _length(bare) > limit:
        bare = bare[: len(bare) * 3 // 4]
    return bare


def _length(columns: list[dict[str, Any]]) -> int:
    return len(json.dumps(columns, ensure_ascii=False).encode())
