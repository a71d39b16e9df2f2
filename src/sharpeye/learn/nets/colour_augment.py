"""Change the grey levels of a batch by given random numbers. Needs Keras.

All functions take and return float32[B,H,W,C], 0..255 or somewhat beyond, and work eagerly, in
`tf.function` and in `jax.jit`. Factors are float32[B]; 1 changes nothing.
"""

import math
from typing import Any

import numpy as np
from keras import ops

Tensor = Any  # of Keras' backend

# ITU-R BT.601.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# The blur of Pillow's `ImageEnhance.Sharpness`.
_BLUR = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
# RGB to luma and two colour differences (YIQ), in which a rotation changes the hue alone.
_TO_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32)
_FROM_YIQ = np.linalg.inv(_TO_YIQ).astype(np.float32)


def scale_contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    """Scale the distances to the image's mean luma."""
    mean = ops.mean(luma(pixels), axis=(1, 2, 3), keepdims=True)
    return mean + (pixels - mean) * per_image(factor)


def scale_saturation(pixels: Tensor, factor: Tensor) -> Tensor:
    """Scale the distances to each pixel's luma; grey images stay."""
    if pixels.shape[-1] != 3:
        return pixels
    grey = luma(pixels)
    return grey + (pixels - grey) * per_image(factor)


def turn_hue(pixels: Tensor, degrees: Tensor) -> Tensor:
    """Turn the hue by float32[B] degrees; grey images stay."""
    if pixels.shape[-1] != 3:
        return pixels
    angle = degrees * (math.pi / 180)
    sin, cos, zero = ops.sin(angle), ops.cos(angle), ops.zeros_like(angle)
    turn = ops.stack([zero + 1, zero, zero, zero, cos, -sin, zero, sin, cos], axis=1)
    turn = ops.reshape(turn, (-1, 3, 3))
    matrix = ops.matmul(ops.matmul(_FROM_YIQ[None], turn), _TO_YIQ[None])
    height, width = pixels.shape[1:3]
    flat = ops.reshape(pixels, (-1, height * width, 3))
    return ops.reshape(ops.matmul(flat, ops.transpose(matrix, (0, 2, 1))), (-1, height, width, 3))


def scale_sharpness(pixels: Tensor, factor: Tensor) -> Tensor:
    """Scale the distances to a blurred image; the outermost pixels stay."""
    channels = pixels.shape[-1]
    kernel = ops.convert_to_tensor(np.repeat(_BLUR[:, :, None, None], channels, axis=2))
    blurred = ops.depthwise_conv(pixels, kernel, padding="valid")
    blurred = ops.pad(blurred, ((0, 0), (1, 1), (1, 1), (0, 0)))
    border = np.ones((1, *pixels.shape[1:3], 1), np.float32)
    border[:, 1:-1, 1:-1] = 0
    blurred = blurred + pixels * border
    return blurred + (pixels - blurred) * per_image(factor)


def posterize(pixels: Tensor, step: Tensor) -> Tensor:
    """Round levels down to multiples of `step`; 1 changes nothing."""
    step = per_image(step)
    return ops.where(step > 1, ops.floor(pixels / step) * step, pixels)


def solarize(pixels: Tensor, threshold: Tensor) -> Tensor:
    """Invert levels from a threshold on; above 255 it changes nothing."""
    return ops.where(pixels >= per_image(threshold), 255 - pixels, pixels)


def normalize_contrast(pixels: Tensor, chosen: Tensor) -> Tensor:
    """Stretch each channel to 0..255 in the chosen images, int32[B] of 0 and 1; a channel of one
    level stays as it is.
    """
    low = ops.min(pixels, axis=(1, 2), keepdims=True)
    high = ops.max(pixels, axis=(1, 2), keepdims=True)
    stretched = (pixels - low) * (255 / ops.maximum(high - low, 1.0))
    mask = ops.logical_and(per_image(chosen) > 0, high - low >= 1.0)
    return ops.where(mask, stretched, pixels)


def luma(pixels: Tensor) -> Tensor:
    """float32[B,H,W,1]."""
    if pixels.shape[-1] != 3:
        return pixels[..., :1]
    return ops.sum(pixels * _LUMA, axis=-1, keepdims=True)


def per_image(values: Tensor) -> Tensor:
    """[B] as [B,1,1,1]."""
    return values[:, None, None, None]
