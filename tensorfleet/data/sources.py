"""What a dataset's name means: a built-in, a generator with parameters, a file or a folder that workers can read, an
upload, or what is kept in S3 or MongoDB.

The rule: a name is judged here by its text alone. Nothing is read and no numerics are imported, so the orchestrator can
refuse a bad name when a job is submitted. Names that are none of these may be datasets that somebody added.
"""

import difflib
import math
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from msgspec import Struct, field

from tensorfleet.data.builtin import BUILTIN, CALIFORNIA
from tensorfleet.errors import BadInput

TARGET = "target"
"""The target's column in built-in and generated datasets."""

TARGET_NAMES = ("target", "label", "class", "y", "species")
"""Columns that are taken for the target where none is named, in this order, whatever their case."""

IMAGE, LABEL = "image", "label"
"""The columns of a dataset of images."""

FILE = "file"
"""What a block of images says of each beside its columns, where it was a file: its path in the folder or archive."""

LABELS = "labels"
UNLABELLED = f"{LABELS}=none"
"""The option that takes all images of a dataset, and no labels: to be predicted."""

FORMATS = ("csv", "tsv", "parquet", "jsonl", "ndjson", "bson", "npz", "npy", "zip")
IMAGE_FORMATS = ("npz", "npy", "zip")
"""Those that may hold images."""

UNZIPPED = ("parquet", "npz", "npy", "zip")
"""Formats that are never gzipped as a whole."""

TABLE_OPTIONS = "size, channels and labels are for images, and this is a table"

MAX_SIDE = 8_192
"""Pixels of an image's side, at most."""

REMOTE = {
    "s3": "s3://BUCKET/KEY",
    "mongodb": "mongodb://HOST:PORT/DATABASE/COLLECTION",
    "mongodb+srv": "mongodb+srv://HOST/DATABASE/COLLECTION",
    "gridfs": "gridfs://HOST:PORT/DATABASE/FILE",
    "gridfs+srv": "gridfs+srv://HOST/DATABASE/FILE",
}
"""Schemes of what the orchestrator reads when it is added, each with how it is written. Without a host and a database,
as in `mongodb:///COLLECTION`, it is the orchestrator's own database."""

_IMAGE_OPTION = re.compile(r"(size|channels|labels)=[^@:/]*")
"""What may hide a password in an address is none."""

MAX_CELLS = 500_000_000
"""Numbers that a generator makes at most: 4 GB."""

MAX_PIXELS = 8 * MAX_CELLS
"""Values of pixels that a generator makes at most: as many bytes."""


class SourceKind(StrEnum):
    BUILTIN = "builtin"
    SYNTHETIC = "synthetic"
    FILE = "file"
    UPLOAD = "upload"
    REMOTE = "remote"


class Source(Struct, frozen=True):
    """A name that was understood.

    name: the built-in's, the generator's, or the file's, by which its format is known; a folder's ends in `/`. path:
    where a file is on this machine, or the URL of what is kept elsewhere. params: the generator's, with defaults; of
    images `height`, `width` and `channels`, as far as they are asked for, and `labels`: 0, where they are not.
    """

    kind: SourceKind
    name: str
    path: str = ""
    params: dict[str, int | float] = field(default_factory=dict)


class Parameter(Struct, frozen=True):
    """A generator's parameter. Whole where its default is."""

    default: int | float
    least: int | float
    most: int | float


_SEED = Parameter(0, 0, 2**32 - 1)
_ROWS = Parameter(1_000, 2, 100_000_000)
_FEATURES = Parameter(20, 1, 100_000)

GENERATORS: Mapping[str, Mapping[str, Parameter]] = {
    "california": {"rows": Parameter(20_640, 2, 100_000_000), "seed": _SEED},
    "classification": {"rows": _ROWS, "features": _FEATURES, "classes": Parameter(2, 2, 1_000), "seed": _SEED},
    "images": {
        "rows": Parameter(10_000, 2, 100_000_000),
        "size": Parameter(28, 8, 512),
        "classes": Parameter(10, 2, 100),
        "channels": Parameter(1, 1, 3),
        "seed": _SEED,
    },
    "regression": {"rows": _ROWS, "features": _FEATURES, "noise": Parameter(10.0, 0.0, 1e9), "seed": _SEED},
}


