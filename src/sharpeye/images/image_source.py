"""Whatever holds an image, to an image of mode RGB by the rules of one decoder.

A path, a file's bytes, an open file, a `data:` URL, an image of Pillow's and an array of the same
pixels give the same image: upright, over white, in the model's range of brightness.
"""

import contextlib
import inspect
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Protocol

import numpy as np
from PIL import Image

from sharpeye.core.arrays import Array
from sharpeye.core.paths import user_path
from sharpeye.core.types import MAX_BIT_DEPTH
from sharpeye.errors import ImageReadError, UsageError, one_line
from sharpeye.images.array_image import array_to_image
from sharpeye.images.color import to_rgb
from sharpeye.images.data_url import decode_base64, is_address, is_data_url
from sharpeye.images.decode import decode, read_file
from sharpeye.images.decode_limits import limits_in_force
from sharpeye.images.open_image import PILLOW_WARNINGS
from sharpeye.images.opened_file import bytes_of_unloaded, reload_garbled
from sharpeye.images.orientation import upright


class Readable(Protocol):
    """A file that is open for reading bytes."""

    def read(self, size: int, /) -> bytes: ...


ImageSource = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | Readable | Image.Image | Array
)

_SINGLE = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{64,}={0,2}\s*")
# Pillow loads an image at its first use, which must not happen in two threads at once. An image has
# no place for a lock, and one lock for all would let no two threads decode.
_IMAGE_LOCKS = tuple(threading.Lock() for _ in range(64))


def source_to_image(
    source: Any,
    name: str = "the image",
    *,
    bit_depth: int = MAX_BIT_DEPTH,
    data_format: str = "channels_last",
    value_range: Sequence[float] | None = None,
    keep_grey: bool = False,
) -> Image.Image:
    """One image of mode RGB from any `ImageSource`.

    Args:
        source: a text is a path or a `data:` URL with base64; bytes are those of a file; an open
            file is read from its position to its end.
        name: of an image without a path, for errors.
        bit_depth: see `color.to_rgb`.
        data_format, value_range: of an array, see `array_to_image`.
        keep_grey: a grey file may give mode L, see `decode`.

    Raises:
        ImageReadError: the image cannot be read or decoded.
        UsageError: the source is none of these, or `data_format` or `value_range` is given for
            another source than an array.
    """
    if isinstance(source, np.ndarray):
        return array_to_image(
            source, data_format=data_format, value_range=value_range, bit_depth=bit_depth
        )
    if value_range is not None or data_format != "channels_last":
        raise UsageError(
            "data_format and value_range are for arrays; other images say these themselves. "
            f"Received: {type(source).__name__}"
        )
    if isinstance(source, Image.Image):
        return _convert(source, name, bit_depth)
    if isinstance(source, str | os.PathLike):
        return decode(*_read_text(source), bit_depth=bit_depth, keep_grey=keep_grey)
    if isinstance(source, bytes | bytearray | memoryview):
        return decode(bytes(source), name, bit_depth=bit_depth, keep_grey=keep_grey)
    if hasattr(source, "read"):
        return decode(_read_open_file(source, name), name, bit_depth=bit_depth, keep_grey=keep_grey)
    raise UsageError(
        "an image must be a path, a file's bytes, an open file, a PIL image, an array or a data: "
        f"URL. Received: {type(source).__name__}"
    )


def path_of(source: Any) -> str | None:
    """The path of a source that is one, as the user gave it."""
    if not isinstance(source, str | os.PathLike):
        return None
    text = os.fsdecode(source)
    return None if is_data_url(text) else text


def iterate_sources(source: Any) -> Iterator[Any] | None:
    """The images of a list, tuple, generator, or array of paths; None if it is a single image.

    Raises:
        UsageError: a collection without an order.
    """
    if isinstance(source, np.ndarray):
        return iter(source.ravel().tolist()) if source.dtype.kind in "OUST" else None
    if isinstance(source, _SINGLE) or hasattr(source, "read"):
        return None
    if isinstance(source, Mapping | Set):
        raise UsageError(f"images are given as a list. Received: {type(source).__name__}")
    return iter(source) if isinstance(source, Iterable) else None


