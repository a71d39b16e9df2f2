"""Boxes of objects: overlap, and conversion between an image, its views and a model's input.

A box is (xmin, ymin, xmax, ymax) as shares 0..1 of width and height. Arrays of boxes are
float[...,4]. Edges lie between pixels: the box of the entire image is (0, 0, 1, 1).
"""

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Floats
from sharpeye.core.types import Box, InputSpec
from sharpeye.images.resize import placement, view_window
from sharpeye.images.views import View


def iou(first: Floats, second: Floats) -> npt.NDArray[np.float64]:
    """Intersection over union of float[...,4] boxes, pair by pair: float64[...], 0..1.

    Boxes without area have an IoU of 0.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.prod(np.maximum(sides, 0), axis=-1)
    union = area(a) + area(b) - intersection
    return np.asarray(intersection / np.maximum(union, np.finfo(np.float64).tiny), np.float64)


def area(boxes: Floats) -> npt.NDArray[np.float64]:
    """float64[...]: 0 for boxes whose edges are swapped."""
    sides = np.maximum(np.asarray(boxes, np.float64)[..., 2:] - boxes[..., :2], 0)
    return np.asarray(np.prod(sides, axis=-1), np.float64)


def clip_box(box: Box) -> Box:
    """The part of a box within the image; without area if there is none."""
    left, top, right, bottom = (min(1.0, max(0.0, float(edge))) for edge in box)
    return left, top, max(left, right), max(top, bottom)


def to_pixels(box: Box, size: tuple[int, int]) -> Box:
    """A box in pixels of an image of this size (width, height)."""
    width, height = size
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def from_pixels(box: Box, size: tuple[int, int]) -> Box:
    """The inverse of `to_pixels`."""
    width, height = size
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def to_input(box: Box, size: tuple[int, int], spec: InputSpec) -> Box:
    """A box in an upright image of this size as shares of the model's input that it is fitted to.

    A crop of the image also crops the box.
    """
    scale_x, scale_y, left, top = placement(size, spec)
    xmin, ymin, xmax, ymax = to_pixels(box, size)
    xs, ys = [x * scale_x + left for x in (xmin, xmax)], [y * scale_y + top for y in (ymin, ymax)]
    return clip_box(from_pixels((xs[0], ys[0], xs[1], ys[1]), (spec.width, spec.height)))


def from_input(box: Box, size: tuple[int, int], spec: InputSpec) -> Box:
    """A box in a model's input as shares of the image: the inverse of `to_input`.

    Parts outside the input, or on its padding, are cut off.
    """
    scale_x, scale_y, left, top = placement(size, spec)
    xmin, ymin, xmax, ymax = to_pixels(clip_box(box), (spec.width, spec.height))
    xs = [(x - left) / scale_x for x in (xmin, xmax)]
    ys = [(y - top) / scale_y for y in (ymin, ymax)]
    return clip_box(from_pixels((xs[0], ys[0], xs[1], ys[1]), size))


def view_to_input(box: Box, view: View, size: tuple[int, int], *, spec: InputSpec) -> Box:
    """A box in an image as shares of the model's input, to which a view of the image is fitted.

    Like `fit_image`, it crops at whole pixels, and mirrors the padding too.
    """
    left, top, right, bottom = view_window(size, view)
    view_size = (right - left, bottom - top)
    xmin, ymin, xmax, ymax = to_pixels(box, size)
    cropped = from_pixels((xmin - left, ymin - top, xmax - left, ymax - top), view_size)
    xmin, ymin, xmax, ymax = to_input(clip_box(cropped), view_size, spec)
    return (1 - xmax, ymin, 1 - xmin, ymax) if view.flip else (xmin, ymin, xmax, ymax)