def parse(name: str) -> Source:
    """The source that a name stands for. BadInput, reason UNKNOWN_SOURCE or BAD_SOURCE, says what is wrong."""
    if name in BUILTIN:
        return Source(SourceKind.BUILTIN, name)
    scheme, colon, rest = name.partition(":")
    if colon and scheme == "synthetic":
        return _synthetic(rest)
    plain, options = split_options(name)
    params, rest = _image_options(options), plain.partition(":")[2]
    if colon and scheme == "file":
        return _file(plain, rest, params)
    if colon and scheme in REMOTE:
        return _remote(scheme, plain, params)
    if colon and scheme == "upload":
        return Source(SourceKind.UPLOAD, _readable(rest), params=params)
    raise BadInput(_unknown(name), reason="UNKNOWN_SOURCE")


def check(name: str) -> str | None:
    """What is wrong with a name; None where it is a source."""
    try:
        parse(name)
    except BadInput as error:
        return error.message
    return None


def is_source(name: str) -> bool:
    """True where a name is meant as a source, well-formed or not; else it can only be an added dataset's."""
    scheme, colon, _ = name.partition(":")
    return name in BUILTIN or (bool(colon) and scheme in ("synthetic", "file", "upload", *REMOTE))


def is_remote(name: str) -> bool:
    """True where a name is meant as something kept elsewhere, which is read when it is added."""
    scheme, colon, _ = name.partition("://")
    return bool(colon) and scheme in REMOTE


def shown(name: str) -> str:
    """A dataset's name, or where things are kept, as it may be told: without user, password and options."""
    if not is_remote(name):
        return name
    plain, options = split_options(name)
    scheme, _, rest = plain.partition("://")
    place = (rest if scheme == "s3" else rest.rpartition("@")[2]).partition("?")[0]
    return with_options(f"{scheme}://{place}", options)


def split_options(name: str) -> tuple[str, str]:
    """A name without how its images are read, and that: `x.zip?size=64&channels=1` as `x.zip` and `size=64&channels=1`.

    Whatever else is behind a `?` stays where it is.
    """
    rest, _, query = name.rpartition("?")
    pairs = query.split("&")
    ours = [pair for pair in pairs if _IMAGE_OPTION.fullmatch(pair)]
    if not rest or not ours:
        return name, ""
    others = "&".join(pair for pair in pairs if pair not in ours)
    return (f"{rest}?{others}" if others else rest), "&".join(ours)


def with_options(name: str, options: str) -> str:
    """The name with how its images are read, as `split_options` gave it."""
    return f"{name}?{options}" if options else name


def labelled(options: str) -> bool:
    """Whether images are read with their labels, by what `split_options` gave."""
    return UNLABELLED not in options.split("&")


def as_upload(name: str) -> str:
    """The source that a name is once its bytes have come with a request."""
    if name.startswith("upload:"):
        return name
    plain, options = split_options(name)
    return with_options(f"upload:{parse(plain).name if is_remote(plain) else plain}", options)


def pure(name: str) -> bool:
    """True where reading the source again must give the same rows: everything but what may change elsewhere."""
    return not name.startswith("file:") and not is_remote(name)


def columns(name: str) -> list[dict[str, Any]] | None:
    """The columns of a built-in or a generator, as the profile has them: `name` and `type`, and what else is known.

    None where the source must be read to tell.
    """
    source = parse(name) if check(name) is None else None
    if source is None or source.kind not in (SourceKind.BUILTIN, SourceKind.SYNTHETIC):
        return None
    if source.name == "images":
        size, channels = source.params["size"], source.params["channels"]
        image = {**_column(IMAGE, "image"), "shape": [size, size, channels]}
        return [image, {**_column(LABEL, "integer"), "distinct": source.params["classes"]}]
    features = [_column(feature, _feature_type(source, feature)) for feature in _features(source)]
    return [*features, _target_column(source)]


def rows(name: str) -> int | None:
    """How many rows a built-in or a generator has; None where the source must be read to tell."""
    source = parse(name) if check(name) is None else None
    if source is None:
        return None
    if source.kind is SourceKind.BUILTIN:
        return BUILTIN[source.name].rows
    return int(source.params["rows"]) if source.kind is SourceKind.SYNTHETIC else None


