"""What a generated image file is, what is expected of it, and small photographs to begin with."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

Pixels = np.ndarray
Outcome = Literal["accepted", "refused", "either"]


@dataclass(frozen=True)
class ImageCase:
    """A file to decode.

    Attributes:
        outcome: `either` where the damage may or may not hit a pixel; then the pixels have to be
            Pillow's.
        pixels: uint8[H,W,3] of the upright image, exactly; None if Pillow's decode is the
            reference.
        reason: what the reason of a refusal has to contain.
    """

    data: bytes
    outcome: Outcome
    pixels: Pixels | None = None
    reason: str = ""


# Makes the file of a number; the same file for the same generator and number.
MakeCase = Callable[[np.random.Generator, int], ImageCase]


def photo(random: np.random.Generator, channels: int = 3) -> Pixels:
    """uint8[H,W,3] or uint8[H,W]: smooth colours with some grain, 17 to 90 pixels a side."""
    width, height = (int(side) for side in random.integers(17, 91, 2))
    coarse = random.integers(0, 256, (5, 7, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    grain = random.normal(0, 6, smooth.shape)
    pixels: Pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
    return pixels if channels == 3 else pixels[..., 0]


def flip_bits(data: bytes, random: np.random.Generator, start: int, stop: int, count: int) -> bytes:
    """The bytes with `count` bits of data[start:stop] inverted."""
    changed = bytearray(data)
    for at in random.integers(start, stop, count):
        changed[at] ^= 1 << int(random.integers(8))
    return bytes(changed)


def digest_pixels(pixels: Pixels) -> str:
    """A digest of the shape and the samples, by which processes compare images."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