def as_array(source: Any) -> Any:
    """The array of another library's tensor or series; any other source unchanged."""
    if isinstance(source, np.ndarray | Image.Image) or not hasattr(source, "__array__"):
        return source
    try:
        return np.asarray(source)
    except Exception as error:  # anything, as from a tensor on a GPU
        reason = one_line(error)
        raise UsageError(f"this {type(source).__name__} gives no NumPy array: {reason}") from None


def _convert(image: Image.Image, name: str, bit_depth: int) -> Image.Image:
    """Pillow's image, loaded or not, as `decode` converts the image of a file."""
    try:
        with _IMAGE_LOCKS[(id(image) >> 4) % len(_IMAGE_LOCKS)], PILLOW_WARNINGS:
            data = bytes_of_unloaded(image, name)
            if data is None:
                image.load()
                image = reload_garbled(image, name)
                if 0 in image.size:
                    raise UsageError(
                        f"{name} has no pixels: its size is {image.width} x {image.height}"
                    )
                return to_rgb(upright(image), name, bit_depth)
        return decode(data, name, bit_depth=bit_depth)
    except (ImageReadError, UsageError):
        raise
    except MemoryError:
        raise ImageReadError(name, "it needs more memory than there is") from None
    except Exception as error:  # as in `decode`
        reason = one_line(error, 160) or type(error).__name__
        raise ImageReadError(name, f"damaged or closed: {reason}") from None


def refuse_address(text: str) -> None:
    """Raise UsageError for an address, such as `https://example.org/1.jpg`."""
    if is_address(text):
        raise UsageError(
            "an address is not opened; download the image first and give its path, or its bytes. "
            f"Received: {text[:200]}"
        )


def _read_text(source: str | os.PathLike[str]) -> tuple[bytes, str]:
    """The bytes of the file that a path or a `data:` URL means, and its name."""
    text = os.fsdecode(source)
    if is_data_url(text):
        try:
            return decode_base64(text), "the data: URL"
        except ValueError as error:
            raise ImageReadError("the image", f"it {error}") from None
    refuse_address(text)
    if not text or "\0" in text:
        raise UsageError(f"a path must name a file. Received: {text[:200]!r}")
    file = user_path(text)
    try:
        return read_file(file, text), text
    except ImageReadError:
        with contextlib.suppress(OSError):  # the text is longer than any name
            if file.is_dir():
                raise UsageError(
                    f"{text} is a folder; use predict_files, or `sharpeye predict`"
                ) from None
        if _BASE64.fullmatch(text):
            raise UsageError(
                "a text is a path. For base64, begin it with data:image/jpeg;base64, or give the "
                f"decoded bytes. Received: {text[:40]}..."
            ) from None
        raise


def _read_open_file(file: Any, name: str) -> bytes:
    """The bytes of an open file from its position, at most one more than the limit."""
    limit = limits_in_force().file_bytes + 1
    chunks: list[bytes] = []
    length = 0
    while length < limit:
        try:
            chunk = file.read(limit - length)
        except UnicodeDecodeError:
            raise ImageReadError(name, 'it is open as text; open it with mode "rb"') from None
        except Exception as error:  # each library has its own
            raise ImageReadError(name, f"cannot be read: {one_line(error)}") from None
        if inspect.isawaitable(chunk):
            if inspect.iscoroutine(chunk):
                chunk.close()
            raise UsageError(f"{name} is read by await; give the bytes: await file.read()")
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise UsageError(
                f"{name} is a file of text; open it as bytes, with the mode 'rb'. "
                f"Received: {type(file).__name__}, which reads {type(chunk).__name__}"
            )
        if not chunk:
            break
        chunks.append(bytes(chunk))
        length += len(chunk)
    if length == limit:
        mebibytes = (limit - 1) // 2**20
        raise ImageReadError(name, f"it is over the limit of {mebibytes} MiB a file")
    if not length:
        raise ImageReadError(name, "no bytes follow; a file that was read before needs seek(0)")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
