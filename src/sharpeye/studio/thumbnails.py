"""Images for the browser: thumbnails for lists, and large ones at the size of a screen.

Every image that is sent was decoded and encoded again: never a file's own bytes, which a browser
might take for something other than an image.
"""

import contextlib
import hashlib
import io
import threading
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import FastAPI, Query
from PIL import Image
from starlette.responses import Response

from sharpeye.core.inference import available_cores
from sharpeye.core.storage import cache_root, make_folder, write_bytes
from sharpeye.errors import EnvironmentFault, ImageReadError
from sharpeye.images.decode import decode_with_size, read_file
from sharpeye.studio.workspace import Workspace

THUMBNAIL_SIZES = (128, 256, 512)
_JPEG_QUALITY = 82
# Smaller files are decoded about as fast as their thumbnail is read from the cache.
_MIN_CACHED_BYTES = 256 * 2**10
_CACHE_FOREVER = "private, max-age=31536000, immutable"
# A limit for all requests together: an image at the limits takes some 300 MB to decode.
_DECODING = threading.BoundedSemaphore(max(2, available_cores()))


def file_version(path: Path) -> str:
    """A text that changes with an image's file; it is part of URLs, which browsers cache."""
    try:
        status = path.stat()
    except OSError:
        return "gone"
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def add_routes(api: FastAPI, workspace: Workspace) -> None:
    """Add `/api/thumb` and `/api/picture`."""

    @api.get("/api/thumb")
    def thumbnail(
        path: str, size: int = 256, v: Annotated[str | None, Query(max_length=64)] = None
    ) -> Response:
        return thumbnail_response(workspace.image(path), path, size, requested_version=v)

    @api.get("/api/picture")
    def screen_image(
        path: str,
        most: Annotated[int, Query(ge=64, le=8192)] = 2048,
        v: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        return screen_response(workspace.image(path), path, most, requested_version=v)


def thumbnail_response(
    file: Path, name: str, size: int, *, requested_version: str | None = None
) -> Response:
    """A response with an image that fits into a square.

    Args:
        file: of the image.
        name: how errors call it.
        size: pixels; the next larger one of `THUMBNAIL_SIZES` is taken.
        requested_version: the version in the URL; the browser caches the response for ever if it
            is the file's.

    Raises:
        ImageReadError: it is no image, or over a limit.
    """
    size = next((s for s in THUMBNAIL_SIZES if s >= size), THUMBNAIL_SIZES[-1])
    version = file_version(file)
    cached = _cache_path(file, version, size)
    data = None
    with contextlib.suppress(OSError):
        data = cached.read_bytes()
    if data is None:
        data = encode_jpeg(_decode(file, name, size)[0])
        with contextlib.suppress(OSError, EnvironmentFault):  # A full disk costs only time.
            if file.stat().st_size >= _MIN_CACHED_BYTES:
                make_folder(cached.parent)
                write_bytes(cached, data)
    return _response(data, version, requested_version)


def screen_response(
    file: Path, name: str, max_side: int, *, requested_version: str | None = None
) -> Response:
    """A response with an image of at most `max_side` pixels a side.

    The header `X-Picture-Size` has its true upright size. For the other arguments and what is
    raised, see `thumbnail_response`.
    """
    version = file_version(file)
    image, (width, height) = _decode(file, name, max_side)
    response = _response(encode_jpeg(image), version, requested_version)
    response.headers["X-Picture-Size"] = f"{width}x{height}"
    response.headers["X-Picture-Name"] = quote(name)
    return response


def _decode(file: Path, name: str, max_side: int) -> tuple[Image.Image, tuple[int, int]]:
    """An image of at most that many pixels a side, and the true upright size."""
    data = read_file(file, name)
    with _DECODING:
        try:
            # The decoder returns at least twice the size it is given: half of it is enough.
            half = min(max(1, -(-max_side // 2)), 4096)
            image, size = decode_with_size(data, name, display_size=(half, half))
        except MemoryError:
            raise ImageReadError(name, "it needs more memory than there is") from None
        image.thumbnail((max_side, max_side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return image, size


def encode_jpeg(image: Image.Image) -> bytes:
    """The image as a JPEG file."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_JPEG_QUALITY)
    return out.getvalue()


def _response(data: bytes, version: str, requested_version: str | None) -> Response:
    cache_control = _CACHE_FOREVER if requested_version == version else "no-cache"
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": cache_control})


def _cache_path(file: Path, version: str, size: int) -> Path:
    """Where a thumbnail is cached, by all that its pixels depend on."""
    key = f"1 {file}\0{version}\0{size}".encode("utf-8", "surrogateescape")
    digest = hashlib.sha256(key).hexdigest()
    return cache_root() / "studio" / "thumbs" / digest[:2] / f"{digest[2:34]}.jpg"
