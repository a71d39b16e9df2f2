"""The one door to a sample's image, be it a file or a row of an array file."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.core.types import Sample
from sharpeye.data.array_files import read_array_file
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import decode_sized, read_file

Pixels = npt.NDArray[np.uint8]

_CHANGED = "the file changed while it was being read; run it again"


def read_image(sample: Sample, shown_at: tuple[int, int] | None = None) -> Image.Image:
    """Read one sample, check that it still is what its digest was taken of, and decode it.

    Args:
        sample: without a digest, nothing is checked.
        shown_at: for people only, see `images.decode.decode`; a row is never reduced.

    Returns:
        an image of mode RGB.

    Raises:
        ImageReadError: it cannot be read or decoded, or has changed.
    """
    return read_sized(sample, shown_at)[0]


def read_sized(
    sample: Sample, shown_at: tuple[int, int] | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """Like `read_picture`; also the width and height of the whole upright image."""
    if sample.row is not None:
        image = image_of_row(read_rows([sample])[0])
        return image, image.size
    data = read_file(sample.file, sample.path)
    if sample.sha256 and hashlib.sha256(data).hexdigest() != sample.sha256:
        raise ImageReadError(sample.path, _CHANGED)
    return decode_sized(data, sample.path, shown_at=shown_at)


def image_of_row(pixels: Pixels) -> Image.Image:
    """uint8[H,W,C], grey or RGB, to an image of mode RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")


def read_rows(samples: Sequence[Sample]) -> Pixels:
    """The pixels of rows of one array file, each checked against its digest if it has one.

    Args:
        samples: of the same file.

    Returns:
        uint8[N,H,W,C], 0..255, C is 1 (grey) or 3 (RGB).

    Raises:
        ImageReadError: the file cannot be read, or a row has changed; names the first one.
    """
    everything = read_array_file(samples[0].file)
    rows = [sample.row or 0 for sample in samples]
    gone = next((s for s, row in zip(samples, rows, strict=True) if row >= len(everything)), None)
    if gone:
        raise ImageReadError(gone.path, _CHANGED)
    pixels = everything[rows]
    if any(sample.sha256 for sample in samples):
        for sample, digest in zip(samples, row_digests(pixels), strict=True):
            if sample.sha256 and sample.sha256 != digest:
                raise ImageReadError(sample.path, _CHANGED)
    return pixels


def row_digests(pixels: Pixels) -> list[str]:
    """SHA-256 of each row's shape and pixels: the same whatever kind of file it lies in.

    Args:
        pixels: uint8[N,H,W,C].

    Returns:
        N hexadecimal digests.
    """
    start = hashlib.sha256(f"uint8{list(pixels.shape[1:])}".encode())
    digests = []
    for row in np.ascontiguousarray(pixels):
        digest = start.copy()
        digest.update(row)
        digests.append(digest.hexdigest())
    return digests
