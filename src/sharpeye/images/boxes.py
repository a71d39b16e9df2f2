"""Boxes of objects: overlap, and the way between an image, its views and a model's input.

A box is (xmin, ymin, xmax, ymax) as shares 0..1 of width and height. Arrays of boxes are
float[...,4]. Edges lie between pixels: the box of the whole image is (0, 0, 1, 1).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.types import Box, InputSpec
from sharpeye.images.resize import placement, view_window
from sharpeye.images.views import View

Boxes = npt.NDArray[np.floating[Any]]


def iou(first: Boxes, second: Boxes) -> npt.NDArray[np.float64]:
    """Intersection over union of boxes that belong together, 0..1.

    Args:
        first, second: float[...,4] each; boxes without area overlap with nothing.

    Returns:
        float64[...].
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.prod(np.maximum(sides, 0), axis=-1)
    union = area(a) + area(b) - common
    return np.asarray(common / np.maximum(union, np.finfo(np.float64).tiny), np.float64)


def area(boxes: Boxes) -> npt.NDArray[np.float64]:
    """float64[...]: 0 for boxes whose edges are the wrong way round."""
    sides = np.maximum(np.asarray(boxes, np.float64)[..., 2:] - boxes[..., :2], 0)
    return np.asarray(np.prod(sides, axis=-1), np.float64)


def clip(box: Box) -> Box:
    """What of a box lies within the image; without area where nothing does."""
    left, top, right, bottom = (min(1.0, max(0.0, float(edge))) for edge in box)
    return left, top, max(left, right), max(top, bottom)


def to_pixels(box: Box, size: tuple[int, int]) -> Box:
    """A box in pixels of an image of this size (width, height)."""
    width, height = size
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def from_pixels(box: Box, size: tuple[int, int]) -> Box:
    """What `to_pixels` undoes."""
    width, height = size
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def to_input(box: Box, size: tuple[int, int], spec: InputSpec) -> Box:
    """An image's box as shares of the model's input that the image is brought to.

    Args:
        size: width and height of the upright image, in pixels.
        spec: how it is brought there. What a crop cuts off is cut off the box.
    """
    across, down, left, top = placement(size, spec)
    xmin, ymin, xmax, ymax = to_pixels(box, size)
    moved = (xmin * across + left, ymin * down + top, xmax * across + left, ymax * down + top)
    return clip(from_pixels(moved, (spec.width, spec.height)))


def from_input(box: Box, size: tuple[int, int], spec: InputSpec) -> Box:
    """A box in a model's input as shares of the image: what `to_input` undoes.

    What lies outside the input, or on its padding, is cut off.
    """
    across, down, left, top = placement(size, spec)
    xmin, ymin, xmax, ymax = to_pixels(clip(box), (spec.width, spec.height))
    moved = ((xmin - left) / across, (ymin - top) / down)
    return clip(from_pixels((*moved, (xmax - left) / across, (ymax - top) / down), size))


def view_to_input(box: Box, view: View, size: tuple[int, int], spec: InputSpec) -> Box:
    """An image's box as shares of the model's input, where `fit_image` brings a view of it.

    Follows the whole pixels that `fit_image` cuts, and mirrors with the padding as it does.

    Args:
        box: shares of the upright image.
        size: width and height of the upright image, pixels.
    """
    left, top, right, bottom = view_window(size, view)
    within = (right - left, bottom - top)
    xmin, ymin, xmax, ymax = to_pixels(box, size)
    cut = clip(from_pixels((xmin - left, ymin - top, xmax - left, ymax - top), within))
    found = to_input(cut, within, spec)
    return (1 - found[2], found[1], 1 - found[0], found[3]) if view.flip else found
