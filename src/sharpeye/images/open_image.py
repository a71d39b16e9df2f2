"""Open an image by Pillow's class for its format, and check its header before it is decoded.

`Image.open` is not used: it refuses images, or warns of them, by a limit of the process that
belongs to the host program. The limits here are those of `DecodeLimits`.
"""

import contextlib
import io
import re
import threading
import time
import warnings
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from PIL import Image

from sharpeye.errors import ImageReadError, one_line
from sharpeye.images.decode_limits import DecodeLimits
from sharpeye.images.formats import (
    FORMATS,
    GIF,
    JPEG,
    JPEG2000,
    PNM,
    TIFF,
    WEBP,
    describe_unreadable,
    sniff,
)
from sharpeye.images.jpeg2000_header import read_codestream_header
from sharpeye.images.jpeg_markers import count_scans, read_frame
from sharpeye.images.tiff_directory import (
    check_directory,
    count_pages,
    is_truncated,
    silence_libtiff,
)

# A JPEG has at least a bit for each block of 8 x 8 pixels. With fewer bytes, the header's size is
# wrong, and libjpeg would fill the image with grey without an error.
_MAX_PIXELS_PER_BYTE = 8 * 64
# Pillow reads 0.6 to 1.5 million on a slow core, for which the deadline itself counts.
_MAX_PNM_SAMPLES_PER_SECOND = 2_000_000

DAMAGED = "damaged"  # So begins the reason if the decoder refused an image.
_ADDRESS = re.compile(r"<[\w.]+ object at 0x[0-9a-fA-F]+>")


class DeadlineReader(io.BytesIO):
    """A file that raises TimeoutError after a deadline: decoders read a block at a time.

    Only the thread's processor time counts: a process that was stopped or a machine that slept has
    not worked on the image.
    """

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self._deadline, self._seconds = time.thread_time() + seconds, seconds

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self._deadline:
            raise TimeoutError(f"decoding took more than {self._seconds:g} s")
        return super().read(size)


class _PillowWarnings:
    """Ignores Pillow's warnings while any thread decodes.

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
            self._threads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._context.__exit__(None, None, None)


PILLOW_WARNINGS = _PillowWarnings()


def open_reader(reader: io.BytesIO, format_: str) -> Any:
    """Pillow's image of a format, opened, but not loaded."""
    return _plugin(format_)(reader, "")


@cache
def _plugin(format_: str) -> Any:
    module, name = FORMATS[format_].plugin
    if format_ == TIFF:
        silence_libtiff()
    return getattr(import_module(module), name)


@contextlib.contextmanager
def open_checked(data: bytes, name: str, limits: DecodeLimits) -> Iterator[tuple[Image.Image, str]]:
    """Open an image and check its header; also its format. Errors become ImageReadError."""
    format_ = sniff(data[:32])
    if format_ is None:
        raise ImageReadError(name, describe_unreadable(data[:512]))
    with reading_errors(data, name, format_), PILLOW_WARNINGS:
        problem = check_directory(data, limits.frames) if format_ == TIFF else None
        if problem:
            raise ImageReadError(name, problem)
        with open_reader(DeadlineReader(data, limits.seconds), format_) as image:
            problem = _header_problem(image, data, format_, limits=limits)
            if problem:
                raise ImageReadError(name, problem)
            yield image, format_


@contextlib.contextmanager
def reading_errors(data: bytes, name: str, format_: str) -> Iterator[None]:
    """Turn every exception of a decoder into ImageReadError."""
    try:
        yield
    except ImageReadError:
        raise
    except TimeoutError as error:
        remedy = "; save it as PNG, which is read faster" if format_ == PNM else ""
        raise ImageReadError(name, f"{error}{remedy}", transient=True) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        reason = f"a {format_} over Pillow's own limit of 178 megapixels; make it smaller"
        raise ImageReadError(name, reason) from None
    except MemoryError:
        reason = "decoding needs more memory than there is"
        raise ImageReadError(name, reason, transient=True) from None
    except Exception as error:  # decoders raise nearly any exception on damaged bytes
        if format_ == TIFF and is_truncated(data):
            reason = f"{DAMAGED} {format_}: truncated, it ends before its last pixels or tags"
            raise ImageReadError(name, f"{reason}; get the file again") from None
        # Addresses of objects differ from run to run, and quarantine.csv must not.
        reason = one_line(_ADDRESS.sub("the file", str(error)), 160) or type(error).__name__
        raise ImageReadError(name, f"{DAMAGED} {format_}: {reason}") from None


