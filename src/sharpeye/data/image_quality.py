"""Images that are odd by themselves: blank, dark, bright, blurred, of a strange shape.

The limits are far out, as a false alarm costs a person's look and most faint faults do no harm.
Measured on 203 drawings on white and 810 photographs that nobody would call odd: no alarm. Of 100
photographs each, with 15 % of their brightness 100 are called dark, blurred by a Gaussian of 1 %
of the longer side 93, of 1.5 % all.
"""

from collections.abc import Iterator

import numpy as np

from sharpeye.data.thumbnail import ThumbnailArray

# Grey levels between the darkest and the lightest thousandth of the pixels.
_BLANK = 12
# The lightest thousandth of a dark image, the darkest of a bright one.
_DARK, _BRIGHT = 64, 200
# See `look._sharpness`. Sharp images have 0.28 to 2.9; blurred by 1 % of the side 0.07 to 0.17.
_BLURRED = 0.16
_MIN_SIDE = 64  # smaller ones are soft by nature
_ASPECT, _ASPECT_OVER_USUAL = 4.0, 2.0


def quality_problems(looks: ThumbnailArray) -> Iterator[tuple[int, str, str]]:
    """(row, kind, what was found) of each odd image, in order.

    Args:
        looks: LOOK[N]; what is usual for their shape is taken from them.
    """
    levels = looks["quantiles"]
    darkest, lightest = levels[:, 0], levels[:, -1]
    middle = levels[:, levels.shape[1] // 2]
    blank = lightest - darkest < _BLANK
    dark, bright = ~blank & (lightest < _DARK), ~blank & (darkest > _BRIGHT)
    large = np.maximum(looks["width"], looks["height"]) >= _MIN_SIDE
    blurred = ~blank & large & (looks["sharpness"] < _BLURRED)
    shape = np.log(np.maximum(looks["width"], 1) / np.maximum(looks["height"], 1))
    usual = np.median(shape) if len(shape) else 0.0
    odd = (np.abs(shape) > np.log(_ASPECT)) & (np.abs(shape - usual) > np.log(_ASPECT_OVER_USUAL))
    for row in np.flatnonzero(blank | dark | bright | blurred | odd).tolist():
        if blank[row]:
            yield row, "blank", f"nothing but grey level {middle[row]:.0f} of 255"
        if dark[row]:
            yield row, "dark", f"no pixel is lighter than {lightest[row]:.0f} of 255"
        if bright[row]:
            yield row, "bright", f"no pixel is darker than {darkest[row]:.0f} of 255"
        if blurred[row]:
            sharpness = looks["sharpness"][row]
            yield row, "blurred", f"sharpness {sharpness:.2f}; others have {_BLURRED} or more"
        if odd[row]:
            width, height = looks["width"][row], looks["height"][row]
            yield row, "odd_aspect", f"{width:.0f} x {height:.0f} pixels"
