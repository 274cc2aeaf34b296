"""The images of `synthetic:images`: stripes, whose direction and width tell the class.

The rule: whole numbers alone, so the same name gives the same bytes on every machine. Where the stripes begin and how
far they stand out of the noise are drawn for each image, so no pixel by itself tells anything of the class, and a
linear model learns nothing; a small convolutional network sees the stripes through the noise.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tensorfleet.data.images import Images, Part

Array = np.ndarray[Any, Any]

PART_PIXELS = 1 << 20
"""Pixels that are drawn together, at most; part of what a seed means."""

PHASES = 64
ONE = 1 << 6
"""A cosine of 1, as a whole number."""

DIRECTIONS = 10
"""Classes that differ by their direction alone; each further ten have wider stripes."""

NARROWEST = 3.5
"""Pixels from one light stripe to the next, in the first ten classes."""

FAINTEST, STRONGEST = 16, 44
"""How far the stripes' brightness is from the mean, at most; drawn for each image, so some are hard to tell."""

NOISE = 64


def images(params: Mapping[str, int | float]) -> Images:
    """rows, size, classes, channels, seed. Labels are drawn so that all classes are as frequent."""
    rows, size, classes, channels, seed = (
        int(params[name]) for name in ("rows", "size", "classes", "channels", "seed")
    )
    even, odd = _stripes(classes, size)

    def parts() -> Iterator[Part]:
        step = max(1, PART_PIXELS // (size * size * channels))
        for start in range(0, rows, step):
            draw = np.random.default_rng([seed, start])
            labels = draw.permutation(np.arange(start, min(start + step, rows)) % classes)
            yield Part(_drawn(draw, labels, even, odd, channels), labels)

    return Images((size, size, channels), parts(), "synthetic", "synthetic:images")


def _stripes(classes: int, size: int) -> tuple[Array, Array]:
    """The two halves of which stripes of any phase are a sum: (classes, size, size), times ONE."""
    down, across = np.mgrid[:size, :size]
    even, odd = [], []
    for label in range(classes):
        angle = math.pi * (label % DIRECTIONS) / min(classes, DIRECTIONS)
        turns = 2 * math.pi / (NARROWEST * 1.3 ** (label // DIRECTIONS))
        place = turns * (math.cos(angle) * across + math.sin(angle) * down)
        even.append(np.rint(ONE * np.cos(place)))
        odd.append(np.rint(ONE * np.sin(place)))
    return np.array(even, np.int16), np.array(odd, np.int16)


def _drawn(draw: np.random.Generator, labels: Array, even: Array, odd: Array, channels: int) -> Array:
    """Images of these classes, uint8 (rows, size, size, channels)."""
    rows = len(labels)
    turns = 2 * math.pi * np.arange(PHASES) / PHASES
    phase = draw.integers(0, PHASES, (rows, 1, 1, channels))
    contrast = draw.integers(FAINTEST, STRONGEST, (rows, 1, 1, 1), np.int16)
    one, other = (np.rint(ONE * half(turns)).astype(np.int16)[phase] * contrast // ONE for half in (np.cos, np.sin))
    stripes = (even[labels][..., None] * one - odd[labels][..., None] * other) // ONE
    noise = draw.integers(-NOISE, NOISE, stripes.shape, np.int16)
    noise += draw.integers(-NOISE // 2, NOISE // 2, stripes.shape, np.int16)
    pixels: Array = (stripes + noise + 128).clip(0, 255).astype(np.uint8)
    return pixels