def _header_problem(
    image: Image.Image, data: bytes, format_: str, *, limits: DecodeLimits
) -> str | None:
    """The limit that an image exceeds, and how it is raised."""
    width, height = image.size
    size, pixels = f"a {format_} of {width} x {height} pixels", width * height
    if pixels > limits.pixels:
        return (
            f"{size} is over the limit of {limits.pixels / 1e6:,.4g} megapixels; "
            f"raise it with --max-megapixels {-(-pixels // 1_000_000)}"
        )
    if max(width, height) > limits.side:
        return f"{size}: a side is over the limit of {limits.side:,} pixels; make it smaller"
    if format_ == JPEG:
        if pixels > _MAX_PIXELS_PER_BYTE * len(data):
            return f"damaged JPEG: {len(data)} bytes are too few for {width} x {height} pixels"
        if scans := _slow_scans(data, pixels, limits):
            return f"{size} has {scans} scans, which take too long to decode; save it again"
    if format_ == JPEG2000:
        header = read_codestream_header(data)
        if header is None or header.size != image.size:
            return f"{DAMAGED} {format_}: its header and its codestream differ in size"
    if format_ == PNM and _is_slow(image, limits):
        return (
            f"{size} takes longer than {limits.seconds:g} s to read, as its samples are plain "
            "numbers or have another largest value than 255; save it as PNG"
        )
    if _count_frames(image, data, format_, limit=limits.frames) > limits.frames:
        return f"a {format_} of more than the limit of {limits.frames:,} frames; save one of them"
    return None


def _slow_scans(data: bytes, pixels: int, limits: DecodeLimits) -> int:
    """The number of scans of a JPEG if they take too long to decode, otherwise 0."""

    def is_slow(scans: int) -> bool:
        total = scans * pixels
        return scans > 1 and (scans > limits.jpeg_scans or total > limits.scan_pixels)

    if not is_slow(data.count(b"\xff\xda")):  # at most so many, as other data may have these bytes
        return 0
    frame, (scans, _) = read_frame(data), count_scans(data)
    return scans if frame and frame.buffered and is_slow(scans) else 0


def _is_slow(image: Image.Image, limits: DecodeLimits) -> bool:
    """Whether Pillow decodes a PNM sample by sample, in Python, for longer than the limit."""
    codec = image.tile[0][0] if image.tile else ""  # type: ignore[attr-defined]
    samples = image.width * image.height * len(image.getbands())
    slow = codec.startswith("ppm") and image.mode != "1"
    return slow and samples > limits.seconds * _MAX_PNM_SAMPLES_PER_SECOND


def _count_frames(image: Image.Image, data: bytes, format_: str, *, limit: int) -> int:
    """The number of frames; for a TIFF at most `limit` + 1."""
    if format_ == WEBP:
        return getattr(image, "n_frames", 1)
    if format_ == GIF:  # a graphic control extension precedes each frame of an animation
        return max(1, data.count(b"\x21\xf9\x04"))
    return count_pages(data, limit) if format_ == TIFF else 1


def release_decoder(image: Image.Image) -> None:
    """Free what a loaded image no longer needs.

    The objects of WebP and AVIF hold their canvases, 8 bytes a pixel, as long as the image lives.
    """
    if getattr(image, "_decoder", None) is not None:
        image._decoder = None  # type: ignore[attr-defined]
