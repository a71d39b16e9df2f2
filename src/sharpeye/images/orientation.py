"""The orientation of EXIF and XMP: how a stored image is turned to be upright."""

from PIL import Image

ORIENTATION = 0x0112  # the tag of EXIF
TRANSPOSED = (5, 6, 7, 8)  # its values that swap rows and columns

# A PNG without any of these has no orientation; they may stand anywhere in the file.
_PNG_MARKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# From this size on an RGB image is turned channel by channel: 7 bytes a pixel at the peak instead
# of 8, as Pillow stores RGB in 4 bytes. A photograph of 50 megapixels, held upright, then needs
# 350 MB; it takes 0.2 s more.
LARGE_PIXELS = 32_000_000


def orientation_of(image: Image.Image) -> int:
    """The orientation 1..8; 1 if there is none, or one that does not exist."""
    value = image.getexif().get(ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1


def count_orientation_marks(data: bytes) -> int:
    """How many chunks of a PNG may say an orientation, wherever they stand."""
    return sum(data.count(mark) for mark in _PNG_MARKS)


def upright(image: Image.Image, *, release: bool = False) -> Image.Image:
    """A loaded image as its orientation says; the same object if that is 1.

    Args:
        release: close an image that is turned, so that its pixels do not stay in memory beside
            those of the new one.
    """
    turn = _TURNS.get(orientation_of(image))
    if turn is None:
        return image
    if not release or image.mode != "RGB" or image.width * image.height < LARGE_PIXELS:
        turned = image.transpose(turn)
        if release:
            image.close()
        return turned
    transparency = image.info.get("transparency")
    channels = list(image.split())
    image.close()  # It frees the pixels.
    for index in range(len(channels)):
        channels[index] = channels[index].transpose(turn)
    turned = Image.merge("RGB", channels)
    if transparency is not None:
        turned.info["transparency"] = transparency
    return turned
