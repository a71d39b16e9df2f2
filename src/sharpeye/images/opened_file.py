"""The file behind an image that Pillow has opened.

An image that is not loaded yet is decoded from its file by the one decoder, so that it gives the
pixels that its path gives. This also avoids a fault of Pillow 13: it maps an uncompressed TIFF that
was opened by its name into memory with width and height exchanged if its orientation is 5 to 8,
which garbles the pixels. One that is loaded already is read again from the map. Of its copies
(`copy`, `convert`, `crop`) nothing shows where the pixels come from.
"""

import io
from typing import Any

from PIL import Image, ImageFile, TiffImagePlugin

from sharpeye.errors import ImageReadError
from sharpeye.images.decode_limits import limits_in_force
from sharpeye.images.formats import sniff
from sharpeye.images.orientation import ORIENTATION, TRANSPOSED


def bytes_of_unloaded(image: Image.Image, name: str) -> bytes | None:
    """The bytes of the file whose first frame an image shows; None if its own pixels count.

    Those count if it is loaded, shows another frame, was opened at a smaller size by `draft`, or is
    of a format that `decode` does not read.

    Raises:
        ImageReadError: the file is over the limit of size.
    """
    if not isinstance(image, ImageFile.ImageFile) or image._im is not None:
        return None
    if image.tell() or image.decoderconfig:
        return None
    data = _read_from_start(image.fp, name)
    return data if data is not None and sniff(data[:32]) else None


def reload_garbled(image: Image.Image, name: str) -> Image.Image:
    """A loaded image; read again from its file if Pillow has garbled it, see above.

    Raises:
        ImageReadError: it is garbled, and was changed since.
    """
    file_map = getattr(image, "map", None)
    if file_map is None or not isinstance(image, TiffImagePlugin.TiffImageFile):
        return image
    again = TiffImagePlugin.TiffImageFile(io.BytesIO(file_map[:]))
    again.seek(image.tell())
    if again.tag_v2.get(ORIENTATION) not in TRANSPOSED:
        return image
    if not image.readonly:
        raise ImageReadError(
            name,
            "Pillow has garbled the pixels of this TIFF, as its orientation is 5 to 8, before they "
            "were changed; open it from its bytes, Image.open(io.BytesIO(data)), and try again",
        )
    again.load()
    return again


def _read_from_start(file: Any, name: str) -> bytes | None:
    """All bytes of an open file, which keeps its position; None if it is closed."""
    limit = limits_in_force().file_bytes
    try:
        position = file.tell()
        file.seek(0)
        try:
            data: bytes = file.read(limit + 1)
        finally:
            file.seek(position)
    except (AttributeError, OSError, ValueError):
        return None
    if len(data) > limit:
        raise ImageReadError(name, f"it is over the limit of {limit // 2**20} MiB a file")
    return data
