"""The one decoder: any image file to uint8 RGB, the same for training and for serving.

A file is judged by its first bytes, never by its suffix. Only the formats below are ever handed
to Pillow, so that no interpreter (EPS, PDF, SVG) can start. Limits are checked on the header,
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
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from sharpeye.errors import ImageReadError
from sharpeye.images.formats import GIF, JPEG, PNG, TIFF, WEBP, describe_stranger, sniff

Pixels = npt.NDArray[np.uint8]

# Raised with every change that alters a decoded or fitted pixel: caches keep it in their keys.
DECODER_VERSION = 3


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one file may cost. Every default is far above real photographs."""

    file_bytes: int = 64 * 2**20
    pixels: int = 64_000_000
    side: int = 20_000
    frames: int = 1_000
    jpeg_scans: int = 100
    # A progressive JPEG is decoded once a scan: scans times pixels bounds the time in which no
    # clock of ours runs (about 10 s on one slow core).
    scan_pixels: int = 1_000_000_000
    seconds: float = 10.0


DECODE_LIMITS = DecodeLimits()

ORIENTATION = 0x0112  # the tag of EXIF
_LYING = (5, 6, 7, 8)  # its values for which rows are the upright image's columns
# Without one of these a PNG has no orientation, wherever in the file it might stand.
_PNG_MARKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")

# A JPEG takes a bit or more for each block of 8 x 8 pixels. Fewer bytes: the header lies about the
# size, and libjpeg would fill the image up with grey without an error.
_MAX_PIXELS_A_BYTE = 8 * 64


def read_file(file: Path, name: str, limits: DecodeLimits = DECODE_LIMITS) -> bytes:
    """The bytes of a regular file within the size limit.

    Opening never blocks: a FIFO or a device is refused by what the open handle says of itself.

    Raises:
        ImageReadError: not a regular file, too large, empty, or not readable.
    """
    try:
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC)
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
    """Feeds Pillow until the time is up: decoders read a block at a time."""

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self._end, self._seconds = time.monotonic() + seconds, seconds

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self._end:
            raise TimeoutError(f"decoding took more than {self._seconds:g} s")
        return super().read(size)


class _PillowWarnings:
    """Drops what Pillow warns of, but for bombs, for as long as any thread decodes.

    `warnings.catch_warnings` changes what all threads see: with one a thread, each would put back
    what the other had set, and the process would keep it for good.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(None, None, None)


_PILLOW_WARNINGS = _PillowWarnings()


def decode(
    data: bytes,
    name: str,
    limits: DecodeLimits = DECODE_LIMITS,
    shown_at: tuple[int, int] | None = None,
) -> Image.Image:
    """Decode an image to RGB, upright.

    The first frame of an animation is used, EXIF orientation is applied, alpha is laid over
    white, 16-bit samples keep their upper 8 bits, CMYK, palette and grey become RGB.

    Args:
        data: the file's bytes.
        name: how errors call the file.
        shown_at: width and height of what people will see of it, at most. A JPEG may then be
            decoded at 1/2, 1/4 or 1/8 of its size, as long as it stays twice as large as that.
            Never for a model: see `_draft`.

    Returns:
        an image of mode RGB.

    Raises:
        ImageReadError: no image, damaged, or over a limit.
    """
    return decode_sized(data, name, limits, shown_at)[0]


def decode_sized(
    data: bytes,
    name: str,
    limits: DecodeLimits = DECODE_LIMITS,
    shown_at: tuple[int, int] | None = None,
) -> tuple[Image.Image, tuple[int, int]]:
    """Like `decode`; also the width and height of the whole upright image.

    They are the image's own unless a JPEG was decoded at a part of its size.
    """
    with _opened(data, name, limits) as (image, kind):
        whole = _draft(image, shown_at) if shown_at and kind == JPEG else None
        image.load()
        upright = _to_rgb(_upright(image), name)
        return upright, whole or upright.size


@dataclass(frozen=True, slots=True)
class ImageSize:
    """What an image's header says of its size.

    Attributes:
        stored: width and height in pixels, as the file has the rows.
        orientation: EXIF's, 1..8: how the stored image is turned to stand upright.
    """

    stored: tuple[int, int]
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of what `decode` gives."""
        return self.stored[::-1] if self.orientation in _LYING else self.stored


def image_size(data: bytes, name: str, limits: DecodeLimits = DECODE_LIMITS) -> ImageSize:
    """The size of an image, from its header.

    No pixel is decoded, but of a PNG with EXIF or XMP, which may stand behind the pixels.

    Raises:
        ImageReadError: no image, its header is damaged, or over a limit.
    """
    with _opened(data, name, limits) as (image, kind):
        width, height = image.size
        if kind == PNG and not any(mark in data for mark in _PNG_MARKS):
            return ImageSize((width, height))
        if kind == TIFF and getattr(image, "tag_v2", {}).get(ORIENTATION) in _LYING:
            width, height = height, width  # Pillow has swapped them already
        turned = image.getexif().get(ORIENTATION, 1)
        return ImageSize((width, height), int(turned) if turned in range(1, 9) else 1)


