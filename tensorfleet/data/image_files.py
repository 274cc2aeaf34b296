"""Files of images, as people have them, as arrays.

The rule: Pillow reads, and is imported here alone and when first needed. What an image is depends on its bytes and on
what was asked for: turned upright as its camera says, scaled by the mean of the pixels that each new one covers
(bilinear), transparency dropped.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from tensorfleet.errors import BadInput

if TYPE_CHECKING:
    from PIL import Image

Array = np.ndarray[Any, Any]

MAX_PIXELS = 100_000_000
"""Of one image as it lies in its file: what unpacks to more is a mistake or a trap."""

_GREY = {"1", "L", "LA", "La"}
_COLOUR = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


class Wanted(Struct, frozen=True):
    """What images shall be: 0 for what each has itself."""

    height: int = 0
    width: int = 0
    channels: int = 0


AS_IT_IS = Wanted()


def decode(file: Path | bytes, name: str, wanted: Wanted = AS_IT_IS) -> Array:
    """An image file as uint8 (height, width, channels). Of a GIF the first frame.

    name: for errors. BadInput: FILE_MISSING, FILE_UNREADABLE, IMAGE_MALFORMED, IMAGE_TOO_LARGE, PILLOW_MISSING.
    """
    data = file if isinstance(file, bytes) else _bytes(file, name)
    with _told(name) as pillow:
        from PIL import ImageOps

        with pillow.open(io.BytesIO(data)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                told = f"{name}: it has {opened.width:,} x {opened.height:,} pixels; at most {MAX_PIXELS:,} are read"
                raise BadInput(told, reason="IMAGE_TOO_LARGE")
            return _array(_sized(_plain(ImageOps.exif_transpose(opened), wanted.channels, name), wanted))


def reshaped(pixels: Array, wanted: Wanted) -> Array:
    """Images (rows, height, width, channels of 1 or 3), uint8, as what is wanted."""
    rows, height, width, channels = pixels.shape
    shape = (wanted.height or height, wanted.width or width, wanted.channels or channels)
    if shape == (height, width, channels):
        return pixels
    made = np.empty((rows, *shape), np.uint8)
    with _told("images") as pillow:
        for index, image in enumerate(pixels):
            picture = pillow.fromarray(image[:, :, 0] if channels == 1 else image)
            made[index] = _array(_sized(_plain(picture, wanted.channels, "images"), wanted))
    return made


def _bytes(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"{name}: there is no file {path}", reason="FILE_MISSING") from None
    except OSError as error:
        raise BadInput(f"{name}: {path} cannot be read: {error.strerror}", reason="FILE_UNREADABLE") from error


@contextmanager
def _told(name: str) -> Iterator[Any]:
    """Pillow's Image, for a block in which whatever it raises is an error about the file of that name."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise BadInput(
            f"{name}: reading images needs Pillow where it is read: pip install 'tensorfleet[tensorflow]'",
            reason="PILLOW_MISSING",
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it can read all the same
            yield Image
    except (BadInput, MemoryError):
        raise
    except Exception as error:  # a broken file makes Pillow raise anything
        said = "its bytes are those of no image" if isinstance(error, UnidentifiedImageError) else str(error)
        raise BadInput(f"{name}: it is no image that can be read: {said}", reason="IMAGE_MALFORMED") from error


def _plain(picture: "Image.Image", channels: int, name: str) -> "Image.Image":
    """Grey or in colour."""
    mode = picture.mode
    if mode.startswith("I;16"):
        from PIL import Image

        picture, mode = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)), "L"
    if mode not in _GREY | _COLOUR:
        raise BadInput(
            f"{name}: its pixels are of 32 bits ({mode}); save it with 8 bits a channel", reason="IMAGE_MALFORMED"
        )
    goal = {0: "L" if mode in _GREY else "RGB", 1: "L", 3: "RGB"}[channels]
    if mode == "P" and goal == "L":
        picture = picture.convert("RGB")
    return picture if picture.mode == goal else picture.convert(goal)


def _sized(picture: "Image.Image", wanted: Wanted) -> "Image.Image":
    from PIL import Image

    size = (wanted.width or picture.width, wanted.height or picture.height)
    return picture if size == picture.size else picture.resize(size, Image.Resampling.BILINEAR)


def _array(picture: "Image.Image") -> Array:
    pixels = np.asarray(picture, np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
