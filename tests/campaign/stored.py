"""A fleet's object store from behind: which blobs it has, and a bit of one turned over.

The rule: what was damaged here is known here, and is put in order again when a plan is over.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from bson import Binary
from pymongo import MongoClient


class Stored(Protocol):
    """damaged: digests of the blobs that were. Nothing here is asynchronous."""

    damaged: list[str]

    def since(self, moment: float) -> list[str]:
        """Digests of what was put there, or put there again, from a time on; sorted."""
        ...

    def damage(self, digest: str) -> bool:
        """Whether it was there to be damaged."""
        ...

    def restore(self) -> None:
        """Puts back what nobody has mended."""
        ...


class Directory:
    """Blobs that are files, by digest, somewhere below a folder."""

    def __init__(self, root: Path) -> None:
        self.damaged: list[str] = []
        self._root = root
        self._whole: dict[Path, bytes] = {}

    def since(self, moment: float) -> list[str]:
        return sorted(path.name for path in self._files() if path.stat().st_mtime >= moment)

    def damage(self, digest: str) -> bool:
        path = next((path for path in self._files() if path.name == digest), None)
        content = damage(path) if path is not None else None
        if path is None or content is None:
            return False
        self.damaged.append(digest)
        self._whole[path] = content
        return True

    def restore(self) -> None:
        for path, content in self._whole.items():
            if path.exists() and path.read_bytes() != content:
                path.chmod(0o644)
                path.write_bytes(content)
                path.chmod(0o444)
        self.damaged.clear()
        self._whole.clear()

    def _files(self) -> Iterator[Path]:
        return self._root.glob("cas/sha256/??/*")


class GridFS:
    """Blobs in the GridFS of one database."""

    def __init__(self, url: str, database: str) -> None:
        self.damaged: list[str] = []
        self._url, self._database = url, database
        self._whole: dict[str, bytes] = {}

    def since(self, moment: float) -> list[str]:
        late = {"uploadDate": {"$gte": datetime.fromtimestamp(moment, UTC)}}
        with MongoClient[dict[str, Any]](self._url) as client:
            names = [str(file["filename"]) for file in client[self._database]["fs.files"].find(late)]
        return sorted({name.rpartition("/")[2] for name in names if name.startswith("cas/")})

    def damage(self, digest: str) -> bool:
        with MongoClient[dict[str, Any]](self._url) as client:
            database = client[self._database]
            file = database["fs.files"].find_one({"filename": f"cas/sha256/{digest[:2]}/{digest}"})
            chunk = database["fs.chunks"].find_one({"files_id": file["_id"], "n": 0}) if file is not None else None
            if chunk is None:
                return False
            database["fs.chunks"].update_one({"_id": chunk["_id"]}, {"$set": {"data": Binary(turned(chunk["data"]))}})
        self._whole[chunk["_id"]] = bytes(chunk["data"])
        self.damaged.append(digest)
        return True

    def restore(self) -> None:
        with MongoClient[dict[str, Any]](self._url) as client:
            for chunk, content in self._whole.items():  # one whose file was put again has gone, and stays away
                client[self._database]["fs.chunks"].update_one({"_id": chunk}, {"$set": {"data": Binary(content)}})
        self.damaged.clear()
        self._whole.clear()


def turned(content: bytes) -> bytes:
    """The same bytes but for one bit."""
    place = random.Random(len(content)).randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def damage(path: Path) -> bytes | None:
    """Puts a copy with one other bit in a file's place; the bytes that were there. None where it has gone, or where
    there is no room for a copy.

    In its place, not into it: bytes that change under a task that has them mapped are no disk's doing.
    """
    try:
        content, mode = path.read_bytes(), path.stat().st_mode
    except FileNotFoundError:
        return None
    damaged = path.with_name(f"{path.name}.damaged")
    try:
        damaged.write_bytes(turned(content))
        damaged.chmod(mode)
        damaged.replace(path)
    except OSError:
        damaged.unlink(missing_ok=True)
        return None
    return content
