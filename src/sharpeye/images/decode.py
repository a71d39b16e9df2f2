"""Decode an image file to RGB: the only decoder, for training and for serving.

The first bytes of a file determine its format, never its suffix. Pillow gets only the formats of
`formats.py`, so that no interpreter (EPS, PDF, SVG) can start. Limits are checked on the header,
before any pixel is decoded, and the memory that a decode needs is reserved before it starts.

Source of the limits: Pillow's security notes and ImageMagick's web-safe policy.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from sharpeye.core.regular_files import NotRegularFile, open_regular
from sharpeye.core.types import MAX_BIT_DEPTH
from sharpeye.errors import ImageReadError
from sharpeye.images.color import to_rgb
from sharpeye.images.decode_limits import MB, DecodeLimits, limits_in_force
from sharpeye.images.decode_memory import estimate_bytes, has_transparency, pixel_bytes
from sharpeye.images.formats import JPEG, PNG, TIFF, WEBP, sniff
from sharpeye.images.jpeg_end import complete_jpeg, has_end_marker
from sharpeye.images.memory_budget import BUDGET, BudgetTimeout
from sharpeye.images.open_image import DAMAGED, open_checked, release_decoder
from sharpeye.images.orientation import (
    ORIENTATION,
    TRANSPOSED,
    count_orientation_marks,
    orientation_of,
    upright,
)
from sharpeye.images.png_chunks import without_extras
from sharpeye.images.wide_color import is_wide_color, join_bytes, load_lower_bytes

Result = TypeVar("Result")

# Raise it with every change that alters a decoded or fitted pixel: it is part of cache keys.
DECODER_VERSION = 3

# Errors of a disk, a network or a busy machine, which say nothing about the file.
_PASSING_ERRORS = {
    getattr(errno, name)
    for name in (
        *("EIO", "ESTALE", "ETIMEDOUT", "EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "EINTR", "EBUSY"),
        *("ENOBUFS", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "EREMOTEIO", "ENOLCK"),
    )
    if hasattr(errno, name)
}


def read_file(file: Path, name: str, limits: DecodeLimits | None = None) -> bytes:
    """The bytes of a regular file within the size limit.

    Opening never blocks: the status of the open handle reveals a FIFO or a device.

    Raises:
        ImageReadError: not a regular file, too large, empty, or not readable.
    """
    limits = limits or limits_in_force()
    tries = 2
    while True:
        tries -= 1
        try:
            return _read_file(file, name, limits)
        except NotRegularFile as error:
            raise ImageReadError(name, error.reason) from None
        except OSError as error:
            passing = error.errno in _PASSING_ERRORS
            if not passing or not tries:
                reason = f"cannot be opened: {error.strerror}"
                raise ImageReadError(name, reason, transient=passing) from None


def _read_file(file: Path, name: str, limits: DecodeLimits) -> bytes:
    with open_regular(file) as opened:
        size = os.fstat(opened.fileno()).st_size
        if size > limits.file_bytes:
            raise ImageReadError(
                name,
                f"{size / 2**20:.0f} MiB is over the limit of "
                f"{limits.file_bytes // 2**20} MiB a file",
            )
        return opened.read(limits.file_bytes + 1)


def decode(
    data: bytes,
    name: str,
    limits: DecodeLimits | None = None,
    *,
    bit_depth: int = MAX_BIT_DEPTH,
    keep_grey: bool = False,
) -> Image.Image:
    """Decode the first frame of an image to RGB, upright as EXIF says.

    Transparent images are composited over white. Samples of more than 8 bits keep the upper 8 of
    `bit_depth` significant bits, see `color.to_rgb`.

    Args:
        limits: by default those in force for the process, see `images.decode_limits`.
        keep_grey: leave an opaque image of 8-bit grey levels in mode L: a quarter of the memory.

    Raises:
        ImageReadError: not an image, damaged, or over a limit; transient if it may be readable at
            another time.
    """
    image, _ = decode_with_size(data, name, limits, bit_depth=bit_depth, keep_grey=keep_grey)
    return image


def decode_with_size(
    data: bytes,
    name: str,
    limits: DecodeLimits | None = None,
    *,
    display_size: tuple[int, int] | None = None,
    bit_depth: int | None = MAX_BIT_DEPTH,
    keep_grey: bool = False,
) -> tuple[Image.Image, tuple[int, int]]:
    """Like `decode`; also the width and height of the full-size upright image.

    Args:
        display_size: the largest width and height at which it is shown. A JPEG may then be
            decoded at 1/2, 1/4 or 1/8 of its size, as long as it stays twice as large as that.
            Never for a model: see `_draft`.
        bit_depth: see `color.to_rgb`.
    """
    limits = limits or limits_in_force()

    def work(data: bytes) -> tuple[Image.Image, tuple[int, int]]:
        with open_checked(data, name, limits) as (image, format_):
            full_size = _draft(image, display_size) if display_size and format_ == JPEG else None
            grey = keep_grey and _is_opaque_grey(image)
            lower = None
            if bit_depth and bit_depth < MAX_BIT_DEPTH and is_wide_color(image):
                lower = _load_lower_bytes(data, name, limits)
            with _memory_for(
                image, data, name, format_=format_, limits=limits, keep=grey
            ) as reservation:
                if format_ == JPEG and not has_end_marker(data):
                    raise ImageReadError(name, f"{DAMAGED} JPEG: truncated")
                image.load()
                release_decoder(image)
                if lower is not None and bit_depth:
                    image = join_bytes(image, lower, bit_depth)
                image = upright(image, release=True)
                grey = keep_grey and _is_opaque_grey(image)
                result = image if grey else to_rgb(image, name, bit_depth)
                held = result.width * result.height * pixel_bytes(result.mode)
                BUDGET.keep_for(reservation, result, held)
            return result, full_size or result.size

    return _mend_and_retry(work, data, name, limits=limits)


def _is_opaque_grey(image: Image.Image) -> bool:
    return image.mode == "L" and "transparency" not in image.info


def _load_lower_bytes(data: bytes, name: str, limits: DecodeLimits) -> Image.Image:
    with (
        open_checked(data, name, limits) as (image, format_),
        _memory_for(image, data, name, format_=format_, limits=limits),
    ):
        return load_lower_bytes(image)


@contextmanager
def open_loaded(
    data: bytes, name: str, limits: DecodeLimits | None = None
) -> Iterator[Image.Image]:
    """An image as it is stored, before it is turned and converted; its memory is reserved.

    Raises:
        ImageReadError: not an image, damaged, or over a limit.
    """
    limits = limits or limits_in_force()
    with (
        open_checked(data, name, limits) as (image, format_),
        _memory_for(image, data, name, format_=format_, limits=limits),
    ):
        image.load()
        release_decoder(image)
        yield image


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Stored width and height of an image, and EXIF's orientation, 1..8."""

    stored: tuple[int, int]
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the image that `decode` returns."""
        return self.stored[::-1] if self.orientation in TRANSPOSED else self.stored


def image_size(data: bytes, name: str, limits: DecodeLimits | None = None) -> ImageSize:
    """The size of an image, from its header.

    No pixel is decoded, except in a PNG with EXIF or XMP, which may follow the pixels.

    Raises:
        ImageReadError: not an image, a damaged header, or over a limit.
    """
    limits = limits or limits_in_force()

    def work(data: bytes) -> ImageSize:
        with open_checked(data, name, limits) as (image, format_):
            width, height = image.size
            if format_ == PNG:
                if not count_orientation_marks(data):
                    return ImageSize((width, height))
                with _memory_for(image, data, name, format_=format_, limits=limits):
                    return ImageSize((width, height), orientation_of(image))
            if format_ == TIFF and getattr(image, "tag_v2", {}).get(ORIENTATION) in TRANSPOSED:
                width, height = height, width  # Pillow has swapped them already
            return ImageSize((width, height), orientation_of(image))

    return _mend_and_retry(work, data, name, limits=limits)


def _mend_and_retry(
    work: Callable[[bytes], Result], data: bytes, name: str, *, limits: DecodeLimits
) -> Result:
    """Do some work with an image; if it is damaged, try once more without what is damaged.

    The error is raised again as a new one: the traceback of the first holds the pixels.
    """
    try:
        return work(data)
    except ImageReadError as error:
        reason, transient = error.reason, error.transient
    if reason.startswith(DAMAGED):
        try:
            mended = _mend(data, name, reason, limits=limits)
            if mended is not None:
                return work(mended)
        except ImageReadError as error:
            reason, transient = error.reason, error.transient
    raise ImageReadError(name, reason, transient=transient)


def _mend(data: bytes, name: str, reason: str, *, limits: DecodeLimits) -> bytes | None:
    """The bytes of a damaged image without the damage, if all its pixels are there."""
    format_ = sniff(data[:32])
    if format_ == PNG:
        return without_extras(data)
    if format_ == WEBP and int.from_bytes(data[4:8], "little") + 8 == len(data) + 1:
        return data + b"\0"  # The byte after a chunk of odd length is missing.
    if format_ != JPEG or "truncated" not in reason:
        return None

    def load(data: bytes) -> Image.Image:
        with open_checked(data, name, limits) as (image, _):
            image.load()
            return image

    with (
        open_checked(data, name, limits) as (image, _),
        _memory_for(image, data, name, format_=JPEG, limits=limits),
    ):
        mended = complete_jpeg(data, load)
    if mended is None:
        raise ImageReadError(
            name, "a truncated JPEG: its scan ends before the last pixels; get the file again"
        )
    return mended


@contextmanager
def _memory_for(
    image: Image.Image,
    data: bytes,
    name: str,
    *,
    format_: str,
    limits: DecodeLimits,
    keep: bool = False,
) -> Iterator[int]:
    """Reserve the memory that decoding an image takes; yields the number of the reservation.

    Raises:
        ImageReadError: it needs more than the limit, or other decodes hold the memory.
    """
    needed = estimate_bytes(image, data, format_, to_rgb=not keep)
    if needed > limits.memory_bytes:
        alpha = " with transparency" if has_transparency(image) else ""
        raise ImageReadError(
            name,
            f"a {format_} of {image.width} x {image.height} pixels{alpha} would need "
            f"{needed / MB:,.0f} MB to decode; the limit is {limits.memory_bytes / MB:,.0f} MB: "
            f"raise it with --max-decode-memory {-(-needed // (10 * MB)) * 10}",
        )
    try:
        # `needed` has the file's bytes. They are counted once more for the files that other threads
        # have read already and that wait here, which nothing else bounds.
        with BUDGET.reserve(needed + len(data), limits.wait_seconds) as reservation:
            yield reservation
    except BudgetTimeout:
        raise ImageReadError(
            name, "other images hold the memory for decoding; try it again", transient=True
        ) from None


def _draft(image: Image.Image, display_size: tuple[int, int]) -> tuple[int, int] | None:
    """Let libjpeg decode a JPEG at a fraction of its size, at least twice as large as it is shown.

    Returns its full upright size, or None if it must be decoded in full.

    Never for a model: libjpeg's smaller image differs from a resized one, and users of `model.onnx`
    without Pillow have no such mode. EfficientNet-Lite0 at 320 pixels, 11 photographs enlarged to 1
    to 24 megapixels: probabilities moved by up to 0.02 with at least twice the input's size, with
    grain on the photographs by 0.07, with fine stripes by 0.5, and by 0.003 still with six times
    the size. A grainy photo of 12 megapixels takes 0.16 s to decode and fit, 0.07 at a quarter of
    its size, as most of the decoding has to be done either way.
    """
    width, height = image.size
    transposed = image.getexif().get(ORIENTATION) in TRANSPOSED
    target = display_size[::-1] if transposed else display_size
    scale = min(2 * target[0] / width, 2 * target[1] / height)
    if scale >= 1:
        return None
    image.draft(image.mode, (max(1, round(width * scale)), max(1, round(height * scale))))
    return (height, width) if transposed else (width, height)
