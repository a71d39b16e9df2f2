"""Find images of bad quality: blank, dark, bright, blurred, of an unusual shape.

The limits are far out, as a false alarm costs a person's time and most faint faults do no harm.
Measured on 203 drawings on white and 810 photographs without such faults: no alarm. Of 100
photographs each, with 15 % of their brightness 100 are called dark, blurred by a Gaussian of 1 %
of the longer side 93, of 1.5 % all.
"""

from collections.abc import Iterator

import numpy as np

from sharpeye.data.thumbnail import ThumbnailArray

# Grey levels between the darkest and the lightest thousandth of the pixels.
_MIN_CONTRAST = 12
# The lightest thousandth of a dark image, the darkest of a bright one.
_DARK, _BRIGHT = 64, 200
# See `thumbnail.py`. Sharp images have 0.28 to 2.9, those blurred by 1 % of the side 0.07 to 0.17.
_MIN_SHARPNESS = 0.16
_MIN_SIDE = 64  # smaller ones are soft by nature
_MAX_ASPECT, _MAX_ASPECT_TO_MEDIAN = 4.0, 2.0


def quality_problems(thumbnails: ThumbnailArray) -> Iterator[tuple[int, str, str]]:
    """(index, kind, detail) of each fault, in order.

    Args:
        thumbnails: THUMBNAIL[N]; an aspect ratio is unusual compared with their median.
    """
    levels = thumbnails["quantiles"]
    darkest, median, lightest = levels[:, 0], levels[:, levels.shape[1] // 2], levels[:, -1]
    width, height = thumbnails["width"], thumbnails["height"]
    sharpness = thumbnails["sharpness"]
    blank = lightest - darkest < _MIN_CONTRAST
    dark, bright = ~blank & (lightest < _DARK), ~blank & (darkest > _BRIGHT)
    large = np.maximum(width, height) >= _MIN_SIDE
    blurred = ~blank & large & (sharpness < _MIN_SHARPNESS)
    aspect = np.log(np.maximum(width, 1) / np.maximum(height, 1))
    usual = np.median(aspect) if len(aspect) else 0.0
    odd_aspect = np.abs(aspect) > np.log(_MAX_ASPECT)
    odd_aspect &= np.abs(aspect - usual) > np.log(_MAX_ASPECT_TO_MEDIAN)
    for i in np.flatnonzero(blank | dark | bright | blurred | odd_aspect).tolist():
        if blank[i]:
            yield i, "blank", f"nothing but grey level {median[i]:.0f} of 255"
        if dark[i]:
            yield i, "dark", f"no pixel is lighter than {lightest[i]:.0f} of 255"
        if bright[i]:
            yield i, "bright", f"no pixel is darker than {darkest[i]:.0f} of 255"
        if blurred[i]:
            detail = f"sharpness {sharpness[i]:.2f}; others have {_MIN_SHARPNESS} or more"
            yield i, "blurred", detail
        if odd_aspect[i]:
            yield i, "odd_aspect", f"{width[i]:.0f} x {height[i]:.0f} pixels"
