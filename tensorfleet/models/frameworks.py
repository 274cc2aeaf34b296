"""What models are made of: scikit-learn's estimators, or Keras' networks.

The rule: the first name of a model's estimator is its framework, and one module of each framework knows how such a
model is put together and written. Nobody else asks which it is.
"""

import mmap
from collections.abc import Callable, Sequence
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, BinaryIO, TypeAlias

from msgspec import Struct

from tensorfleet.errors import FailedPrecondition, InvalidRequest
from tensorfleet.model import FieldViolation
from tensorfleet.models.manifest import Manifest
from tensorfleet.models.naming import framework_of

Read: TypeAlias = Callable[[str], "bytes | memoryview | mmap.mmap"]
"""Gives the bytes of a digest."""


class Format(Struct, frozen=True):
    """ending: of a file's name. by_tensorflow: whether TensorFlow writes it: on a worker then, and with other bytes
    each time, since it numbers what a process makes.
    """

    ending: str
    by_tensorflow: bool = False


FORMATS = MappingProxyType(
    {
        "pickle": Format(".pkl"),
        "keras": Format(".keras"),
        "saved_model": Format(".zip", by_tensorflow=True),
    }
)


class Framework(Struct, frozen=True):
    """module: has `assemble(manifest, read, threads)`, which gives an object with scikit-learn's methods, and
    `write(model, format, file, threads)`. formats: what its models can be had as, the default first.
    kept: the format that the last of a model's parts is, as it is kept; none where a file must be made of them.
    requires: the engines that it takes to compute with one. how_to_load: in Python, of a `reference`.
    """

    module: str = ""
    formats: tuple[str, ...] = ()
    kept: str = ""
    requires: tuple[str, ...] = ()
    how_to_load: str = ""

    def computes(self, format: str) -> bool:
        """Whether it takes the engines to write a model in a format, or, of none, in the default one."""
        written = FORMATS.get(format or next(iter(self.formats), ""))
        return written is not None and written.by_tensorflow


FRAMEWORKS = MappingProxyType(
    {
        "sklearn": Framework(
            "tensorfleet.models.pipeline",
            ("pickle",),
            how_to_load="""\
from tensorfleet import Client
with Client("ADDRESS") as fleet:
    pipeline = fleet.models.load("{reference}")
# or, with scikit-learn alone: tensorfleet models download {reference} --out model.pkl
import pickle
pipeline = pickle.load(open("model.pkl", "rb"))
pipeline.predict(rows)""",
        ),
        "keras": Framework(
            "tensorfleet.neural.network",
            ("keras", "saved_model", "pickle"),
            kept="keras",
            requires=("tensorflow", "keras"),
            how_to_load="""\
from tensorfleet import Client
with Client("ADDRESS") as fleet:
    network = fleet.models.load("{reference}")
network.predict(rows)  # raw rows, or images
# or the bare network, which takes prepared rows: tensorfleet models download {reference} --out model.keras
import keras
keras.saving.load_model("model.keras")""",
        ),
    }
)


def framework(name: str) -> Framework:
    """FailedPrecondition where this release knows none of that name."""
    if name not in FRAMEWORKS:
        raise FailedPrecondition(f"this release cannot put models of {name} together", reason="FRAMEWORK_UNSUPPORTED")
    return FRAMEWORKS[name]


def known(name: str) -> Framework:
    """An empty one where this release knows none of that name."""
    return FRAMEWORKS.get(name, Framework())


def chosen(name: str, format: str, of: str) -> str:
    """The format asked for, or the framework's default. InvalidRequest where it has no such format; of: the model."""
    formats = framework(name).formats
    if format and format not in formats:
        raise no_format(formats, format, of)
    return format or formats[0]


def no_format(formats: Sequence[str], got: str, of: str) -> InvalidRequest:
    """That a model has no such format."""
    return InvalidRequest([FieldViolation("format", f"expected {_either(formats)} for {of}, got {got!r}")])


def format_of(file_name: str) -> str:
    """The format that a file's ending tells; nothing where it tells none."""
    return next((name for name, each in FORMATS.items() if file_name.lower().endswith(each.ending)), "")


def assemble(manifest: Manifest, read: Read, threads: int | None = None) -> Any:
    """The fitted model, which takes raw rows. threads: what it shall compute with, where that is to be the same
    everywhere; without it, as the process has it.
    """
    return _module(manifest.estimator).assemble(manifest, read, threads)


def write(model: Any, estimator: str, format: str, file: BinaryIO, threads: int | None = None) -> None:
    """Writes what `assemble` gave in one of its framework's formats. threads: as `assemble` has it."""
    _module(estimator).write(model, format, file, threads)


def _module(estimator: str) -> ModuleType:
    return import_module(framework(framework_of(estimator)).module)


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
