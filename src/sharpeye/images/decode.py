"""Decode an image file to RGB: the only decoder, for training and for serving.

The first bytes of a file determine its format, never its suffix. Pillow gets only the formats of
`formats.py`, so that no interpreter (EPS, PDF, SVG) can start. Limits are checked on the header,
before any pixel is decoded.

Source of the limits: Pillow's security notes and ImageMagick's web-safe policy.
"""

import contextlib
import io
import os
import re
import stat
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from sharpeye.errors import ImageReadError, one_line
from sharpeye.images.color import to_rgb
from sharpeye.images.formats import GIF, JPEG, PNG, TIFF, WEBP, describe_unreadable, sniff

# Raise it with every change that alters a decoded or fitted pixel: it is part of cache keys.
DECODER_VERSION = 3


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits on one file. Every default is far above real photographs."""

    file_bytes: int = 64 * 2**20
    pixels: int = 64_000_000
    side: int = 20_000
    frames: int = 1_000
    jpeg_scans: int = 100
    # A progressive JPEG is decoded once a scan: scans times pixels bounds the time in which the
    # deadline is not checked (about 10 s on one slow core).
    scan_pixels: int = 1_000_000_000
    seconds: float = 10.0


DECODE_LIMITS = DecodeLimits()

ORIENTATION = 0x0112  # the tag of EXIF
_TRANSPOSED = (5, 6, 7, 8)  # its values that swap rows and columns
# A PNG without any of these has no orientation; they may stand anywhere in the file.
_PNG_ORIENTATION_MARKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")

# A JPEG has at least a bit for each block of 8 x 8 pixels. With fewer bytes, the header's size is
# wrong, and libjpeg would fill the image with grey without an error.
_MAX_PIXELS_PER_BYTE = 8 * 64

# Each of these flags exists only on some systems.
_OPEN_FLAGS = sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def read_file(file: Path, name: str, limits: DecodeLimits = DECODE_LIMITS) -> bytes:
    """The bytes of a regular file within the size limit.

    Opening never blocks: the status of the open handle reveals a FIFO or a device.

    Raises:
        ImageReadError: not a regular file, too large, empty, or not readable.
    """
    try:
        handle = os.open(file, os.O_RDONLY | _OPEN_FLAGS)
        with os.fdopen(handle, "rb") as opened:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise ImageReadError(name, "not a regular file (a pipe, socket, device or folder)")
            if status.st_size > limits.file_bytes:
                raise ImageReadError(
                    name,
                    f"{status.st_size / 2**20:.0f} MiB is over the limit of "
                    f"{limits.file_bytes // 2**20} MiB a file",
                )
            return opened.read(limits.file_bytes + 1)
    except OSError as error:
        raise ImageReadError(name, f"cannot be opened: {error.strerror}") from None


class _DeadlineReader(io.BytesIO):
    """A file that raises TimeoutError after a deadline: decoders read a block at a time."""

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self._deadline, self._seconds = time.monotonic() + seconds, seconds

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"decoding took more than {self._seconds:g} s")
        return super().read(size)


class _PillowWarnings:
    """Ignores Pillow's warnings, except for bombs, while any thread decodes.

    `warnings.catch_warnings` changes the filters of all threads: if each thread had one, it would
    restore another thread's filters, and these would stay.
    """

    def __init__(self) -> None:
        self._lock, self._threads = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._threads:
                self._context = warnings.catch_warnings()
                self._context.__enter__()
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
            self._threads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._context.__exit__(None, None, None)


_PILLOW_WARNINGS = _PillowWarnings()


def decode(data: bytes, name: str, limits: DecodeLimits = DECODE_LIMITS) -> Image.Image:
    """Decode the first frame of an image to RGB, upright as EXIF says.

    Transparent images are composited over white; 16-bit samples keep their upper 8 bits.

    Raises:
        ImageReadError: not an image, damaged, or over a limit.
    """
    return decode_with_size(data, name, limits)[0]


def decode_with_size(
    data: bytes,
    name: str,
    limits: DecodeLimits = DECODE_LIMITS,
    *,
    display_size: tuple[int, int] | None = None,
) -> tuple[Image.Image, tuple[int, int]]:
    """Like `decode`; also the width and height of the full-size upright image.

    Args:
        display_size: the largest width and height at which it is shown. A JPEG may then be
            decoded at 1/2, 1/4 or 1/8 of its size, as long as it stays twice as large as that.
            Never for a model: see `_draft`.
    """
    with _open_checked(data, name, limits) as (image, format_):
        full_size = _draft(image, display_size) if display_size and format_ == JPEG else None
        image.load()
        if image.getexif().get(ORIENTATION, 1) != 1:  # otherwise Pillow would copy it
            image = ImageOps.exif_transpose(image)
        rgb = to_rgb(image, name)
        return rgb, full_size or rgb.size


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Stored width and height of an image, and EXIF's orientation, 1..8."""

    stored: tuple[int, int]
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the image that `decode` returns."""
        return self.stored[::-1] if self.orientation in _TRANSPOSED else self.stored


def image_size(data: bytes, name: str, limits: DecodeLimits = DECODE_LIMITS) -> ImageSize:
    """The size of an image, from its header.

    No pixel is decoded, except in a PNG with EXIF or XMP, which may follow the pixels.

    Raises:
        ImageReadError: not an image, a damaged header, or over a limit.
    """
    with _open_checked(data, name, limits) as (image, format_):
        width, height = image.size
        if format_ == PNG and not any(mark in data for mark in _PNG_ORIENTATION_MARKS):
            return ImageSize((width, height))
        if format_ == TIFF and getattr(image, "tag_v2", {}).get(ORIENTATION) in _TRANSPOSED:
            width, height = height, width  # Pillow has swapped them already
        orientation = image.getexif().get(ORIENTATION, 1)
        return ImageSize((width, height), int(orientation) if orientation in range(1, 9) else 1)


@contextlib.contextmanager
def _open_checked(
    data: bytes, name: str, limits: DecodeLimits
) -> Iterator[tuple[Image.Image, str]]:
    """Open an image and check its header; also its format. Errors become ImageReadError."""
    format_ = sniff(data[:32])
    if format_ is None:
        raise ImageReadError(name, describe_unreadable(data[:512]))
    try:
        reader = _DeadlineReader(data, limits.seconds)
        with _PILLOW_WARNINGS, Image.open(reader, formats=[format_]) as image:
            problem = _header_problem(image, data, format_, limits=limits)
            if problem:
                raise ImageReadError(name, problem)
            yield image, format_
    except ImageReadError:
        raise
    except TimeoutError as error:
        raise ImageReadError(name, str(error)) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        match = re.search(r"\((\d+) pixels\)", str(error))  # Pillow's words; it read the header
        megapixels = f"{int(match.group(1)) / 1e6:,.0f}" if match else "too many"
        limit = limits.pixels // 1_000_000
        reason = f"{megapixels} megapixels are over the limit of {limit}"
        raise ImageReadError(name, reason) from None
    except MemoryError:
        raise ImageReadError(name, "decoding needs more memory than there is") from None
    except Exception as error:  # decoders raise nearly any exception on damaged bytes
        reason = one_line(error, 160) or type(error).__name__
        raise ImageReadError(name, f"damaged {format_}: {reason}") from None


def _header_problem(
    image: Image.Image, data: bytes, format_: str, *, limits: DecodeLimits
) -> str | None:
    """The limit that an image exceeds."""
    width, height = image.size
    size, pixels = f"{width} x {height} pixels", width * height
    if max(width, height) > limits.side:
        return f"{size}: a side is over the limit of {limits.side:,}"
    if pixels > limits.pixels:
        return f"{size} are over the limit of {limits.pixels // 1_000_000} megapixels"
    if format_ == JPEG and pixels > _MAX_PIXELS_PER_BYTE * len(data):
        return f"{len(data)} bytes are too few for {size}"
    if format_ == JPEG and image.info.get("progressive"):
        scans = data.count(b"\xff\xda")
        if scans > limits.jpeg_scans or scans * pixels > limits.scan_pixels:
            return f"{scans} scans over {size} would take too long to decode"
    if _count_frames(image, data, format_, limit=limits.frames) > limits.frames:
        return f"more than the limit of {limits.frames:,} frames"
    return None


def _count_frames(image: Image.Image, data: bytes, format_: str, *, limit: int) -> int:
    """The number of frames; for a TIFF at most `limit` + 1."""
    if format_ == WEBP:
        return getattr(image, "n_frames", 1)
    if format_ == GIF:  # a graphic control extension precedes each frame of an animation
        return max(1, data.count(b"\x21\xf9\x04"))
    if format_ == TIFF:  # Pillow would read all directories of a TIFF to count them
        with contextlib.suppress(EOFError):
            image.seek(limit)
            return limit + 1
        image.seek(0)
    return 1


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
    transposed = image.getexif().get(ORIENTATION) in _TRANSPOSED
    target = display_size[::-1] if transposed else display_size
    scale = min(2 * target[0] / width, 2 * target[1] / height)
    if scale >= 1:
        return None
    image.draft(image.mode, (max(1, round(width * scale)), max(1, round(height * scale))))
    return (height, width) if transposed else (width, height)
