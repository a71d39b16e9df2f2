"""Images for the browser: small ones for lists, and large ones at the size of a screen.

What is sent was decoded and encoded anew: never a file's own bytes, which might be something else
to a browser than an image.
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
from sharpeye.images.decode import decode_sized, read_file
from sharpeye.studio.state import StudioState
from sharpeye.studio.workspace import Workspace

THUMB_SIZES = (128, 256, 512)
FOLDER = "studio"  # in the cache
_QUALITY = 82
# Smaller files are decoded about as fast as their thumbnail is read from the cache.
_CACHED_FROM_BYTES = 256 * 2**10
_FOR_EVER = "private, max-age=31536000, immutable"
# However many requests there are: an image at the limits takes some 300 MB to decode.
_DECODING = threading.BoundedSemaphore(max(2, available_cores()))


def version_of(path: Path) -> str:
    """What changes when an image's file does; it stands in addresses, which are kept for ever."""
    try:
        status = path.stat()
    except OSError:
        return "gone"
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def listed(workspace: Workspace, paths: list[str]) -> list[dict[str, str]]:
    """Images as scripts of pages want them: `path`, `name`, `version`."""
    return [
        {
            "path": path,
            "name": path.rpartition("/")[2],
            "version": version_of(workspace.root / path),
        }
        for path in paths
    ]


def add_routes(studio: StudioState, api: FastAPI) -> None:
    workspace = studio.workspace

    @api.get("/api/thumb")
    def thumb(
        path: str, size: int = 256, v: Annotated[str | None, Query(max_length=64)] = None
    ) -> Response:
        return small_image(workspace.image(path), path, size, asked=v)

    @api.get("/api/picture")
    def image(
        path: str,
        most: Annotated[int, Query(ge=64, le=8192)] = 2048,
        v: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        return screen_image(workspace.image(path), path, most, asked=v)


def small_image(file: Path, name: str, size: int, asked: str | None = None) -> Response:
    """The answer with an image that fits into a square.

    Args:
        file: of the image.
        name: how errors call it.
        size: pixels; the next of `THUMB_SIZES` is taken.
        asked: the version in the address; if it is the file's, the browser keeps the answer.

    Raises:
        ImageReadError: it is no image, or over a limit.
    """
    size = next((s for s in THUMB_SIZES if s >= size), THUMB_SIZES[-1])
    version = version_of(file)
    kept = _place(file, version, size)
    data = None
    with contextlib.suppress(OSError):
        data = kept.read_bytes()
    if data is None:
        data = _encoded(_decoded(file, name, size)[0])
        with contextlib.suppress(OSError, EnvironmentFault):  # a full disk makes it slower only
            if file.stat().st_size >= _CACHED_FROM_BYTES:
                make_folder(kept.parent)
                write_bytes(kept, data)
    return _answer(data, version, asked)


def screen_image(file: Path, name: str, most: int, asked: str | None = None) -> Response:
    """The answer with an image no larger than a screen; `X-Image-Size` is its true upright size.

    Args:
        most: pixels of the longer side.

    For the others, and what is raised, see `small_picture`.
    """
    version = version_of(file)
    image, (width, height) = _decoded(file, name, most)
    answer = _answer(_encoded(image), version, asked)
    answer.headers["X-Picture-Size"] = f"{width}x{height}"
    answer.headers["X-Picture-Name"] = quote(name)
    return answer


def _decoded(file: Path, name: str, most: int) -> tuple[Image.Image, tuple[int, int]]:
    """An image of at most that many pixels a side, and the true upright size."""
    data = read_file(file, name)
    with _DECODING:
        try:
            # Decoded at twice what is asked for, at least: half of that would do.
            half = min(max(1, -(-most // 2)), 4096)
            image, size = decode_sized(data, name, display_size=(half, half))
        except MemoryError:
            raise ImageReadError(name, "it needs more memory than there is") from None
        image.thumbnail((most, most), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return image, size


def _encoded(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _answer(data: bytes, version: str, asked: str | None) -> Response:
    kept = _FOR_EVER if asked == version else "no-cache"
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": kept})


def _place(file: Path, version: str, size: int) -> Path:
    """Where a thumbnail is kept, by all that decides on its pixels."""
    key = f"1 {file}\0{version}\0{size}".encode("utf-8", "surrogateescape")
    digest = hashlib.sha256(key).hexdigest()
    return cache_root() / FOLDER / "thumbs" / digest[:2] / f"{digest[2:34]}.jpg"