def find_target(names: list[str], wanted: str = "") -> str:
    """The column to predict: the wanted one, else one named as targets are, else the last.

    BadInput, reason TARGET_MISSING_COLUMN, where the wanted one is not there.
    """
    if wanted:
        if wanted not in names:
            raise BadInput(
                f"there is no column {wanted!r} to predict; {_nearest(wanted, names)}", reason="TARGET_MISSING_COLUMN"
            )
        return wanted
    lowered = {name.lower(): name for name in reversed(names)}
    return next((lowered[name] for name in TARGET_NAMES if name in lowered), names[-1])


def file_format(name: str) -> tuple[str, bool] | None:
    """A file's format and whether it is gzipped, by its name; None where the name tells neither."""
    suffixes = [suffix.lower().lstrip(".") for suffix in PurePosixPath(name).suffixes]
    zipped = bool(suffixes) and suffixes[-1] == "gz"
    kind = suffixes[-2] if zipped and len(suffixes) > 1 else suffixes[-1] if suffixes else ""
    if kind not in FORMATS or (zipped and kind in UNZIPPED):
        return None
    return ("jsonl" if kind == "ndjson" else kind), zipped


def _synthetic(rest: str) -> Source:
    generator, _, query = rest.partition("?")
    known = GENERATORS.get(generator)
    if known is None:
        raise _bad(f"there is no generator {generator!r}; known are {', '.join(GENERATORS)}")
    given: dict[str, int | float] = {}
    for pair in filter(None, query.split("&")):
        name, _, text = pair.partition("=")
        if name not in known:
            raise _bad(f"synthetic:{generator} has no parameter {name!r}; it takes {', '.join(known)}")
        if name in given:
            raise _bad(f"synthetic:{generator}: {name} is given twice")
        given[name] = _number(generator, name, text, known[name])
    params = {name: given.get(name, parameter.default) for name, parameter in known.items()}
    _check_together(generator, params)
    return Source(SourceKind.SYNTHETIC, generator, params=params)


def _number(generator: str, name: str, text: str, parameter: Parameter) -> int | float:
    whole = isinstance(parameter.default, int)
    expected = f"a {'whole ' if whole else ''}number from {parameter.least:,} to {parameter.most:,}"
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        raise _bad(f"synthetic:{generator}: {name} must be {expected}, not {text!r}") from None
    if not parameter.least <= value <= parameter.most:
        raise _bad(f"synthetic:{generator}: {name} must be {expected}, not {text}")
    return value


def _check_together(generator: str, params: Mapping[str, int | float]) -> None:
    if generator in ("classification", "images") and params["rows"] < 2 * params["classes"]:
        raise _bad(f"synthetic:{generator}: {params['classes']} classes need at least {2 * params['classes']} rows")
    if generator == "images":
        if params["channels"] == 2:
            raise _bad("synthetic:images: channels must be 1 or 3")
        if params["rows"] * params["size"] ** 2 * params["channels"] > MAX_PIXELS:
            raise _bad(f"synthetic:images: rows x size x size x channels must be at most {MAX_PIXELS:,}")
        return
    features = params.get("features", len(CALIFORNIA))
    if params["rows"] * (features + 1) > MAX_CELLS:
        raise _bad(f"synthetic:{generator}: rows x columns must be at most {MAX_CELLS:,}")
    if generator != "classification":
        return
    needed = math.ceil(math.log2(params["classes"]))
    if features < needed:
        raise _bad(f"synthetic:classification: {params['classes']} classes need at least {needed} features")


def _image_options(query: str) -> dict[str, int | float]:
    """`size=64`, `size=64x48` (width, then height), `channels=1` or `3` and `labels=none`, as numbers."""
    params: dict[str, int | float] = {}
    for pair in filter(None, query.split("&")):
        name, _, text = pair.partition("=")
        if name == "size":
            width, cross, height = text.partition("x")
            params["width"], params["height"] = (_side(side, text) for side in (width, height if cross else width))
        elif pair == UNLABELLED:
            params[LABELS] = 0
        elif name == LABELS:
            raise _bad(f"labels must be none, where images are to be predicted, and not {text!r}")
        elif text in ("1", "3"):
            params["channels"] = int(text)
        else:
            raise _bad(f"channels must be 1 (grey) or 3 (red, green, blue), not {text!r}")
    return params


