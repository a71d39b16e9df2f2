"""Numerical functions that several rooms need. Pure NumPy."""

import numpy as np

from sharpeye.core.arrays import Floats


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis, with the dtype of `logits`."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return probs
