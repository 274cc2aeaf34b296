"""One canonical file for whatever passes between tasks: plain data with NumPy arrays in it.

The rule: equal content has equal bytes, so a digest of the bytes is a digest of the content. There are no times, no
pickles and no padding with memory's leftovers; arrays start at multiples of 64 bytes and are mapped when read.

Layout: magic, header length (8 bytes, little endian), header, then the arrays. The header is JSON: the tree, with
everything that JSON cannot say as a tagged list, and each array's dtype, shape and offset after the header.
"""

import json
import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

MAGIC = b"TFBUNDLE1\n"
ALIGNMENT = 64


def encode(tree: Any) -> list[bytes | memoryview]:
    """The buffers of a bundle, to be written one after another.

    tree: None, flags, numbers, text, bytes, lists, tuples, string- or plain-keyed dicts, NumPy arrays, scalars, dtypes.
    Raises TypeError for anything else, and for arrays of objects.
    """
    arrays: list[np.ndarray[Any, Any]] = []
    root = _plain(tree, arrays)
    described, offset = [], 0
    for array in arrays:
        described.append([_dtype(array.dtype), list(array.shape), offset])
        offset += _padded(array.nbytes)
    header = json.dumps([root, described], ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    start = len(MAGIC) + 8 + len(header)
    buffers: list[bytes | memoryview] = [
        MAGIC + len(header).to_bytes(8, "little") + header + b"\0" * (_padded(start) - start)
    ]
    for array in arrays:
        buffers.append(memoryview(array.reshape(-1).view("u1").data) if array.nbytes else b"")
        buffers.append(b"\0" * (_padded(array.nbytes) - array.nbytes))
    return [buffer for buffer in buffers if len(buffer)]


def decode(data: bytes | memoryview | mmap.mmap) -> Any:
    """The tree of a bundle; its arrays are read-only views of `data`.

    Raises ValueError where the data is no bundle or is cut short.
    """
    view = memoryview(data).toreadonly()
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise ValueError("not a bundle: it does not begin as one")
    begin = len(MAGIC) + 8
    end = begin + int.from_bytes(view[len(MAGIC) : begin], "little")
    if end > len(view):
        raise ValueError("not a bundle: it ends before its header does")
    root, described = json.loads(bytes(view[begin:end]))
    start, arrays = _padded(end), []
    if described:
        import numpy as np  # plain data is read without it
    for dtype, shape, offset in described:
        kind, count = np.dtype(dtype), math.prod(shape)
        if start + offset + count * kind.itemsize > len(view):
            raise ValueError("not a bundle: it ends before its arrays do")
        if count * kind.itemsize == 0:
            arrays.append(np.empty(shape, kind))
        else:
            arrays.append(np.frombuffer(view, kind, count, start + offset).reshape(shape))
    return _restored(root, arrays)


def load(path: Path) -> Any:
    """The tree of a bundle on disk, its arrays mapped."""
    return decode(mapped(path))


def mapped(path: Path) -> mmap.mmap:
    """A file's bytes, read-only. ValueError where it is empty."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _plain(value: Any, arrays: list[Any]) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if type(value) is float:
        return value if math.isfinite(value) else ["real", repr(value)]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, list):
        return ["list", *(_plain(item, arrays) for item in value)]
    if isinstance(value, tuple):
        return ["tuple", *(_plain(item, arrays) for item in value)]
    if isinstance(value, Mapping):
        return ["dict", *([_plain(key, arrays), _plain(item, arrays)] for key, item in value.items())]
    return _plain_numpy(value, arrays)


def _plain_numpy(value: Any, arrays: list[Any]) -> Any:
    import numpy as np

    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        # Fortran order is part of what scikit-learn's code sees, so it is part of the content.
        if value.ndim > 1 and value.flags.f_contiguous and not value.flags.c_contiguous:
            arrays.append(_canonical(value.T))
            return ["fortran", len(arrays) - 1]
        arrays.append(_canonical(value))
        return ["array", len(arrays) - 1]
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return ["scalar", _dtype(value.dtype), value.tobytes().hex()]
    if isinstance(value, np.dtype):
        return ["dtype", _dtype(value)]
    raise TypeError(f"a bundle cannot hold a {type(value).__module__}.{type(value).__qualname__}")


def _canonical(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    import numpy as np

    if array.dtype.fields and sum(kind[0].itemsize for kind in array.dtype.fields.values()) < array.dtype.itemsize:
        clean = np.zeros(array.shape, array.dtype)  # the gaps between fields would else hold memory's leftovers
        for name in array.dtype.names or ():
            clean[name] = array[name]
        return clean
    return np.ascontiguousarray(array).reshape(array.shape)


def _dtype(dtype: "np.dtype[Any]") -> Any:
    if dtype.names is None:
        return dtype.str
    fields: Any = dtype.fields
    return {
        "names": list(dtype.names),
        "formats": [fields[name][0].str for name in dtype.names],
        "offsets": [fields[name][1] for name in dtype.names],
        "itemsize": dtype.itemsize,
    }


def _restored(value: Any, arrays: list[Any]) -> Any:
    if not isinstance(value, list):
        return value
    tag, rest = value[0], value[1:]
    if tag == "list":
        return [_restored(item, arrays) for item in rest]
    if tag == "tuple":
        return tuple(_restored(item, arrays) for item in rest)
    if tag == "dict":
        return {_restored(key, arrays): _restored(item, arrays) for key, item in rest}
    if tag == "array":
        return arrays[rest[0]]
    if tag == "fortran":
        return arrays[rest[0]].T
    if tag == "real":
        return float(rest[0])
    if tag == "bytes":
        return bytes.fromhex(rest[0])
    import numpy as np

    if tag == "scalar":
        return np.frombuffer(bytes.fromhex(rest[1]), np.dtype(rest[0]))[0]
    if tag == "dtype":
        return np.dtype(rest[0])
    raise ValueError(f"not a bundle: unknown tag {tag!r}")
