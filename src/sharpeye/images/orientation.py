"""The orientation of EXIF and XMP: how a stored image is turned to be upright."""

from PIL import Image, ImageOps

ORIENTATION = 0x0112  # the tag of EXIF
TRANSPOSED = (5, 6, 7, 8)  # its values that swap rows and columns


def upright(image: Image.Image) -> Image.Image:
    """A loaded image as its orientation says; the same object if that is 1."""
    if image.getexif().get(ORIENTATION, 1) == 1:  # otherwise Pillow would copy it
        return image
    return ImageOps.exif_transpose(image)
