"""What a training goes on from: nothing, a model of the registry, or a file of Keras.

The rule: the network is the training's own, and every weight must fit it; the first that does not is named with both
shapes. Only the file of a backbone, as `keras.applications` has them, may leave layers out, since its head was made for
other classes. A model of the registry must have the training's classes; a file is taken for its weights alone.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from tensorfleet import bundle
from tensorfleet.errors import BadInput, CorruptArtifact
from tensorfleet.models import labels, manifest
from tensorfleet.models.naming import framework_of
from tensorfleet.neural import keeping, state
from tensorfleet.operators import Input

ZIP, HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"


class Earlier(Struct, frozen=True):
    """What there was before: a network, which people know as `called`, or a file of weights alone, or neither.

    classes: those of a model of the registry, in the order of its outputs.
    """

    network: Any = None
    called: str = ""
    file: Path | None = None
    classes: tuple[str, ...] = ()

    @property
    def target(self) -> tuple[float, float] | None:
        """Offset and scale of what the network predicts, where it is a regressor of ours; see `architecture.build`."""
        layers = {} if self.network is None else {layer.name: layer for layer in self.network.layers}
        found = layers.get("target")
        return None if found is None else (float(found.offset), float(found.scale))

    def check_classes(self, classes: Sequence[str]) -> None:
        """BadInput where those of the rows to train on are others, or in another order."""
        if self.classes and classes and self.classes != tuple(classes):
            raise BadInput(labels.unlike(self.classes, classes), reason="CLASSES_UNLIKE")

    def weights(self, model: Any) -> list[Any]:
        """Arrays in the order of `model.weights`, which may be overwritten. BadInput for what does not fit."""
        if self.file is not None:
            return _of_hdf5(self.file, model)
        if self.network is None:
            return state.values(model.weights)
        _check(self.network, model, self.called)
        return state.values(self.network.weights)


def earlier(parts: Sequence[Input]) -> Earlier:
    """parts: none; those of a model of the registry, its manifest first; or one file, `.keras`, `.weights.h5` or the
    `.h5` of `keras.applications`. BadInput for anything else.
    """
    if not parts:
        return Earlier()
    content = parts[0].content()
    if content[: len(HDF5)] == HDF5:
        return Earlier(file=parts[0].path)
    if content[: len(ZIP)] == ZIP:
        try:
            return Earlier(keeping.read(content), "the file")
        except CorruptArtifact as error:
            raise BadInput(f"the file to go on from is {error.message}", reason="MODEL_UNREADABLE") from error
    try:
        described = manifest.read(bundle.decode(content))
    except ValueError as error:
        told = "expected a model, a .keras file or a .h5 file of weights to go on from"
        raise BadInput(told, reason="MODEL_UNREADABLE") from error
    if framework_of(described.estimator) != "keras":
        told = f"the model to go on from is a {described.algorithm}, which has no weights of a network"
        raise BadInput(told, reason="MODEL_UNSUITED")
    return Earlier(keeping.read(parts[-1].content()), "the model", classes=tuple(described.classes))


def _check(other: Any, model: Any, called: str) -> None:
    for ours, theirs in zip(model.weights, other.weights, strict=False):
        if tuple(ours.shape) != tuple(theirs.shape):
            raise _unlike(f"{ours.path} has shape {_shape(ours)} here, and {theirs.path} {_shape(theirs)} in {called}")
    here, there = len(model.weights), len(other.weights)
    if here != there:
        longer, where = (model, "here") if here > there else (other, f"in {called}")
        first = longer.weights[min(here, there)]
        raise _unlike(
            f"there are {here} arrays of them here and {there} in {called}; the first that only one has is "
            f"{first.path} of shape {_shape(first)}, {where}"
        )


def _of_hdf5(path: Path, model: Any) -> list[Any]:
    import h5py

    before = state.values(model.weights)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with h5py.File(path) as file:
                groups = [file[name] if name else file for name in ("", "model_weights") if not name or name in file]
                names = [_names(group) for group in groups if "layer_names" in group.attrs]
            link = Path(folder) / ("backbone.h5" if names else "model.weights.h5")  # Keras goes by the name
            link.symlink_to(path)
            if names:
                _load_by_name(link, names[0], model)
            else:
                model.load_weights(link)
        except (ValueError, KeyError, OSError) as error:
            raise _unlike(str(error).strip().partition("\n")[0]) from error
    after = state.values(model.weights)
    if all((one == other).all() for one, other in zip(before, after, strict=True)):
        raise _unlike(f"the file has none for its layers, which are {', '.join(layer.name for layer in model.layers)}")
    return after


def _names(group: Any) -> set[str]:
    return {name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs["layer_names"]}


def _load_by_name(path: Path, names: set[str], model: Any) -> None:
    """Loads the layers that the file names into the network, or into the part of it that has most of them."""
    nested = [model, *(layer for layer in model.layers if hasattr(layer, "layers"))]
    best = max(nested, key=lambda part: sum(layer.name in names for layer in part.layers))
    best.load_weights(path, by_name=True)


def _unlike(told: str) -> BadInput:
    return BadInput(f"the weights do not fit this network: {told}", reason="WEIGHTS_UNLIKE")


def _shape(weight: Any) -> str:
    return str(tuple(int(length) for length in weight.shape))
