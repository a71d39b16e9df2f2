"""Lay transparent images over white without copies of the complete image."""

from PIL import Image

# Pixels of a strip: its four copies take 4 MB and stay in a core's cache.
_STRIP_PIXELS = 2**18


def over_white(image: Image.Image) -> Image.Image:
    """An image of any mode that converts to RGBA, composited over white, as mode RGB.

    Strip by strip: beside the image only the result is in memory. The pixels are those of
    `Image.alpha_composite` of the complete image.
    """
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // max(1, width))
    if rows >= height:
        return _strip_over_white(image)
    result = Image.new("RGB", image.size)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(height, top + rows)))
        result.paste(_strip_over_white(strip), (0, top))
    return result


def _strip_over_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")
