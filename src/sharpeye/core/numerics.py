"""Numerical functions that several rooms need. Pure NumPy."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sharpeye.core.arrays import Floats


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis, with the dtype of `logits`."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return probs


def finite_or_null(value: Any) -> Any:
    """The value with each number that is not finite as None, which JSON can hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite_or_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(item) for item in value]
    return value
