"""Fit images to a model's input: the only resizer, for training and for serving."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sharpeye.core.arrays import Floats, Ints, Pixels
from sharpeye.core.types import InputSpec
from sharpeye.images.decode import decode_with_size, read_file
from sharpeye.images.views import PLAIN, View

Window = tuple[int, int, int, int]  # left, top, right, bottom in pixels
_Neighbours = tuple[Ints, Ints, Floats]

_PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow's mode L


def fit_image(image: Image.Image, spec: InputSpec, view: View = PLAIN) -> Pixels:
    """An image of mode RGB or L as uint8[spec.height, spec.width, spec.channels], 0..255.

    The crop of `view` is applied first, then brightness and mirroring. Padding stays unchanged.
    Grey levels of mode L give the pixels of the same levels as RGB, in a quarter of the memory.
    """
    if view.crop != PLAIN.crop:
        image = crop(image, view_window(image.size, view))
    if spec.filter == "bilinear_asymmetric":
        floats = _fit_floats(image, spec, view.brightness)
        pixels = np.rint(floats, out=floats).astype(np.uint8)
        return np.ascontiguousarray(pixels[:, ::-1]) if view.flip else pixels
    image = _fit_pillow(image, spec, view.brightness)
    if view.flip:
        image = ImageOps.mirror(image)
    if spec.channels == 1:
        return np.asarray(image.convert("L"))[..., None]
    return np.asarray(image.convert("RGB") if image.mode == "L" else image)


def fit_image_unrounded(image: Image.Image, spec: InputSpec) -> Floats:
    """Like `fit_image`, but float32 and not rounded, for graphs that take floats.

    Only the filter `bilinear_asymmetric` gives fractions of grey levels: TensorFlow 1 did not round
    between resizing and the graph.
    """
    if spec.filter == "bilinear_asymmetric":
        return _fit_floats(image, spec)
    return fit_image(image, spec).astype(np.float32)


def crop(image: Image.Image, window: Window) -> Image.Image:
    """The pixels of a window inside an image.

    Pillow's `crop` warns of windows of more than 89 megapixels, and refuses more than 178.
    """
    left, top, right, bottom = window
    cropped = Image.new(image.mode, (right - left, bottom - top), None)
    cropped.paste(image, (-left, -top))
    return cropped


def _fit_pillow(image: Image.Image, spec: InputSpec, brightness: float) -> Image.Image:
    size, resampling = (spec.width, spec.height), _PILLOW[spec.filter]
    if spec.fit == "crop":
        # In whole pixels, like `model.onnx` and `placement`; `ImageOps.fit` crops at fractions.
        image = crop(image, _center_window(image.size, spec))
    width, height = _size_without_padding(image.size, spec)
    # First horizontally, then vertically, like ONNX and older Pillow versions: Pillow 13 begins
    # with the larger change, and the rounding in between changes a fifth of the values.
    image = image.resize((width, image.height), resampling).resize((width, height), resampling)
    if brightness != PLAIN.brightness:
        levels = [min(255, max(0, round(v * brightness))) for v in range(256)]
        image = image.point(levels * len(image.getbands()))
    if image.size == size:
        return image
    padded = Image.new(image.mode, size, (spec.pad_value,) * len(image.getbands()))
    padded.paste(image, _padding_corner(image.size, spec))
    return padded


def _fit_floats(image: Image.Image, spec: InputSpec, brightness: float = 1.0) -> Floats:
    """float32[spec.height, spec.width, spec.channels] by `resize_asymmetric`."""
    if spec.fit == "crop":
        image = crop(image, _center_window(image.size, spec))
    width, height = _size_without_padding(image.size, spec)
    pixels = np.asarray(image.convert("RGB") if image.mode == "L" else image)
    floats = resize_asymmetric(pixels, height, width)
    if brightness != PLAIN.brightness:
        floats *= brightness
        np.clip(floats, 0, 255, out=floats)
    if (width, height) != (spec.width, spec.height):
        left, top = _padding_corner((width, height), spec)
        padded = np.full((spec.height, spec.width, 3), spec.pad_value, np.float32)
        padded[top : top + height, left : left + width] = floats
        floats = padded
    return floats if spec.channels == 3 else (floats @ _LUMA)[..., None]


def placement(size: tuple[int, int], spec: InputSpec) -> tuple[float, float, float, float]:
    """Where an image of this size lies in a model's input: (scale_x, scale_y, left, top).

    The point (x, y) of the image, in pixels, is at (x * scale_x + left, y * scale_y + top) of it.
    """
    width, height = size
    if spec.fit == "crop":
        left, top, right, bottom = _center_window(size, spec)
        scale_x, scale_y = spec.width / (right - left), spec.height / (bottom - top)
        return scale_x, scale_y, -left * scale_x, -top * scale_y
    resized = _size_without_padding(size, spec)
    return resized[0] / width, resized[1] / height, *_padding_corner(resized, spec)


def _size_without_padding(size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """The size of the resized image before padding to the input size."""
    width, height = size
    if spec.fit != "pad":
        return spec.width, spec.height
    # At least 1: otherwise a side under half a pixel would become 0.
    if width / height > spec.width / spec.height:
        return spec.width, max(1, round(height / width * spec.width))
    return max(1, round(width / height * spec.height)), spec.height


def _padding_corner(size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """The corner (left, top) of an image of this size, centred in the padding."""
    return round((spec.width - size[0]) / 2), round((spec.height - size[1]) / 2)


def _center_window(size: tuple[int, int], spec: InputSpec) -> Window:
    """The largest centered window with the input's aspect ratio, in whole pixels."""
    width = min(size[0], max(1, round(size[1] * spec.width / spec.height)))
    height = min(size[1], max(1, round(size[0] * spec.height / spec.width)))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height