def _side(side: str, text: str) -> int:
    if not (side.isascii() and side.isdigit() and 1 <= int(side) <= MAX_SIDE):
        raise _bad(f"size must be pixels, such as 64 or 64x48 (width, then height), at most {MAX_SIDE:,}; not {text!r}")
    return int(side)


def _file(name: str, rest: str, params: dict[str, int | float]) -> Source:
    if not rest.startswith("///"):
        raise _bad(f"{name!r} is not a file's address: it must be file:///, then the path from the root")
    path = unquote(rest[2:])
    if "\0" in path:
        raise _bad(f"{name!r} is not a file's address: a path holds no NUL")
    last = PurePosixPath(path).name
    if last and (path.endswith("/") or "." not in last.strip(".")):
        return Source(SourceKind.FILE, f"{last}/", path, params)
    return Source(SourceKind.FILE, _readable(last), path, params)


def _remote(scheme: str, url: str, params: dict[str, int | float]) -> Source:
    parts = urlsplit(url)
    steps = [unquote(step) for step in parts.path.lstrip("/").split("/")]
    host, database = parts.netloc.rpartition("@")[2], not scheme.startswith("s3")
    needed = 1 if not database or not host else 2
    odd = parts.fragment or "\0" in url or (database and "@" in parts.path)
    if (not host and not database) or len(steps) < needed or not all(steps) or odd:
        raise _bad(f"expected {REMOTE[scheme]}, with user and password and whatever else is odd quoted as in any URL")
    if scheme == "s3" and ("@" in parts.netloc or parts.query):
        raise _bad("an S3 address holds no keys and no options: the orchestrator has them in its environment")
    if not scheme.startswith("mongodb"):
        return Source(SourceKind.REMOTE, _readable(steps[-1]), url, params)
    if len(steps) != needed:
        raise _bad(f"expected {REMOTE[scheme]}, or mongodb:///COLLECTION for the orchestrator's own database")
    return Source(SourceKind.REMOTE, f"{steps[-1]}.bson", url)


def _readable(name: str) -> str:
    if not name:
        raise _bad("the file's name is missing")
    if file_format(name) is None:
        raise BadInput(unknown_format(name), reason="FORMAT_UNKNOWN")
    return name


def unknown_format(name: str) -> str:
    """What to say of a file whose name tells no format."""
    known = ", ".join(f".{kind}" for kind in FORMATS)
    text = ", ".join(f".{kind}" for kind in FORMATS if kind not in UNZIPPED)
    return f"{name}: its format is not known by its name; known are {known}, and {text} also with .gz"


def _features(source: Source) -> tuple[str, ...]:
    if source.kind is SourceKind.BUILTIN:
        return BUILTIN[source.name].features
    if source.name == "california":
        return CALIFORNIA
    return tuple(f"feature_{index}" for index in range(int(source.params["features"])))


def _feature_type(source: Source, feature: str) -> str:
    return "integer" if source.name == "california" and feature in ("HouseAge", "Population") else "real"


def _column(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "missing": 0}


def _target_column(source: Source) -> dict[str, Any]:
    if source.kind is SourceKind.SYNTHETIC:
        if source.name != "classification":
            return _column(TARGET, "real")
        return {**_column(TARGET, "integer"), "distinct": source.params["classes"]}
    facts = BUILTIN[source.name]
    if not facts.labels:
        column = _column(TARGET, "real")
        return column if facts.distinct is None else {**column, "distinct": facts.distinct}
    counted = sorted(enumerate(facts.labels), key=lambda pair: (-pair[1], pair[0]))
    values = [{"value": str(label), "count": count} for label, count in counted]
    return {**_column(TARGET, "integer"), "distinct": len(values), "values": values}


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, BUILTIN, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return (
        f"there is no dataset {name!r}; {meant}Built-in are {', '.join(BUILTIN)}; "
        "synthetic:… makes one, and file:///…, s3://…, mongodb://… or gridfs://… is read as one"
    )


def _nearest(wanted: str, names: list[str]) -> str:
    near = difflib.get_close_matches(wanted, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"the columns are {listed}"


def _bad(message: str) -> BadInput:
    return BadInput(message, reason="BAD_SOURCE")
