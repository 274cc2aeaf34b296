"""A blob's file while its bytes come.

The rule: it is hashed as it is written, and nothing of it is used before `check` has found it whole.
"""

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorfleet.errors import CorruptArtifact
from tensorfleet.model import Ref


class Draft:
    """Open within a `with`."""

    def __init__(self, path: Path, ref: Ref) -> None:
        self._ref = ref
        self._file = path.open("wb", buffering=0)
        self._seen = hashlib.sha256()
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, chunk: bytes | memoryview) -> None:
        """The bytes that come next. CorruptArtifact where they are more than the blob has."""
        self._size += len(chunk)
        if self._size > self._ref.size:
            raise self._damaged()
        self._seen.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]

    def check(self) -> None:
        """CorruptArtifact where the bytes that came are not the blob's own."""
        if self._size != self._ref.size or self._seen.hexdigest() != self._ref.digest:
            raise self._damaged()

    def _damaged(self) -> CorruptArtifact:
        return CorruptArtifact(f"the bytes that came as {self._ref.digest} are not its own")