def view_window(size: tuple[int, int], view: View) -> Window:
    """A view's crop of an image (width, height): at least one pixel, and none outside the image."""
    width, height = size
    left = min(round(view.crop[0] * width), width - 1)
    top = min(round(view.crop[1] * height), height - 1)
    right = max(round(view.crop[2] * width), left + 1)
    bottom = max(round(view.crop[3] * height), top + 1)
    return left, top, right, bottom


def load_image(file: Path, name: str, spec: InputSpec, *, view: View = PLAIN) -> Pixels:
    """Read, decode and fit an image file; see `read_file`, `decode` and `fit_image`."""
    image, _ = decode_with_size(read_file(file, name), name, keep_grey=True)
    return fit_image(image, spec, view)


def resize_asymmetric(pixels: Pixels, height: int, width: int) -> Floats:
    """Resize uint8[H,W,3] to float32[height,width,3], not rounded, as TensorFlow 1 does.

    The source of target index i is i * in / out: no half pixel, no antialiasing (`align_corners`
    and `half_pixel_centers` are both false). ONNX calls it `coordinate_transformation_mode:
    asymmetric`.

    TensorFlow 2.21's kernel gave the same bits for 161 pairs of sizes. From 320 x 240 to 224 x 224
    takes 0.6 to 0.9 ms on one core, from 4000 x 3000 1.1 ms (numpy 2.4): rows are picked first,
    then columns, both as bytes, so that the time depends on the target's size.

    Source: tensorflow/core/kernels/image/resize_bilinear_op.cc, `LegacyScaler`.
    """
    rows, next_rows, row_weights = _neighbours(len(pixels), height, 1)
    columns = _neighbours(pixels.shape[1], width, 3)
    lines = pixels.reshape(len(pixels), -1)  # uint8[H,W*3]
    upper = _resize_lines(lines.take(rows, axis=0), columns)
    lower = _resize_lines(lines.take(next_rows, axis=0), columns)
    return _interpolate(upper, lower, row_weights[:, None]).reshape(height, width, 3)


def _resize_lines(lines: Pixels, columns: _Neighbours) -> Floats:
    left, right, weights = columns
    # The indices are in range; "clip" skips numpy's check of each one.
    left_values = lines.take(left, axis=1, mode="clip").astype(np.float32)
    right_values = lines.take(right, axis=1, mode="clip").astype(np.float32)
    return _interpolate(left_values, right_values, weights)


def _interpolate(first: Floats, second: Floats, weights: Floats) -> Floats:
    """first + (second - first) * weights, in TensorFlow's order; it overwrites both arrays."""
    second -= first
    second *= weights
    first += second
    return first


@lru_cache(maxsize=64)
def _neighbours(source: int, target: int, channels: int) -> _Neighbours:
    """For each value of a target line: two indices of source values, and the second's weight."""
    # float32 throughout, as TensorFlow computes it.
    positions = np.arange(target, dtype=np.float32) * (np.float32(source) / np.float32(target))
    first = np.floor(positions).astype(np.intp)
    second = np.minimum(first + 1, source - 1)
    weights = positions - np.floor(positions)
    channel = np.arange(channels)
    table = (
        (first[:, None] * channels + channel).ravel(),
        (second[:, None] * channels + channel).ravel(),
        np.repeat(weights, channels),
    )
    for array in table:
        array.setflags(write=False)  # all threads share it
    return table
