"""A network as bytes and back: the `.keras` file that the registry keeps, and the SavedModel made of it.

The rule: equal networks have equal bytes, whichever process wrote them and whatever it had built before. So a file has
fixed times and no date, objects that layers share are numbered as they come and not by where they lay in memory, and
what layers draw random numbers from is zero. Nothing in a file is code: it is read in Keras' safe mode.
"""

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorfleet import bundle
from tensorfleet.errors import CorruptArtifact

BESIDE = "tensorfleet.json"
"""What a file holds beside the network, which Keras passes over: how raw rows become what the network takes."""

_BEGINNING = (1980, 1, 1, 0, 0, 0)


def digest(weights: Sequence[Any]) -> str:
    """The SHA-256 of arrays: their types, shapes and values, in order."""
    found = hashlib.sha256()
    for buffer in bundle.encode(list(weights)):
        found.update(buffer)
    return found.hexdigest()


def keras_file(model: Any, beside: Mapping[str, Any]) -> bytes:
    """A network that was never compiled as a `.keras` file. Its random states are zero after that."""
    _still(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        with zipfile.ZipFile(path) as written:
            entries = {name: written.read(name) for name in written.namelist()}
    metadata = json.loads(entries["metadata.json"])
    entries["metadata.json"] = _json({"keras_version": metadata["keras_version"]})
    entries["config.json"] = _json(_renumbered(json.loads(entries["config.json"]), {}))
    entries[BESIDE] = _json(beside)
    return zipped(entries.items())


def read(content: Any) -> Any:
    """The network of a `.keras` file's bytes. CorruptArtifact where they are none, or hold code."""
    import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            raise CorruptArtifact(f"not a network that this release can read: {_first_line(error)}") from error


def beside(content: Any) -> dict[str, Any]:
    """What a `.keras` file of ours says of itself; nothing where it is of somebody else's."""
    with zipfile.ZipFile(io.BytesIO(content)) as written:
        told: dict[str, Any] = json.loads(written.read(BESIDE)) if BESIDE in written.namelist() else {}
    return told


def saved_model(model: Any, beside: Mapping[str, Any]) -> bytes:
    """The network as a TensorFlow SavedModel, zipped. TensorFlow numbers what is in it anew each time."""
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        extra = Path(folder) / "assets.extra"  # where TensorFlow lets others put files
        extra.mkdir()
        (extra / BESIDE).write_bytes(_json(beside))
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return zipped((path.relative_to(folder).as_posix(), path.read_bytes()) for path in files)


def zipped(entries: Iterable[tuple[str, bytes]]) -> bytes:
    """Files as a zip, uncompressed: weights hardly get smaller."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as made:
        for name, content in entries:
            made.writestr(zipfile.ZipInfo(name, _BEGINNING), content)
    return file.getvalue()


def _still(model: Any) -> None:
    weights = {id(variable) for variable in model.weights}
    for variable in model.variables:
        if id(variable) not in weights:
            variable.assign(variable.value * 0)


def _renumbered(tree: Any, known: dict[int, int]) -> Any:
    """A configuration whose shared objects are numbered in the order in which they come."""
    if isinstance(tree, list):
        return [_renumbered(item, known) for item in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        name: known.setdefault(item, len(known)) if name == "shared_object_id" else _renumbered(item, known)
        for name, item in tree.items()
    }


def _json(tree: Any) -> bytes:
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