@contextlib.contextmanager
def _opened(data: bytes, name: str, limits: DecodeLimits) -> Iterator[tuple[Image.Image, str]]:
    """An image whose header was checked, and its format; errors become ImageReadError."""
    kind = sniff(data[:32])
    if kind is None:
        raise ImageReadError(name, describe_stranger(data[:512]))
    try:
        reader = _DeadlineReader(data, limits.seconds)
        with _PILLOW_WARNINGS, Image.open(reader, formats=[kind]) as image:
            _check_header(image, data, kind, name, limits)
            yield image, kind
    except ImageReadError:
        raise
    except TimeoutError as error:
        raise ImageReadError(name, str(error)) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageReadError(name, _bomb_reason(error, limits)) from None
    except MemoryError:
        raise ImageReadError(name, "decoding needs more memory than there is") from None
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise ImageReadError(name, f"damaged {kind}: {_one_line(error)}") from None


def _bomb_reason(error: Exception, limits: DecodeLimits) -> str:
    found = re.search(r"\((\d+) pixels\)", str(error))  # Pillow's words; it read the header
    size = f"{int(found.group(1)) / 1e6:,.0f}" if found else "too many"
    return f"{size} megapixels are over the limit of {limits.pixels // 1_000_000}"


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:160] or type(error).__name__


def _check_header(
    image: Image.Image, data: bytes, kind: str, name: str, limits: DecodeLimits
) -> None:
    width, height = image.size
    if max(width, height) > limits.side:
        raise ImageReadError(
            name, f"{width} x {height} pixels: a side is over the limit of {limits.side:,}"
        )
    if width * height > limits.pixels:
        raise ImageReadError(
            name,
            f"{width} x {height} pixels are over the limit of "
            f"{limits.pixels // 1_000_000} megapixels",
        )
    if kind == JPEG and width * height > _MAX_PIXELS_A_BYTE * len(data):
        raise ImageReadError(name, f"{len(data)} bytes are too few for {width} x {height} pixels")
    if kind == JPEG and image.info.get("progressive"):
        scans = data.count(b"\xff\xda")
        if scans > limits.jpeg_scans or scans * width * height > limits.scan_pixels:
            raise ImageReadError(
                name, f"{scans} scans over {width} x {height} pixels would take too long to decode"
            )
    if kind == TIFF:
        # Pillow walks the directories of a TIFF to count them: ask for one beyond the limit only.
        frames = _tiff_frames(image, limits.frames)
    else:
        frames = getattr(image, "n_frames", 1) if kind == WEBP else _gif_frames(data, kind)
    if frames > limits.frames:
        raise ImageReadError(name, f"more than the limit of {limits.frames:,} frames")


def _gif_frames(data: bytes, kind: str) -> int:
    # A graphic control extension precedes each frame of an animation.
    return max(1, data.count(b"\x21\xf9\x04")) if kind == GIF else 1


def _tiff_frames(image: Image.Image, limit: int) -> int:
    try:
        image.seek(limit)
    except EOFError:
        image.seek(0)
        return 1
    return limit + 1


def _draft(image: Image.Image, shown_at: tuple[int, int]) -> tuple[int, int] | None:
    """Let a JPEG be decoded at a part of its size, at least twice as large as it is shown.

    Returns its whole upright size if it may be.

    Not for a model. libjpeg's smaller image is not the one that resizing makes, and who asks
    `model.onnx` without Pillow has no such mode. EfficientNet-Lite0 at 320 pixels, 11 photographs
    enlarged to 1 to 24 megapixels: probabilities moved by up to 0.02 with at least twice the
    input's size, with grain on the photographs by 0.07, with fine stripes by 0.5, and by 0.003
    still with six times the size. A grainy photo of 12 megapixels takes 0.16 s to decode and fit,
    0.07 at a quarter of its size, as most of the decoding has to be done either way.
    """
    width, height = image.size
    lying = image.getexif().get(ORIENTATION) in _LYING
    wanted = shown_at[::-1] if lying else shown_at
    scale = min(2 * wanted[0] / width, 2 * wanted[1] / height)
    if scale >= 1:
        return None
    image.draft(image.mode, (max(1, round(width * scale)), max(1, round(height * scale))))
    return (height, width) if lying else (width, height)


def _upright(image: Image.Image) -> Image.Image:
    # Pillow copies an image that is upright already.
    upright = image.getexif().get(ORIENTATION, 1) == 1
    return image if upright else ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    mode = image.mode
    if mode in ("I", "F"):
        image = _from_wide_samples(image, name)
    elif mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_wide_samples(image: Image.Image, name: str) -> Image.Image:
    samples: npt.NDArray[Any] = np.asarray(image)
    if image.mode == "I" and samples.size and samples.min() >= 0 and samples.max() <= 0xFFFF:
        return Image.fromarray((samples >> 8).astype(np.uint8))
    raise ImageReadError(
        name, "32-bit samples have no agreed range of brightness; save it with 8 or 16 bits"
    )
