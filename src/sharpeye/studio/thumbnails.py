"""Images for the browser: thumbnails for lists, and large images at screen size.

Every image is decoded and encoded again before it is sent: a browser might interpret a file's own
bytes as another type.
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

_THUMBNAIL_SIZES = (128, 256, 512)  # Pixels a side; a request gets the next larger one.
# Decoding a smaller file takes about as long as reading its thumbnail from the cache.
_MIN_CACHED_BYTES = 256 * 2**10
# A limit for all requests together: an image at the limits takes about 300 MB to decode.
_DECODING = threading.BoundedSemaphore(max(2, available_cores()))
GONE = "gone"  # The version of a file that does not exist.
# The version in a URL; if it is the file's, a browser caches the response for ever.
_Version = Annotated[str | None, Query(max_length=64)]


def add_routes(api: FastAPI, workspace: Workspace) -> None:
    """Add `/api/thumb` and `/api/picture`, whose header `X-Picture-Size` has the upright size."""

    @api.get("/api/thumb")
    def thumbnail(path: str, size: int = 256, v: _Version = None) -> Response:
        file = workspace.image(path)
        version = file_version(file)
        side = next((s for s in _THUMBNAIL_SIZES if s >= size), _THUMBNAIL_SIZES[-1])
        return _response(_thumbnail(file, path, version, side=side), version, v)

    @api.get("/api/picture")
    def screen_image(
        path: str, most: Annotated[int, Query(ge=64, le=8192)] = 2048, v: _Version = None
    ) -> Response:
        file = workspace.image(path)
        version = file_version(file)
        image, (width, height) = _decode(file, path, most)
        response = _response(encode_jpeg(image), version, v)
        response.headers["X-Picture-Size"] = f"{width}x{height}"
        response.headers["X-Picture-Name"] = quote(path)
        return response


def file_version(path: Path) -> str:
    """A text that changes with an image's file; it is part of URLs that browsers cache."""
    try:
        status = path.stat()
    except OSError:
        return GONE
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def encode_jpeg(image: Image.Image) -> bytes:
    """The image as a JPEG file."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=82)
    return out.getvalue()


def _thumbnail(file: Path, name: str, version: str, *, side: int) -> bytes:
    """A JPEG that fits into a square, from the cache if possible."""
    key = f"2 {file}\0{version}\0{side}".encode("utf-8", "surrogateescape")
    digest = hashlib.sha256(key).hexdigest()
    cached = cache_root() / "studio" / "thumbs" / digest[:2] / f"{digest[2:34]}.jpg"
    with contextlib.suppress(OSError):
        return cached.read_bytes()
    data = encode_jpeg(_decode(file, name, side)[0])
    with contextlib.suppress(OSError, EnvironmentFault):  # A full disk only slows the page.
        if file.stat().st_size >= _MIN_CACHED_BYTES:
            make_folder(cached.parent)
            write_bytes(cached, data)
    return data


def _decode(file: Path, name: str, max_side: int) -> tuple[Image.Image, tuple[int, int]]:
    """An image of at most that many pixels a side, and the true upright size."""
    data = read_file(file, name)
    with _DECODING:
        try:
            # The decoder returns at least twice the requested size, so half of it is enough.
            half = min(max(1, -(-max_side // 2)), 4096)
            image, size = decode_with_size(data, name, display_size=(half, half), bit_depth=None)
        except MemoryError:
            raise ImageReadError(name, "it needs more memory than there is") from None
        image.thumbnail((max_side, max_side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return image, size


def _response(data: bytes, version: str, requested_version: str | None) -> Response:
    is_current = requested_version == version
    cache_control = "private, max-age=31536000, immutable" if is_current else "no-cache"
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": cache_control})
