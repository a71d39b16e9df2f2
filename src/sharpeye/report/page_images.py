"""Small images inside a page."""

import base64
import io

from PIL import Image

from sharpeye.core.types import InputSpec

# 200 px and quality 80 are 6 to 12 kB a photograph: 60 of them stay under 1 MB.
THUMB = InputSpec(height=200, width=200)
SHOWN_AT = (THUMB.width, THUMB.height)
_QUALITY = 80
# JPEG smears icons and 32 px data sets, and saves nothing on them.
_TINY = 64


def is_tiny(image: Image.Image) -> bool:
    """Whether an image is shown pixel by pixel."""
    return max(image.size) <= _TINY


def shrink(image: Image.Image) -> None:
    """Make an image a thumbnail, in place, with nothing of its file but the pixels."""
    image.thumbnail(SHOWN_AT, Image.Resampling.LANCZOS)
    # Comments, places and camera serial numbers must not travel with a page that is passed on.
    image.info.clear()


def data_address(image: Image.Image, *, tiny: bool) -> str:
    """The `data:` address under which a page shows a thumbnail."""
    buffer = io.BytesIO()
    if tiny:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    kind = "png" if tiny else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
