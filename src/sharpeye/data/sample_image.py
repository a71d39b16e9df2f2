"""Read the image of a sample from a file or from a row of an array file."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from sharpeye.core.arrays import Pixels
from sharpeye.core.types import InputSpec, Sample
from sharpeye.data.array_files import read_array_file
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import decode_with_size, read_file
from sharpeye.images.resize import fit_image
from sharpeye.images.views import PLAIN, View

_CHANGED = "the file changed while it was being read; run it again"

# What the cache keys of sets with images of more than 8 bits a sample have besides
# `DECODER_VERSION`. Raise it with every change that alters the pixels of these alone: 2 takes the
# bits that a TIFF's header names.
WIDE_KEY = {"wide": 2}


def wide_key(samples: Iterable[Sample]) -> dict[str, int]:
    """`WIDE_KEY` if one of the samples has more than 8 bits; an ordinary set needs none."""
    return WIDE_KEY if any(sample.is_wide for sample in samples) else {}


def load_sample(sample: Sample, spec: InputSpec, view: View = PLAIN) -> Pixels:
    """One sample as model input: uint8[spec.height, spec.width, spec.channels], 0..255.

    Raises:
        ImageReadError: it cannot be read or decoded, or has changed since its digest was computed.
    """
    image, _ = read_image_and_size(sample, bit_depth=spec.bit_depth, keep_grey=True)
    return fit_image(image, spec, view)


def read_image(
    sample: Sample,
    display_size: tuple[int, int] | None = None,
    *,
    bit_depth: int | None = None,
) -> Image.Image:
    """Read one sample, check it against its digest if it has one, and decode it to mode RGB.

    Errors are those of `load_sample`. `display_size` is for people only, see `decode_with_size`.
    `bit_depth` is by default the sample's.
    """
    return read_image_and_size(sample, display_size, bit_depth=bit_depth)[0]


def read_image_and_size(
    sample: Sample,
    display_size: tuple[int, int] | None = None,
    *,
    bit_depth: int | None = None,
    keep_grey: bool = False,
) -> tuple[Image.Image, tuple[int, int]]:
    """Like `read_image`; also the width and height of the full-size upright image.

    `keep_grey` lets a grey image be of mode L, see `decode_with_size`.
    """
    if sample.row is not None:
        image = row_to_image(read_rows([sample])[0])
        return image, image.size
    if bit_depth is None:
        bit_depth = sample.bit_depth
    data = read_sample_file(sample)
    return decode_with_size(
        data,
        sample.path,
        display_size=display_size,
        bit_depth=bit_depth,
        keep_grey=keep_grey,
    )


def read_sample_file(sample: Sample) -> bytes:
    """The bytes of a sample's file, checked against its digest if it has one.

    A file that another program is writing is read a second time before it is given up.

    Raises:
        ImageReadError: it cannot be read, or has changed, which is transient.
    """
    for _ in range(2):
        data = read_file(sample.file, sample.path)
        if not sample.sha256 or hashlib.sha256(data).hexdigest() == sample.sha256:
            return data
    raise ImageReadError(sample.path, _CHANGED, transient=True)


def row_to_image(pixels: Pixels) -> Image.Image:
    """uint8[H,W,C], grey or RGB, to an image of mode RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")


def read_rows(samples: Sequence[Sample]) -> Pixels:
    """uint8[N,H,W,C]: rows of one array file, each checked against its digest if it has one.

    Args:
        samples: samples of the same file.

    Raises:
        ImageReadError: the file cannot be read, or a row has changed; it names the first one.
    """
    images = read_array_file(samples[0].file)
    rows = [sample.row or 0 for sample in samples]
    for sample, row in zip(samples, rows, strict=True):
        if row >= len(images):
            raise ImageReadError(sample.path, _CHANGED, transient=True)
    pixels = images[rows]
    if any(sample.sha256 for sample in samples):
        for sample, digest in zip(samples, row_digests(pixels), strict=True):
            if sample.sha256 not in ("", digest):
                raise ImageReadError(sample.path, _CHANGED, transient=True)
    return pixels


def row_digests(pixels: Pixels) -> list[str]:
    """Hexadecimal SHA-256 of the shape and pixels of each row of uint8[N,H,W,C].

    It does not depend on the format of the file.
    """
    shape_hash = hashlib.sha256(f"uint8{list(pixels.shape[1:])}".encode())
    digests = []
    for row in np.ascontiguousarray(pixels):
        row_hash = shape_hash.copy()
        row_hash.update(row)
        digests.append(row_hash.hexdigest())
    return digests
